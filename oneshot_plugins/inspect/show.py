"""An inspection as tables: for a terminal, a pipe, or a notebook."""

from __future__ import annotations

import html
import io
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from oneshot_plugins.costs.measured import per_batch

from .report import Capability, ChoiceInfo, Finding, Inspection, digits

WIDTH = 100
"""Of text that goes to no terminal."""


@dataclass(frozen=True)
class Section:
    """A heading with rows or lines.

    Args:
        title: the heading.
        head: names of the columns; none for lines.
        rows: cells.
        style: of the heading.
        right: positions of the columns of numbers.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    style: str = "bold"
    right: tuple[int, ...] = ()


def sections(report: Inspection) -> Iterator[Section]:
    """Yield what there is to show, in order."""
    title = f"{report.model}: {count(report.architectures)}"
    if report.choices:
        head = ("CHOICE", "KIND", "CANDIDATES", "DEFAULT", "ACTIVE", "AT")
        yield Section(title, head, tuple(map(_choice, report.choices)))
    else:
        yield Section(title, (), (("nothing is to be chosen",),))
    if report.constraints:
        yield Section("Constraints", (), tuple((c,) for c in report.constraints))
    yield _sizes(report)
    yield _memory(report)
    if report.capabilities:
        rows = tuple(row for c in report.capabilities for row in _capability(c, report))
        yield Section("Strategies", ("STRATEGY", "ABLE", "WHY"), rows)
    if report.problems:
        title = f"Problems: {len(report.problems)}"
        yield Section(title, (), tuple(map(_finding, report.problems)), "bold red")
    if report.warnings:
        title = f"Legal, but may surprise: {len(report.warnings)}"
        yield Section(title, (), tuple(map(_finding, report.warnings)), "bold yellow")
    if not report.problems:
        yield Section("No problems", (), (), "bold green")


def count(architectures: int | None) -> str:
    """Return a number of architectures: exactly, and as a power of ten if it is huge."""
    if architectures is None:
        return "infinitely many architectures"
    if architectures < 10**15:
        return f"{architectures:,} architecture{'s' * (architectures != 1)}"
    exponent = math.floor(math.log10(architectures))
    mantissa = (
        architectures / 10**exponent
        if exponent < 300
        else 10 ** (math.log10(architectures) - exponent)
    )
    return f"{mantissa:.3g} x 10^{exponent} architectures, exactly {digits(architectures)}"


def size(number: int | None) -> str:
    """Return a number of bytes for people."""
    if number is None:
        return "?"
    if number < 1024:
        return f"{number} B"
    amount = float(number)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        amount /= 1024
        if amount < 1024 or unit == "TiB":
            break
    return f"{amount:.4g} {unit}"


def _choice(choice: ChoiceInfo) -> tuple[str, ...]:
    if choice.interval is not None:
        low, high, log = choice.interval
        candidates = f"{low:g} to {high:g}{' (log)' * log}"
    else:
        candidates = _some([str(c) for c in choice.candidates], 8)
        if choice.n_chosen != 1:
            candidates = f"{choice.n_chosen or 'any'} of {candidates}"
    default = choice.default
    shown = "+".join(map(str, default)) if isinstance(default, tuple) else str(default)
    if isinstance(default, float):
        shown = f"{default:g}"
    when = " or ".join(choice.when)
    return (
        choice.label,
        choice.kind,
        candidates,
        shown,
        f"if {when}" if when else "always",
        _some(list(choice.paths), 1),
    )


def _some(items: Sequence[str], limit: int) -> str:
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown}, ... {len(items) - limit} more"


def _sizes(report: Inspection) -> Section:
    sizes = report.sizes
    networks = {"smallest": sizes.smallest, "default": sizes.default, "largest": sizes.largest}
    names = [name for name in sizes.default.costs if name != "parameters"]
    rows = []
    for name, network in networks.items():
        parameters = network.costs.get("parameters", network.parameters)
        cells = [f"{parameters:,.0f}"]
        cells += [_number(network.costs.get(cost)) for cost in names]
        rows.append((name, *cells, size(network.weight_bytes)))
    how = {
        "enumeration": "all networks counted",
        "greedy": "one choice changed at a time from the default; exact where contributions add up",
    }[sizes.method]
    fed = f"; costs of {_fed(report)}" if report.fed and names else ""
    head = ("NETWORK", "PARAMETERS", *(name.upper() for name in names), "WEIGHTS")
    right = tuple(range(1, len(head)))
    return Section(f"Size ({how}{fed})", head, tuple(rows), right=right)


def _fed(report: Inspection) -> str:
    about = per_batch(report.batch)
    return f"{report.fed}, {about}" if about else report.fed


def _number(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.6g}"


def _memory(report: Inspection) -> Section:
    memory = report.memory
    rows = [
        ("supernet weights", size(memory.supernet_weights), "parameters and buffers"),
        ("supernet gradients", size(memory.supernet_gradients), "before any optimizer state"),
        ("largest network weights", size(memory.largest_weights), ""),
    ]
    if memory.default_activations is not None:
        where = "" if report.device == "meta" else f", run on {report.device}"
        note = f"outputs, for {_fed(report)}{where}"
        rows.append(("activations, default", size(memory.default_activations), note))
    if memory.superposed_activations is not None:
        note = "all candidates weighted at once"
        rows.append(("activations, superposed", size(memory.superposed_activations), note))
    elif memory.note:
        rows.append(("activations, superposed", "?", memory.note))
    return Section("Memory", ("WHAT", "BYTES", ""), tuple(rows), right=(1,))


def _capability(capability: Capability, report: Inspection) -> Iterator[tuple[str, ...]]:
    able = {True: "yes", False: "no", None: "?"}[capability.able]
    how = "weights candidates at once" if capability.superposes else "draws candidates"
    if not capability.refusals:
        tried = "mutated and run" if capability.ran else "mutated, not run"
        yield capability.strategy, able, f"{how}; {tried}"
    problems = {problem.message for problem in report.problems}
    for index, refusal in enumerate(capability.refusals):
        where = ""
        if refusal.path and repr(refusal.path) not in refusal.reason:
            where = f"{refusal.path}: "
        why = f"{where}{refusal.reason}"
        if refusal.reason in problems:
            why = f"a problem below: {', '.join(refusal.labels) or 'the default network'}"
        first = (capability.strategy, able) if index == 0 else ("", "")
        yield *first, why


def _finding(finding: Finding) -> tuple[str, ...]:
    fix = f" (fix: {finding.fix})" if finding.fix else ""
    return (f"- {finding.message}{fix}",)


def as_text(report: Inspection) -> str:
    """Return tables as text, in colour if it goes to a terminal."""
    from rich.console import Console  # slow to import, and JSON does without
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        force_terminal=terminal,
        color_system="auto" if terminal else None,
        width=None if terminal else WIDTH,
        highlight=False,
    )
    for number, section in enumerate(sections(report)):
        if number:
            console.print()
        # As Text, since [...] in a string would be markup.
        console.print(Text(section.title, section.style), soft_wrap=not section.head)
        if section.head:
            table = Table(box=None, pad_edge=False, show_edge=False)
            for index, name in enumerate(section.head):
                justify: Literal["left", "right"] = "right" if index in section.right else "left"
                # The first column is what is looked for, such as a label: it is not broken.
                table.add_column(name, overflow="fold", justify=justify, no_wrap=index == 0)
            for row in section.rows:
                table.add_row(*map(Text, row))
            console.print(table)
        else:
            for row in section.rows:
                console.print(Text(row[0]))
    return "\n".join(line.rstrip() for line in buffer.getvalue().rstrip().splitlines())


def as_html(report: Inspection) -> str:
    """Return tables as HTML."""
    parts = []
    for section in sections(report):
        parts.append(f"<h4>{html.escape(section.title)}</h4>")
        if section.head:
            head = "".join(f"<th>{html.escape(name)}</th>" for name in section.head)
            rows = "".join(
                "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
                for row in section.rows
            )
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
        elif section.rows:
            items = "".join(
                f"<li>{html.escape(r[0].removeprefix('- '))}</li>" for r in section.rows
            )
            parts.append(f"<ul>{items}</ul>")
    return "".join(parts)
