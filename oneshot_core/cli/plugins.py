"""``oneshot plugins``: what is installed, in which state, in which order, and what is wrong.

Reads manifests but imports no component (except for ``info --load``), so that a broken plugin can
always be found and switched off. Plugins offer further subcommands; ``check`` and ``new`` are ours.
The ids that are printed can be pasted wherever a plugin is named. JSON has the schema
``oneshot.plugins/1``, to which fields are only ever added.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from itertools import groupby
from typing import Any, get_args

from .._version import __version__
from ..discovery import FIRST_PARTY, WALK, Problem, Record, Registry, State, close_matches
from ..discovery.settings import STRICT
from ..hookspecs import KINDS
from ..terminal import printable

Act = Callable[[argparse.Namespace, Registry], int]

SUMMARY = "show and check the installed plugins"

PHASES = ("user", "plugin", "strategy", "core")
"""Who is asked by the walk, in this order."""

DESCRIPTION = """Show what plugins offer and whether it can be used. Reads the metadata of installed
packages, the environment variables ONESHOT_*, and the nearest pyproject.toml; imports the plugins'
manifests, but neither torch nor a component, unless said otherwise. Only `new` writes anything."""


def lenient_registry() -> Registry:
    """Return a registry of what is installed now that shows problems instead of raising."""
    return Registry(environ={**os.environ, STRICT: ""})


def add_arguments(parser: argparse.ArgumentParser) -> Any:
    """Declare the subcommands of the core; return what takes further ones."""

    def show_help(args: argparse.Namespace, registry: Registry) -> int:
        parser.print_help()
        return 0

    parser.set_defaults(act=show_help)
    json_too = argparse.ArgumentParser(add_help=False)
    json_too.add_argument(
        "--json", action="store_true", help="print JSON; it begins with the name of its schema"
    )
    actions = parser.add_subparsers(metavar="ACTION")

    def action(name: str, act: Act, summary: str, description: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, parents=[json_too], help=summary, description=description)
        added.set_defaults(act=act)
        return added

    _add_filters(
        action(
            "list",
            _list,
            "list components",
            "List components, grouped by distribution in a terminal, one line for each in "
            "a pipe. Costs a tenth of importing torch. Exit code 0, even if plugins are broken.",
        )
    )
    info = action(
        "info",
        _info,
        "show one component",
        "Show what is declared about a component. Exit code 2 if there is none.",
    )
    info.add_argument("id", metavar="ID", help="kind:name, or a name that only one kind has")
    info.add_argument(
        "--load", action="store_true", help="import it (perhaps torch, too) and show what it is"
    )
    order = action(
        "order",
        _order,
        "show the order of use",
        "Show in which order components are used; for mutation hooks and supernet "
        "modules, everything that the walk asks.",
    )
    order.add_argument("kinds", metavar="KIND", nargs="*", help="only these kinds")
    action(
        "doctor",
        _doctor,
        "list problems and what to do about them",
        "List everything that keeps plugins, or parts of them, from being used: "
        "broken or stale metadata, failed manifests, conflicts of names, settings that name "
        "nothing, what the project requires. Exit code 1 if there is any.",
    )
    return actions


def _add_filters(listing: argparse.ArgumentParser) -> None:
    """Declare the options that say which components are listed."""
    states = get_args(State)
    listing.add_argument("--kind", help="only this kind, such as strategy")
    listing.add_argument("--provider", metavar="DIST", help="only this distribution; may be a glob")
    listing.add_argument(
        "--state", choices=states, metavar="STATE", help=f"only this state: {', '.join(states)}"
    )
    listing.add_argument(
        "--handles", metavar="CLASS", help="only what declares to handle package.module:Class"
    )
    listing.add_argument("--all", action="store_true", help="also what is disabled or shadowed")


def run(args: argparse.Namespace) -> int:
    """Run a subcommand and return its exit code.

    One that a plugin offers (a command named ``plugins.NAME``) finds the registry, which shows
    problems instead of raising, as ``args.registry``.
    """
    registry: Registry = args.registry
    with redirect_stdout(sys.stderr):  # what plugins print at import is no output of ours
        registry.find()
    code: int = args.act(args, registry)
    return code


def _list(args: argparse.Namespace, registry: Registry) -> int:
    hidden = () if args.all or args.state else ("disabled", "shadowed")
    found = registry.find(args.kind, args.provider, args.handles, args.state)
    records = [record for record in found if record.state not in hidden]
    problems = _problems(registry)
    if args.json:
        _print_json(
            fingerprint=registry.fingerprint(),
            components=[record.as_dict() for record in records],
            problems=[asdict(problem) for problem in problems],
        )
        return 0
    if not records:
        print("nothing to list", file=sys.stderr)
        _say_if_unknown([args.kind] if args.kind else [], registry)
    elif sys.stdout.isatty():
        _print_groups(records)
    else:
        _print_lines(records)
    shown = {record.id for record in records}
    for problem in problems:
        if problem.subject not in shown:
            text = f"problem: {problem.subject}: {problem.reason}"
            print(printable(text), file=sys.stderr)
    if problems:
        print(f"problems: {len(problems)}, see `oneshot plugins doctor`", file=sys.stderr)
    return 0


def _info(args: argparse.Namespace, registry: Registry) -> int:
    named = [id for id in registry if id.partition(":")[2] == args.id]
    id = named[0] if len(named) == 1 else args.id
    record = registry.get(id)
    about: dict[str, object] = {}
    if args.load:
        with redirect_stdout(sys.stderr):
            loaded = registry.load(id)
        about = {"object": repr(loaded), "signature": _signature(loaded), "doc": _doc(loaded)}
        record = registry.get(id)
    shown = {**record.as_dict(), **about}
    if args.json:
        _print_json(component=shown)
        return 0
    width = max(map(len, shown))
    for name, value in shown.items():
        text = ", ".join(value) if isinstance(value, tuple) else str(value)
        if text:
            text = printable(text)
            print(f"{name:<{width}}  " + text.replace("\n", f"\n{' ' * (width + 2)}"))
    return 0


def _order(args: argparse.Namespace, registry: Registry) -> int:
    if args.json:
        extra = {"phases": PHASES} if set(args.kinds) & {*WALK} else {}
        records = registry.ordered(*args.kinds)
        _print_json(components=[record.as_dict() for record in records], **extra)
        return 0
    text = registry.explain_order(*args.kinds)
    if text:
        print(printable(text))
    _say_if_unknown(args.kinds, registry)
    return 0


def _doctor(args: argparse.Namespace, registry: Registry) -> int:
    problems = _problems(registry)
    if args.json:
        _print_json(problems=[asdict(problem) for problem in problems])
    else:
        for problem in problems:
            reason, fix = printable(problem.reason), printable(problem.fix)
            print(f"{printable(problem.subject)}\n  {problem.state}: {reason}\n  fix: {fix}")
        print(f"problems: {len(problems)}")
    return 1 if problems else 0


def _problems(registry: Registry) -> list[Problem]:
    """Return the registry's problems and those that only the command line can have."""
    problems = registry.problems()
    if "command:plugins" in registry:
        reason = "the name belongs to the built-in command, so it cannot be run"
        fix = "tell its author to rename it"
        problems.append(Problem("command:plugins", "shadowed", reason, fix))
    if not registry.find(provider=FIRST_PARTY):
        reason = "it is not installed, so its own plugins are not found"
        problems.append(Problem(FIRST_PARTY, "stale", reason, "pip install -e ."))
    return problems


