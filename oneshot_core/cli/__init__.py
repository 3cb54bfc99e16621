"""The command ``oneshot``: ``plugins``, and every component of the kind ``command``.

A command is an object or module with ``add_arguments(parser)`` and ``run(args) -> int``. It is
imported when it is used; the help shows its name and summary without.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from typing import Any

from .._registry import Registry
from .._version import __version__
from ..errors import OneShotError, PluginLoadError
from . import plugins

USER_ERRORS = (OneShotError, OSError, ValueError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    What a user can get wrong is said on stderr, with exit code 2; ``oneshot --debug ...`` shows
    the traceback as well. An interrupt is exit code 130.

    Args:
        argv: the arguments; None takes those of the process.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    used = next((word for word in arguments if not word.startswith("-")), None)
    debug = "--debug" in arguments[: arguments.index(used) if used else None]
    try:
        args = _parse(arguments, used)
        return int(args.run(args) or 0)
    except SystemExit as stop:  # argparse has shown its help or what is wrong
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        return 130
    except USER_ERRORS as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parse(arguments: list[str], used: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="oneshot", description="One-shot neural architecture search for PyTorch Lightning."
    )
    parser.add_argument("--version", action="store_true", help="show versions and exit")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _fill(commands.add_parser("plugins", help=plugins.SUMMARY), plugins, "plugins")
    if used != "plugins":  # that one works whatever the plugins do
        registry = plugins.lenient_registry()
        parser.set_defaults(run=lambda args: _run_without_command(args, parser, registry))
        with redirect_stdout(sys.stderr):  # what plugins print at import is no output of ours
            _add_commands(commands, registry, used)
    return parser.parse_args(arguments)


def _add_commands(commands: Any, registry: Registry, used: str | None) -> None:
    loaded = registry.load("command", used) if f"command:{used}" in registry else None
    for record in registry.ordered("command"):
        if record.name == "plugins":
            continue  # reported by `oneshot plugins doctor`
        # argparse reads % as the start of a placeholder.
        parser = commands.add_parser(record.name, help=record.component.summary.replace("%", "%%"))
        if record.name == used:
            _fill(parser, loaded, f"{record.id} of {record.source}")


def _fill(parser: argparse.ArgumentParser, command: Any, name: str) -> None:
    """Let a command declare its arguments."""
    methods = [getattr(command, method, None) for method in ("add_arguments", "run")]
    if isinstance(command, type) or not all(map(callable, methods)):
        raise PluginLoadError(
            f"{name} is {command!r}, no command.\n"
            "  expected: a module or an object with add_arguments(parser) and run(args)\n"
            "  fix: correct the target of that component, or tell its author"
        )
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)


def _run_without_command(
    args: argparse.Namespace, parser: argparse.ArgumentParser, registry: Registry
) -> int:
    if not args.version:
        parser.print_help()
        return 0
    print(f"oneshot-core {__version__}")
    try:
        answers = registry.hook.oneshot_report_header()
    except Exception as error:  # asking for the version must not depend on a plugin
        print(f"error: a plugin's oneshot_report_header raised {error!r}", file=sys.stderr)
        return 0
    for line in _header_lines(answers):
        print(line)
    return 0


def _header_lines(answers: Iterable[str | Sequence[str]]) -> Iterator[str]:
    for answer in answers:
        yield from [answer] if isinstance(answer, str) else answer
