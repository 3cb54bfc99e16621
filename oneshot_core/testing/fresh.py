"""What a piece of code imports in a process of its own. Imports no torch."""

from __future__ import annotations

import json
import subprocess
import sys

from ..errors import ConformanceError

HEAVY = ("torch", "pytorch_lightning", "lightning")

_SCRIPT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
sys.stdout = sys.stderr
exec(sys.argv[2])
print(json.dumps([name for name in json.loads(sys.argv[3]) if name in sys.modules]),
      file=sys.__stdout__)
"""


def heavy_imports(code: str) -> list[str]:
    """Return which heavy libraries ``code`` imports; it sees the path of this process.

    Raises:
        ConformanceError: it does not run.
    """
    arguments = [json.dumps(sys.path), code, json.dumps(HEAVY)]
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["nothing was said"]
        raise ConformanceError(
            f"it cannot be imported in a fresh process: {last[0]}.\n"
            "  expected: imports that need nothing this process has set up\n"
            f"  fix: make this run: python -c {code!r}"
        )
    found: list[str] = json.loads(done.stdout)
    return found
