"""The command ``oneshot``: ``plugins``, and every component of the kind ``command``.

A command is an object or module with ``add_arguments(parser)`` and ``run(args) -> int``. It is
imported when it is used; the help shows its name and summary without.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

from .._version import __version__
from ..discovery.registry import Registry, default_registry
from ..discovery.settings import ALLOW, DENY
from ..errors import OneShotError, PluginLoadError, PluginSettingsError, three_parts
from ..terminal import printable, stopped_by_signal
from . import plugins
from .parser import Parser

USER_ERRORS = (OneShotError, OSError, ValueError, ModuleNotFoundError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    What a user can get wrong is said on stderr, with exit code 2; ``oneshot --debug ...`` shows
    the traceback as well. An interrupt is exit code 130, SIGTERM while something trains 143.

    Args:
        argv: the arguments; None takes those of the process.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    debug = False
    try:
        first = Parser("oneshot", parents=[options()], add_help=False)
        first.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND ...")
        early, _ = first.parse_known_args(arguments)
        if early.no_plugins and early.plugins is not None:
            first.error("--plugins and --no-plugins exclude each other")
        debug = early.debug
        with _switches(early):  # before anything looks for plugins
            args = _parse(arguments, early.command)
            code = int(args.run(args) or 0)
            sys.stdout.flush()
            return code
    except (SystemExit, KeyboardInterrupt) as stop:
        signalled = stopped_by_signal(stop)
        if signalled is not None or not isinstance(stop, SystemExit):
            return signalled or 130
        # argparse has shown its help or what is wrong
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BrokenPipeError:  # `oneshot plugins list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except USER_ERRORS as error:
        if debug:
            import traceback

            traceback.print_exc()
        print(f"error: {printable(_in_parts(error, arguments))}", file=sys.stderr)
        return 2


def _in_parts(error: BaseException, arguments: Sequence[str]) -> str:
    """Return what an error says, with what was expected and a fix where it does not say so."""
    text = str(error) or type(error).__name__
    if "\n  fix: " in text:  # an error of ours, or a builtin that says as much
        return text
    if isinstance(error, OSError):
        name = error.filename
        return three_parts(
            f"{str(name)!r}: {error.strerror}" if name and error.strerror else text,
            "a file or folder that is there, of the right kind, with the permission to use it",
            "correct the name, or the permissions",
        )
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "it").partition(".")[0]
        return three_parts(
            text,
            "everything that oneshot-core, its plugins and your code need",
            f"pip install {package}; `oneshot --debug ...` shows what asked for it",
        )
    return three_parts(
        text.rstrip("."),
        "arguments that the command can use",
        f"see `oneshot {' '.join([*arguments[:1], '--help'])}`; `oneshot --debug ...` shows where "
        "it was raised",
    )


def options() -> argparse.ArgumentParser:
    """Return the options that stand before the command."""
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--version", action="store_true", help="show versions and exit")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    group = parser.add_argument_group(
        "which plugins are used",
        "Applied before any plugin is read, for this command and the processes it starts. NAME is "
        "a distribution, or kind:name of a component; both may be globs.",
    )
    group.add_argument(
        "--plugins", metavar="NAME,...", help=f"only these and oneshot-core; instead of {ALLOW}"
    )
    group.add_argument("--no-plugins", action="store_true", help="only oneshot-core")
    group.add_argument(
        "--no-plugin",
        metavar="NAME",
        action="append",
        default=[],
        help=f"not this one (may be repeated); besides {DENY}",
    )
    return parser


@contextmanager
def _switches(args: argparse.Namespace) -> Iterator[None]:
    """Set the environment as the options say, so that it holds for child processes as well."""
    changes: dict[str, str] = {}
    if args.no_plugins or args.plugins is not None:
        changes[ALLOW] = args.plugins or ""
    if args.no_plugin:
        changes[DENY] = ",".join([os.environ.get(DENY, ""), *args.no_plugin])
    if not changes:
        yield
        return
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    default_registry().refresh()
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
        default_registry().refresh()


def _parse(arguments: list[str], words: Sequence[str]) -> argparse.Namespace:
    used = next(iter(words), None)
    parser = Parser(
        prog="oneshot",
        description="One-shot neural architecture search for PyTorch Lightning.",
        epilog="Installing a package is the act of trust: looking for commands imports the "
        "manifests of installed plugins. `oneshot plugins` works whatever state they are in.",
        parents=[options()],
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    own = commands.add_parser("plugins", help=plugins.SUMMARY, description=plugins.DESCRIPTION)
    actions = plugins.add_arguments(own)
    registry = plugins.lenient_registry()
    own.set_defaults(run=plugins.run, registry=registry)
    if used == "plugins":  # works whatever the plugins do
        action = next((word for word in words[1:] if not word.startswith("-")), None)
        if action not in actions.choices:
            with redirect_stdout(sys.stderr):
                _add_commands(actions, registry, action, "plugins.")
    else:
        parser.set_defaults(run=lambda args: _run_without_command(args, parser, registry))
        try:
            with redirect_stdout(sys.stderr):  # what plugins print at import is no output of ours
                _add_commands(commands, registry, used)
        except PluginSettingsError as error:
            if used is not None:
                raise
            # The error is shown, and then the help that there is without plugins.
            print(f"error: {printable(str(error))}", file=sys.stderr)
            registry = Registry(entry_points=False)
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        explaining = commands.choices.get(used or "", parser)
        explaining.error(f"unrecognized arguments: {' '.join(unknown)}")
    return args


def _add_commands(commands: Any, registry: Registry, used: str | None, prefix: str = "") -> None:
    """Add the commands of plugins whose names begin with ``prefix``; import only the one in use."""
    id = f"command:{prefix}{used}"
    loaded = registry.load(id) if id in registry else None
    for record in registry.ordered("command"):
        begins, _, name = record.name.rpartition(".")
        if f"{begins}." != (prefix or ".") or name in commands.choices:
            continue  # reported by `oneshot plugins doctor`
        # argparse reads % as the start of a placeholder.
        summary = printable(record.component.summary).replace("%", "%%")
        parser = commands.add_parser(name, help=summary)
        if name == used:
            _fill(parser, loaded, f"{record.id} of {record.source}", "act" if prefix else "run")


def _fill(parser: argparse.ArgumentParser, command: Any, name: str, entry: str) -> None:
    """Let a command declare its arguments."""
    methods = [getattr(command, method, None) for method in ("add_arguments", "run")]
    if isinstance(command, type) or not all(map(callable, methods)):
        raise PluginLoadError(
            f"{name} is {command!r}, no command",
            expected="a module or an object with add_arguments(parser) and run(args)",
            fix="correct the target of that component, or tell its author",
        )
    command.add_arguments(parser)
    run = command.run
    parser.set_defaults(**{entry: run if entry == "run" else lambda args, registry: run(args)})


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
        text = printable(f"error: a plugin's oneshot_report_header raised {error!r}")
        print(text, file=sys.stderr)
        return 0
    for line in _header_lines(answers):
        print(printable(line))
    return 0


def _header_lines(answers: Iterable[str | Sequence[str]]) -> Iterator[str]:
    for answer in answers:
        yield from [answer] if isinstance(answer, str) else answer
