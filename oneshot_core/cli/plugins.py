"""``oneshot plugins``: what is installed, in which state, in which order, and what is wrong.

Reads manifests but imports no component (except for ``check`` and ``info --load``), so that a
broken plugin can always be found and switched off. The ids that are printed can be pasted wherever
a plugin is named. JSON has the schema ``oneshot.plugins/1``, to which fields are only ever added.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict

from .._metadata import Problem
from .._records import FIRST_PARTY, Record
from .._registry import Registry
from .._settings import STRICT
from .._version import __version__

SUMMARY = "show and check the installed plugins"


def lenient_registry() -> Registry:
    """Return a registry of what is installed now that shows problems instead of raising."""
    return Registry(environ={**os.environ, STRICT: ""})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    json_too = argparse.ArgumentParser(add_help=False)
    json_too.add_argument("--json", action="store_true", help="print JSON")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", parents=[json_too], help="list components")
    listing.add_argument("--kind", help="only this kind, such as strategy")
    listing.add_argument("--all", action="store_true", help="also what is disabled or shadowed")
    listing.set_defaults(act=_list)

    info = actions.add_parser("info", parents=[json_too], help="show one component")
    info.add_argument("id", metavar="ID", help="kind:name, as `list` prints it")
    info.add_argument("--load", action="store_true", help="import it and show what it is")
    info.set_defaults(act=_info)

    order = actions.add_parser("order", parents=[json_too], help="show the order of use")
    order.add_argument("kinds", metavar="KIND", nargs="*", help="only these kinds")
    order.set_defaults(act=_order)

    check = actions.add_parser(
        "check", parents=[json_too], help="import components and check what they promise"
    )
    check.add_argument(
        "names", metavar="DIST|ID", nargs="*", help="only these distributions or components"
    )
    check.add_argument("-v", "--verbose", action="store_true", help="show what passed, too")
    check.set_defaults(act=_check)

    doctor = actions.add_parser("doctor", parents=[json_too], help="list problems; exit code 1")
    doctor.set_defaults(act=_doctor)


def run(args: argparse.Namespace) -> int:
    """Run a subcommand and return its exit code."""
    registry = lenient_registry()
    with redirect_stdout(sys.stderr):  # what plugins print at import is no output of ours
        registry.find()
    code: int = args.act(args, registry)
    return code


def _list(args: argparse.Namespace, registry: Registry) -> int:
    hidden = () if args.all else ("disabled", "shadowed")
    records = [r for r in registry.find(args.kind) if r.state not in hidden]
    problems = _problems(registry)
    if args.json:
        _print_json(
            fingerprint=registry.fingerprint(),
            components=[record.as_dict() for record in records],
            problems=[asdict(problem) for problem in problems],
        )
        return 0
    if records:
        _print_table(records)
    else:
        kinds = ", ".join(registry.kinds())
        print(f"nothing to list; there are components of the kinds {kinds}", file=sys.stderr)
    if problems:
        print(f"problems: {len(problems)}, see `oneshot plugins doctor`", file=sys.stderr)
    return 0


def _info(args: argparse.Namespace, registry: Registry) -> int:
    record = registry.get(args.id)
    about: dict[str, object] = {}
    if args.load:
        with redirect_stdout(sys.stderr):
            loaded = registry.load(args.id)
        about = {"object": repr(loaded), "signature": _signature(loaded), "doc": _doc(loaded)}
        record = registry.get(args.id)
    shown = {**record.as_dict(), **about}
    if args.json:
        _print_json(component=shown)
        return 0
    width = max(map(len, shown))
    for name, value in shown.items():
        text = ", ".join(value) if isinstance(value, tuple) else str(value)
        if text:
            print(f"{name:<{width}}  " + text.replace("\n", f"\n{' ' * (width + 2)}"))
    return 0


def _order(args: argparse.Namespace, registry: Registry) -> int:
    if args.json:
        _print_json(components=[record.as_dict() for record in registry.ordered(*args.kinds)])
    else:
        print(registry.explain_order(*args.kinds))
    return 0


def _doctor(args: argparse.Namespace, registry: Registry) -> int:
    problems = _problems(registry)
    if args.json:
        _print_json(problems=[asdict(problem) for problem in problems])
    else:
        for problem in problems:
            print(f"{problem.subject}\n  {problem.state}: {problem.reason}\n  fix: {problem.fix}")
        print(f"problems: {len(problems)}")
    return 1 if problems else 0


def _check(args: argparse.Namespace, registry: Registry) -> int:
    from . import check  # not for the others: running a check imports torch

    return check.run(args, registry)


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


def _print_table(records: Sequence[Record]) -> None:
    from rich.console import Console  # slow to import, and JSON does without
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in ("ID", "PROVIDER", "VERSION", "STATE", ""):
        table.add_column(name, overflow="fold", no_wrap=name == "ID")
    for record in records:
        note = record.reason or record.component.summary
        cells = (record.id, record.provider, record.version, record.state, note)
        table.add_row(*map(Text, cells))  # as Text, since [...] in a string would be markup
    # A pipe has no width: one line for each record, to be searched and cut.
    Console(width=None if sys.stdout.isatty() else 1000).print(table)


def _signature(loaded: object) -> str:
    try:
        return str(inspect.signature(loaded))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""


def _doc(loaded: object) -> str:
    return inspect.getdoc(loaded) or ""
