"""mypy for tests, with what `make lint` has already read: torch alone takes it half a minute."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def mypy(*files: Path) -> subprocess.CompletedProcess[str]:
    """Check files strictly, by the options of this project, whose cache is of use for no others."""
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", *map(str, files)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