def _print_json(**content: object) -> None:
    head = {"schema": "oneshot.plugins/1", "core": __version__}
    print(json.dumps({**head, **content}, indent=2))


def _say_if_unknown(kinds: Sequence[str], registry: Registry) -> None:
    """Say on stderr of which kinds there are no components, and what may be meant."""
    there = registry.kinds()
    for kind in kinds:
        if kind not in there and kind not in KINDS:
            close = close_matches(kind, {*there, *KINDS})
            hint = f"did you mean {close}?" if close else f"there are {', '.join(there)}"
            print(f"no component is of the kind {kind!r}; {hint}", file=sys.stderr)


def _print_lines(records: Sequence[Record]) -> None:
    """Print a line for each record, of any length, to be searched and cut. Imports nothing."""
    rows = [("ID", "PROVIDER", "VERSION", "STATE", "")]
    rows += [
        (r.id, printable(r.provider), printable(r.version), r.state, _note(r)) for r in records
    ]
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, [*widths, 0], strict=True)]
        print("  ".join(cells).rstrip())


def _print_groups(records: Sequence[Record]) -> None:
    """Print a heading for each distribution and below its components, as wide as the terminal."""
    # Not by rich: importing that takes as long as all the rest of a listing.
    bold, dim, red, plain = ("\033[1m", "\033[2m", "\033[31m", "\033[0m")
    if "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb":
        bold = dim = red = plain = ""
    columns = shutil.get_terminal_size().columns
    wide = min(max(len(record.id) for record in records), columns // 2)
    indent = wide + 15
    styles = {"available": "", "loaded": "", "disabled": dim, "shadowed": dim}
    for source, group in groupby(records, lambda record: record.source):
        print(f"{bold}{printable(source)}{plain}")
        for record in group:
            style = styles.get(record.state, red)
            head = f"  {record.id:<{wide}}  {record.state:<9}  "
            note = textwrap.wrap(_note(record), max(columns - indent, 20), break_on_hyphens=False)
            if len(head) == indent:  # else a long id or state gets a line of its own
                head += "".join(note[:1])
                del note[:1]
            for line in [head.rstrip(), *(" " * indent + line for line in note)]:
                print(f"{style}{line}{plain if style else ''}")


def _note(record: Record) -> str:
    return printable(record.reason or record.component.summary).replace("\n", " ")


def _signature(loaded: object) -> str:
    try:
        return str(inspect.signature(loaded))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""


def _doc(loaded: object) -> str:
    return inspect.getdoc(loaded) or ""
