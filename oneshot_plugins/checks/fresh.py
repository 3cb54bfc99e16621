"""What a piece of code does in a process of its own: imports, time, output. Imports no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache

from oneshot_core.errors import ConformanceError

HEAVY = ("torch", "pytorch_lightning", "lightning")
LIMIT_S = 120

_SCRIPT = """
import json, sys, time
sys.path[:] = json.loads(sys.argv[1])
sys.stdout = sys.stderr
start = time.perf_counter()
import oneshot_core.hookspecs
between = time.perf_counter()
exec(sys.argv[2])
end = time.perf_counter()
sys.stdout.flush()
heavy = [name for name in json.loads(sys.argv[3]) if name in sys.modules]
print(json.dumps([heavy, end - between, between - start]), file=sys.__stdout__)
"""


@dataclass(frozen=True, slots=True)
class Fresh:
    """What some code did in a fresh process.

    Args:
        heavy: the heavy libraries that it imported.
        seconds: how long it took, once ``oneshot_core.hookspecs`` was there.
        yardstick: how long importing ``oneshot_core.hookspecs`` took, for comparison.
        output: what it printed.
    """

    heavy: tuple[str, ...]
    seconds: float
    yardstick: float
    output: str


def in_fresh_process(code: str, attempt: int = 0) -> Fresh:
    """Run ``code`` in a new process that sees the path of this one; once per attempt.

    Raises:
        ConformanceError: it does not run to its end.
    """
    return _run(code, tuple(sys.path), attempt)


@lru_cache(maxsize=256)
def _run(code: str, path: tuple[str, ...], attempt: int) -> Fresh:
    arguments = [json.dumps(path), code, json.dumps(HEAVY)]
    command = [sys.executable, "-c", _SCRIPT, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise _fails(code, f"it is not done after {LIMIT_S} s") from None
    said = done.stderr.strip().splitlines()
    if done.returncode:
        raise _fails(code, said[-1] if said else "nothing was said")
    answer = done.stdout.strip().splitlines()[-1:]
    if not answer:
        raise _fails(code, "it ends the process")
    heavy, seconds, yardstick = json.loads(answer[0])
    output = "\n".join([*said, *done.stdout.strip().splitlines()[:-1]])
    return Fresh(tuple(heavy), seconds, yardstick, output)


def _fails(code: str, why: str) -> ConformanceError:
    return ConformanceError(
        f"it cannot be imported in a fresh process: {why}",
        expected="imports that need nothing this process has set up",
        fix=f"make this run: python -c {code!r}",
    )
