"""``oneshot plugins check``: load components and check that they keep their promises.

The only subcommand of ``oneshot plugins`` that imports torch. JSON has the schema
``oneshot.conformance/1``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout

from oneshot_core.discovery import Registry
from oneshot_core.terminal import printable

from .kit import Case, Report, cases


class CheckCommand:
    """The command; see :mod:`oneshot_core.cli`."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Describe the arguments."""
        parser.description = (
            "Import components and check what their kinds promise, by training small networks: "
            "takes seconds for each component. Imports torch. Exit code 1 if a check fails or if "
            "a plugin is missing that the project requires."
        )
        parser.add_argument(
            "--json", action="store_true", help="print JSON; it begins with the name of its schema"
        )
        parser.add_argument(
            "names", metavar="DIST|ID", nargs="*", help="only these distributions or components"
        )
        parser.add_argument("-v", "--verbose", action="store_true", help="show what passed, too")

    def run(self, args: argparse.Namespace) -> int:
        """Check what ``args`` names, print what was found, and return 1 if something failed."""
        registry: Registry = args.registry
        with redirect_stdout(sys.stderr):  # what components print is no output of ours
            planned = cases(*args.names, registry=registry)
            results = [case.run() for case in _shown(planned)]
        report = Report(tuple(results))
        if args.json:
            print(report.to_json())
        else:
            _print(report, verbose=args.verbose)
        missing = registry.missing()
        for problem in missing:
            print(printable(str(problem)), file=sys.stderr)
        return 0 if report.ok and not missing else 1


def _print(report: Report, verbose: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in ("OUTCOME", "CHECKED", "CHECK"):
        table.add_column(name, no_wrap=True)
    table.add_column("", overflow="fold")
    styles = {
        "passed": "green",
        "failed": "bold red",
        "advice": "yellow",
        "skipped": "dim",
        "expected": "yellow",
    }
    for result in report:
        if verbose or result.outcome in ("failed", "advice", "expected"):
            outcome = Text(result.outcome, styles[result.outcome])
            # As Text, since [...] in a string would be markup.
            table.add_row(outcome, result.subject, result.check, Text(printable(result.message)))
    # A pipe has no width: nothing is cut there.
    console = Console(width=None if sys.stdout.isatty() else 1000, highlight=False)
    if table.row_count:
        console.print(table)
    console.print(report.summary)


def _shown(planned: list[Case]) -> Iterable[Case]:
    """Return the cases, with a bar on stderr while they run."""
    from rich.console import Console
    from rich.progress import track

    off = not sys.stderr.isatty()
    return track(planned, "checking", console=Console(stderr=True), transient=True, disable=off)


command = CheckCommand()
