"""``python -m benchmarks [--json FILE] [NAME ...]``: measure, print a table."""

from __future__ import annotations

import argparse
import json
import platform
import sys

import torch
from rich.console import Console
from rich.table import Table

from .cases import CASES
from .timing import Ratio


def main() -> None:
    """Run the cases that were asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--json", help="also write the numbers to this file")
    args = parser.parse_args()
    unknown = set(args.names) - set(CASES)
    if unknown:
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    table = Table(title=f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    table.add_column("case")
    table.add_column("ours / theirs", justify="right")
    table.add_column("quartiles", justify="right")
    table.add_column("ours", justify="right")
    table.add_column("theirs", justify="right")
    results: dict[str, Ratio] = {}
    for name in args.names or CASES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        ratio = results[name] = CASES[name]()
        table.add_row(
            name,
            f"{ratio.median:.2f}",
            f"{ratio.low:.2f} to {ratio.high:.2f}",
            f"{1e3 * ratio.ours:.2f} ms",
            f"{1e3 * ratio.theirs:.2f} ms",
        )
    Console().print(table)
    if args.json:
        data = {
            "schema": "oneshot.benchmarks/1",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "cases": {name: ratio._asdict() for name, ratio in results.items()},
        }
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=2)


if __name__ == "__main__":
    main()
