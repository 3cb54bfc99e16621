"""``python -m examples.gallery TASK``: search, compare, and keep the results.

Seeds that are finished are skipped, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from oneshot_plugins.demo.training import one_thread, quiet

from . import digits, mnist1d, text
from .compare import Comparison, Results, Run

TASKS = {module.TASK.name: module.TASK for module in (mnist1d, digits, text)}
SEEDS = (0, 1, 2, 3, 4)
RESULTS = Path(__file__).with_name("results")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked for.

    Args:
        arguments: of the command line; None takes those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m examples.gallery", description=__doc__)
    parser.add_argument("tasks", nargs="+", choices=list(TASKS), metavar="TASK",
                        help=", ".join(TASKS))  # fmt: skip
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS), metavar="SEED",
                        help="of everything random (default: 0 1 2 3 4)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR",
                        help="folder of TASK.json (default: examples/gallery/results)")  # fmt: skip
    parser.add_argument("--quick", action="store_true",
                        help="one epoch on few examples: whether it runs, not what it finds; "
                        "needs --out")  # fmt: skip
    args = parser.parse_args(arguments)
    if args.quick and args.out == RESULTS:
        parser.error("--quick would spoil the results: name another folder with --out")
    with quiet(), one_thread():
        for name in args.tasks:
            results, comparison = Results(args.out / f"{name}.json"), None
            for seed in args.seeds:
                if seed not in results.runs:
                    comparison = comparison or Comparison(TASKS[name], quick=args.quick)
                    results.add(comparison.run(seed))
                _say(name, results.runs[seed])


def _say(name: str, run: Run) -> None:
    found = " ".join(f"{label}={choice}" for label, choice in run.found.architecture.items())
    print(
        f"{name}, seed {run.seed}: found {found}; "
        f"test {run.found.test}, random {[each.test for each in run.random]}, "
        f"largest {run.largest.test}",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    main()
