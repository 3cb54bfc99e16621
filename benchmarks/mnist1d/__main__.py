"""``python -m benchmarks.mnist1d``: search with every strategy, retrain, and keep the results.

What is finished is skipped, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from oneshot_plugins.demo.training import one_thread, quiet

from .configurations import CONFIGURATIONS
from .networks import SEEDS, Setting, operations
from .results import Results
from .searches import Run, run


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked for, all by default: random networks first, then seed after seed.

    Args:
        arguments: of the command line; None takes those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mnist1d", description=__doc__)
    parser.add_argument(
        "--strategies",
        nargs="*",
        default=list(CONFIGURATIONS),
        choices=list(CONFIGURATIONS),
        metavar="NAME",
        help=f"rows of the table: {', '.join(CONFIGURATIONS)} (default: all)",
    )
    parser.add_argument(
        "--seeds",
        nargs="*",
        type=int,
        default=list(SEEDS),
        choices=SEEDS,
        metavar="SEED",
        help="of everything random (default: 0 1 2 3 4)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parents[1] / "results",
        metavar="DIR",
        help="folder of mnist1d.json (default: benchmarks/results)",
    )
    args = parser.parse_args(arguments)
    results, setting = Results(args.out / "mnist1d.json"), Setting()
    with quiet(), one_thread():
        for seed in args.seeds:
            for architecture in [*setting.pool(seed), setting.largest()]:
                _train(setting, results, architecture, seed)
        for seed in args.seeds:
            for name in args.strategies:
                _search(setting, results, name, seed)


def _train(
    setting: Setting, results: Results, architecture: Mapping[str, object], seed: int
) -> None:
    if (seed, operations(architecture)) not in results.networks:
        network = setting.train(architecture, seed)
        results.add(network)
        _say(f"seed {seed}: {network.operations}: {network.test:.1%}, {network.seconds:.0f} s")


def _search(setting: Setting, results: Results, name: str, seed: int) -> None:
    if (name, seed) not in results.runs:
        found = run(setting, CONFIGURATIONS[name], seed)
        _train(setting, results, found.chosen.architecture, seed)
        one = Run(
            name,
            seed,
            found=operations(found.chosen.architecture),
            passes=found.passes,
            seconds=round(found.seconds, 1),
            scores=[round(score, 4) for score in found.chosen.scores],
        )
        results.add(one)
        _say(f"seed {seed}: {name} found {one.found} in {one.seconds:.0f} s")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
