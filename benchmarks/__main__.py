"""``python -m benchmarks [--json FILE] [NAME ...]``: measure, print a table."""

from __future__ import annotations

import argparse
import json
import platform
import sys

import torch
from rich.console import Console
from rich.table import Table

from oneshot_core.files import write_text

from .cases import CASES
from .growth import GROWTHS, Growth
from .timing import Ratio


def main() -> None:
    """Run the cases that were asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*CASES, *GROWTHS]))
    parser.add_argument("--json", help="also write the numbers to this file")
    args = parser.parse_args()
    unknown = set(args.names) - CASES.keys() - GROWTHS.keys()
    if unknown:
        parser.error(
            f"no case {', '.join(sorted(unknown))}; there are {', '.join([*CASES, *GROWTHS])}"
        )
    names = args.names or [*CASES, *GROWTHS]
    table = Table(title=f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    table.add_column("case")
    table.add_column("ours / theirs", justify="right")
    table.add_column("quartiles", justify="right")
    table.add_column("ours", justify="right")
    table.add_column("theirs", justify="right")
    results: dict[str, Ratio] = {}
    for name in [name for name in names if name in CASES]:
        print(f"{name} ...", file=sys.stderr, flush=True)
        ratio = results[name] = CASES[name]()
        table.add_row(
            name,
            f"{ratio.median:.2f}",
            f"{ratio.low:.2f} to {ratio.high:.2f}",
            f"{1e3 * ratio.ours:.2f} ms",
            f"{1e3 * ratio.theirs:.2f} ms",
        )
    growths: dict[str, Growth] = {}
    exponents = Table(title="growth: exponent of each")
    exponents.add_column("case")
    exponents.add_column("exponents")
    for name in [name for name in names if name in GROWTHS]:
        print(f"{name} ...", file=sys.stderr, flush=True)
        growths[name] = GROWTHS[name]()
        shown = [f"{what} {exponent:.2f}" for what, exponent in growths[name].exponents.items()]
        exponents.add_row(name, ", ".join(shown))
    for each, filled in ((table, results), (exponents, growths)):
        if filled:
            Console().print(each)
    if args.json:
        data = {
            "schema": "oneshot.benchmarks/1",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "cases": {name: ratio._asdict() for name, ratio in results.items()},
            "growth": {name: growth._asdict() for name, growth in growths.items()},
        }
        write_text(args.json, json.dumps(data, indent=2) + "\n")


if __name__ == "__main__":
    main()
