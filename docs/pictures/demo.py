"""Draw docs/pictures/demo.png: the picture that `oneshot demo` writes, for seed 0.

One to two minutes. Needs the extra ``demo``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from oneshot_core.cli import main

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        if code := main(["demo", "--out", folder]):
            sys.exit(code)
        shutil.copy(Path(folder, "demo.png"), Path(__file__).with_suffix(".png"))
