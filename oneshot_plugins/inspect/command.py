"""``oneshot inspect``: find the model, make a sample batch, print what was found."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oneshot_core.cli.target import call_target, find_target
from oneshot_core.errors import InspectionError

if TYPE_CHECKING:
    from torch import nn

DESCRIPTION = """\
Report what can be chosen in a model, how large its networks are, how much memory the supernet
takes, which strategies can handle it, and which candidates do not fit. Nothing is trained.

It imports TARGET, builds the model and runs copies of it with a sample batch, nearly always
without data (on torch's meta device): seconds, and no more memory than the model itself. What
fails there is run once more with data. Without --input (or example_input_array of a
LightningModule) nothing is run, and shapes are not checked."""

EPILOG = """\
TARGET is imported as Python imports: `oneshot` does not look in the current folder. For a file
there, call `python -m oneshot_core inspect ...`, which does, or set PYTHONPATH.

exit code: 0 if everything fits, 1 if there are problems, 2 if nothing could be inspected"""


class Inspect:
    """The command; see :mod:`oneshot_core.cli`."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Describe the arguments."""
        parser.description = DESCRIPTION
        parser.epilog = EPILOG
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument(
            "target",
            metavar="TARGET",
            help="space:NAME of an installed model space; package.module:Name of a model, a class, "
            "or a function that returns one; or the folder of a run of `oneshot search`",
        )
        parser.add_argument(
            "--input",
            metavar="SHAPE",
            action="append",
            default=[],
            help="what forward is called with, such as 2x3x32x32 or 2x8:int64; once for each "
            "argument",
        )
        parser.add_argument(
            "--strategy",
            metavar="NAME",
            action="append",
            help="report on this one only, and fail if it cannot handle the model; repeatable",
        )
        parser.add_argument(
            "--set",
            metavar="KEY=VALUE",
            action="append",
            default=[],
            help="argument of TARGET, a Python literal or else text; repeatable",
        )
        parser.add_argument("--json", action="store_true", help="print JSON")

    def run(self, args: argparse.Namespace) -> int:
        """Inspect, print, and return 1 if there are problems.

        Raises:
            InspectionError: an argument cannot be read, or there is no such model.
        """
        import oneshot_core
        from oneshot_plugins.costs.sample import sample_tensor

        with redirect_stdout(sys.stderr):  # what the model's code prints is no output of ours
            inputs = tuple(map(sample_tensor, args.input))
            model = _model(args.target, _options(args.set))
            report = oneshot_core.inspect(model, inputs or None, strategies=args.strategy)
        print(report.to_json() if args.json else report)
        return 0 if report.ok else 1


def _options(settings: Sequence[str]) -> dict[str, Any]:
    options = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.isidentifier():
            raise InspectionError(
                f"--set {setting}",
                expected="the name of an argument and its value",
                fix="write for example --set width=16",
            )
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[key] = value
    return options


def _made(target: str) -> Any:
    """Return what ``target`` names; of a run, the model as it was before the search."""
    if Path(target, "config.yaml").is_file():
        from oneshot_plugins.run.words import require_jsonargparse

        require_jsonargparse()
        from oneshot_plugins.run.rebuild import read_run

        return read_run(target, "inspect").model
    return find_target(target, "inspect", InspectionError)


def _model(target: str, options: dict[str, Any]) -> nn.Module:
    from torch import nn

    made = _made(target)
    if not isinstance(made, nn.Module) and callable(made):
        fix = "give them with --set KEY=VALUE"
        made = call_target(made, target, "inspect", InspectionError, options, fix)
    elif options:
        raise InspectionError(
            f"{target} is a {type(made).__name__}, which takes no --set",
            expected="a class, or a function that returns a model",
            fix="leave --set out",
        )
    if not isinstance(made, nn.Module):
        raise InspectionError(
            f"{target} is a {type(made).__name__}",
            expected="a torch.nn.Module, a class of it, or a function that returns one",
            fix="name that",
        )
    return made


inspect = Inspect()
