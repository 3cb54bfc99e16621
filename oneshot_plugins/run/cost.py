"""``oneshot cost``: build a table of costs for a model space, and show one.

Imports no torch before it runs.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from oneshot_core.cli.target import call_target, find_target
from oneshot_core.files import require_place
from oneshot_core.terminal import printable

if TYPE_CHECKING:
    from torch import nn

    from oneshot_plugins.costs.table import CostTable


class CostCommand:
    """The command; see :mod:`oneshot_core.cli`."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Describe the arguments."""
        parser.description = "Tables of what the architectures of a model space cost."

        def show_help(args: argparse.Namespace) -> int:
            parser.print_help()
            return 0

        parser.set_defaults(act=show_help)
        json_too = argparse.ArgumentParser(add_help=False)
        json_too.add_argument("--json", action="store_true", help="print the table as JSON")
        actions = parser.add_subparsers(metavar="ACTION")
        build = actions.add_parser(
            "build",
            parents=[json_too],
            help="measure the parts of a model space",
            description="Measure every part of a model space once, compare the sums with frozen "
            "networks, and write a table that CostTable.load reads and a search takes as a cost. "
            "Imports TARGET; costs one forward pass for each part and each compared network, and "
            "many for latency. Trains nothing. The file is written at the end, whole.",
        )
        build.add_argument(
            "target",
            metavar="TARGET",
            help="space:NAME of an installed space; package.module:Callable, which is called "
            "without arguments and returns a module; or the folder of a run, whose model is built",
        )
        build.add_argument("--cost", default="macs", help="name of the cost (default: macs)")
        build.add_argument(
            "--input",
            metavar="SHAPE",
            action="append",
            type=_shape,
            help="shape of an input, such as 1x3x32x32 or 2x8:int64; once for each input "
            "(default: example_input_array of the model)",
        )
        build.add_argument("--device", help="where to measure (default: meta for counts, or cpu)")
        build.add_argument(
            "--verify",
            metavar="N",
            type=int,
            default=16,
            help="compare the sums on so many architectures (default: 16)",
        )
        build.add_argument(
            "--set",
            metavar="OPTION=VALUE",
            dest="options",
            action="append",
            type=_option,
            default=[],
            help="an option of the cost, such as threads=4; several times for several",
        )
        build.add_argument(
            "--out", type=Path, help="file to write (default: COST.json, for a run in its folder)"
        )
        build.set_defaults(act=_build)
        show = actions.add_parser(
            "show",
            parents=[json_too],
            help="print a table from a file",
            description="Print a table that `oneshot cost build` or a search wrote. Reads one "
            "file; writes nothing.",
        )
        show.add_argument("file", type=Path, metavar="FILE")
        show.set_defaults(act=_show)

    def run(self, args: argparse.Namespace) -> int:
        """Do what was asked for.

        Raises:
            CostError: the target, an input or a file cannot be used.
        """
        code: int = args.act(args)
        return code


def _build(args: argparse.Namespace) -> int:
    from oneshot_plugins.costs.build import cost_table
    from oneshot_plugins.costs.sample import sample_tensor
    from oneshot_plugins.costs.table import CostError

    run = _run_folder(args.target)
    out: Path = args.out or (run or Path()) / f"{args.cost}.json"
    folder = out.resolve().parent
    if not folder.is_dir():
        raise CostError(
            f"there is no folder {str(folder)!r} to write {out.name!r} to",
            expected="a folder",
            fix="make it, or correct --out",
        )
    require_place(out)
    options = dict(args.options)
    _require_options(args.cost, options)
    with redirect_stdout(sys.stderr):  # what models print is no output of ours
        model = _model(args.target) if run is None else _model_of_run(run)
        with _bar() as progress:
            table = cost_table(
                model,
                args.cost,
                inputs=None if args.input is None else list(map(sample_tensor, args.input)),
                device=args.device,
                verify=args.verify,
                progress=progress,
                **options,
            )
    table.origin["target"] = args.target
    table.save(out)
    _print(table, args.json)
    return 0


def _run_folder(target: str) -> Path | None:
    """Return the folder of a run if a target is one."""
    folder = Path(target)
    return folder if folder.is_dir() else None


def _model_of_run(folder: Path) -> nn.Module:
    """Return the search of a run, as its configuration says, without its weights.

    Raises:
        RunError: it is no folder of a run, or its code cannot be used.
    """
    from .rebuild import read_run

    return read_run(folder, "cost build").search()


def _require_options(cost: str, options: dict[str, object]) -> None:
    """Refuse options that a cost does not have.

    Raises:
        CostError: it has no such option, or the table says where to measure.
    """
    import inspect

    from oneshot_core import registry
    from oneshot_plugins.costs.table import CostError

    if not options:
        return
    parameters = inspect.signature(registry.load("cost", cost)).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "device"]
    unknown = [name for name in options if name not in known]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise CostError(
            f"the cost {cost!r} has no option {', '.join(unknown)}.\n"
            f"  expected: {', '.join(known) or 'none; it has no options'}\n"
            "  fix: correct --set"
            + ("; --device says where to measure" if "device" in unknown else "")
        )


def _show(args: argparse.Namespace) -> int:
    from oneshot_plugins.costs.table import CostTable

    _print(CostTable.load(args.file), args.json)
    return 0


def _print(table: CostTable, as_json: bool) -> None:
    print(json.dumps(table.describe(), indent=1) if as_json else printable(str(table)))


def _model(target: str) -> nn.Module:
    """Return what a target builds.

    Raises:
        CostError: it cannot be found or called, or is no module.
    """
    from torch import nn

    from oneshot_plugins.costs.table import CostError

    make = find_target(target, "cost build", CostError)
    model = call_target(make, target, "cost build", CostError)
    if not isinstance(model, nn.Module):
        raise CostError(
            f"{target!r} returns a {type(model).__name__}",
            expected="a torch.nn.Module with choices",
            fix="return the module",
        )
    return model


@contextmanager
def _bar() -> Iterator[Callable[[int, int], object]]:
    """Show a bar on stderr, in a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("measuring", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _shape(text: str) -> str:
    sizes = text.lower().partition(":")[0].split("x")
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is no shape such as 1x3x32x32")
    return text.lower()


def _option(text: str) -> tuple[str, object]:
    """Return name and value of ``name=value``; the value is a number or word of Python, or text."""
    name, equals, value = text.partition("=")
    if not name.isidentifier() or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form option=value")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


command = CostCommand()
