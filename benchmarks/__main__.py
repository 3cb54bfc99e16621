"""``python -m benchmarks [--json FILE] [NAME ...]``: measure, print tables."""

from __future__ import annotations

import argparse
import json
import logging
import platform
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from oneshot_core.files import write_text

from .cases import CASES, MEMORIES
from .growth import GROWTHS


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases that were asked for, all by default.

    Args:
        arguments: of the command line; None takes those of the process.
    """
    names = [*CASES, *MEMORIES, *GROWTHS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the numbers to this file"
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    args = parser.parse_args(arguments)
    unknown = sorted(set(args.names) - set(names))
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(names)}")
    torch.set_num_threads(args.threads)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    wanted = args.names or names
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times, memories, growths = (_run(group, wanted) for group in (CASES, MEMORIES, GROWTHS))
    _show_ratios("time", times, 1e3, "ms")
    _show_ratios("memory", memories, 1e-6, "MB")
    _show_growths(growths)
    if args.json:
        data = {
            "schema": "oneshot.benchmarks/2",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "threads": args.threads,
            "time": {name: found._asdict() for name, found in times.items()},
            "memory": {name: found._asdict() for name, found in memories.items()},
            "growth": {name: found._asdict() for name, found in growths.items()},
        }
        write_text(args.json, json.dumps(data, indent=1) + "\n")


def _run(group: Mapping[str, Callable[[], NamedTuple]], wanted: Sequence[str]) -> dict[str, Any]:
    found = {}
    for name in [name for name in group if name in wanted]:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found[name] = group[name]()
    return found


def _show_ratios(what: str, found: Mapping[str, Any], factor: float, unit: str) -> None:
    if not found:
        return
    table = Table(title=f"{what}; torch {torch.__version__}, {torch.get_num_threads()} threads")
    table.add_column("case")
    for column in ("ours / theirs", "quartiles", "ours", "theirs"):
        table.add_column(column, justify="right")
    for name, ratio in found.items():
        table.add_row(
            name,
            f"{ratio.median:.2f}",
            f"{ratio.low:.2f} to {ratio.high:.2f}",
            f"{factor * ratio.ours:.2f} {unit}",
            f"{factor * ratio.theirs:.2f} {unit}",
        )
    Console().print(table)


def _show_growths(found: Mapping[str, Any]) -> None:
    if not found:
        return
    table = Table(title="growth: exponent of each")
    table.add_column("case")
    table.add_column("exponents")
    for name, growth in found.items():
        shown = [f"{what} {exponent:.2f}" for what, exponent in growth.exponents.items()]
        table.add_row(name, ", ".join(shown))
    Console().print(table)


if __name__ == "__main__":
    main()
