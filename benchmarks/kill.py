"""``python -m benchmarks.kill [--kills N] [--json FILE] [FAMILY ...]``: kill searches, compare.

Each family runs once without interruption. Then it runs again, is killed with SIGKILL at a random
moment, is started again, is killed again, and so on. What comes out in the end has to be what
came out of the first run: architecture, every bit of every weight, logged rows, ranking, front.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import select
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from oneshot_core.files import write_text

from .killed import FAMILIES, PHASES, in_child

LONGEST_DELAY = 0.004
"""Seconds between a moment and the kill: about what it takes to write a checkpoint."""
PATIENCE = 120.0
"""Seconds in which a run has to show a sign of life."""

# Forked from a server that has imported everything: a start takes no seconds.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["benchmarks.killed"])


class Victim:
    """One run in a process of its own, and the moments that it tells."""

    def __init__(self, folder: Path, family: str, inside: bool, forget: bool = False) -> None:
        self.reader, writer = multiprocessing.Pipe(duplex=False)
        self.process = CONTEXT.Process(
            target=in_child, args=(str(folder), family, inside, forget, writer)
        )
        self.process.start()
        writer.close()

    def kill_at(self, phase: str, occurrence: int, delay: float) -> str | None:
        """Kill ``delay`` after a moment; return the phase it was in, None if it ended before."""
        last = None
        while occurrence:
            last = self._next()
            if last is None:
                self.process.join()
                return None
            occurrence -= last == phase
        time.sleep(delay)
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()
        if self.process.exitcode == 0:
            return None  # it was faster
        while (later := self._next()) is not None:
            last = later
        return last

    def finish(self) -> None:
        """Let it run to its end."""
        while self._next() is not None:
            pass
        self.process.join()

    def _next(self) -> str | None:
        if not select.select([self.reader], [], [], PATIENCE)[0]:
            raise RuntimeError("a run has hung")
        byte = os.read(self.reader.fileno(), 1)
        return PHASES[byte[0]] if byte else None


def survive(family: str, kills: int, seed: int, *, forget: bool = False) -> dict[str, Any]:
    """Kill a family ``kills`` times; return where, and what differed in the end."""
    rng = random.Random(f"{seed}/{family}")
    hit: Counter[str] = Counter()
    differences: list[str] = []
    runs, left = 0, kills
    with tempfile.TemporaryDirectory() as root:
        while left:
            inside = bool((runs + sorted(FAMILIES).index(family)) % 2) or forget
            whole = Path(root, f"whole, inside {inside}")
            if not whole.exists():
                whole.mkdir()
                Victim(whole, family, inside, forget).finish()
            folder = Path(root, f"run {runs}")
            folder.mkdir()
            runs += 1
            for phase in _plan(rng, left):
                victim = Victim(folder, family, inside, forget)
                met = victim.kill_at(phase, rng.randint(1, 4), rng.uniform(0, LONGEST_DELAY))
                if met is None:
                    break
                hit[met] += 1
                left -= 1
            if not (folder / "result.json").exists():
                Victim(folder, family, inside, forget).finish()
            differences += _differences(whole, folder)
    return {"kills": kills, "runs": runs, "hit": dict(hit), "differences": differences}


def _plan(rng: random.Random, kills: int) -> list[str]:
    """Return where to kill one run: mostly in training, then where architectures are compared."""
    late = kills // 3
    early = [rng.choice(["train", "validate", "save"]) for _ in range(kills - late)]
    return early + sorted((rng.choice(["rank", "pareto"]) for _ in range(late)), reverse=True)


def _differences(whole: Path, killed: Path) -> list[str]:
    if not (killed / "result.json").exists():
        return ["a resumed run ended with an error"]
    one, other = (json.loads((f / "result.json").read_text()) for f in (whole, killed))
    found = [f"{key}: {one[key]} != {other[key]}" for key in one if one[key] != other[key]]
    files = [(f / "architecture.json").read_text() for f in (whole, killed)]
    found += ["architecture.json"] if files[0] != files[1] else []
    return found + _differences_of_rows(whole, killed)


def _differences_of_rows(whole: Path, killed: Path) -> list[str]:
    """Compare what was logged. What came after the last checkpoint is logged twice, the same."""
    one, other = (set((f / "rows.jsonl").read_text().splitlines()) for f in (whole, killed))
    return [f"row {row}" for row in sorted(one ^ other)]


def main() -> int:
    """Kill the families that were asked for, all by default; return 1 if anything differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kill", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--kills", type=int, default=20, help="of each family (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of when to kill")
    parser.add_argument("--json", help="also write what happened to this file")
    parser.add_argument(
        "--forget", action="store_true", help="a control: resume without what makes it exact"
    )
    args = parser.parse_args()
    unknown = set(args.names) - FAMILIES.keys()
    if unknown:
        parser.error(f"no family {', '.join(sorted(unknown))}; there are {', '.join(FAMILIES)}")
    results = {}
    for family in args.names or FAMILIES:
        start = time.monotonic()
        result = results[family] = survive(family, args.kills, args.seed, forget=args.forget)
        hit = ", ".join(f"{n} in {phase}" for phase, n in sorted(result["hit"].items()))
        print(
            f"{family}: {args.kills} kills ({hit}), {result['runs']} runs, "
            f"{len(result['differences'])} differences, {time.monotonic() - start:.0f} s",
            flush=True,
        )
        for difference in result["differences"]:
            print(f"  {difference[:300]}", flush=True)
    if args.json:
        write_text(args.json, json.dumps(results, indent=1) + "\n")
    return int(any(result["differences"] for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
