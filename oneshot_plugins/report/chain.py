"""The chosen architecture as a graph: one row for each label, a path through what is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .curves import Curve, straight
from .folder import Choices
from .text import choice, shortened

LETTER = 7.25
"""Width of a letter in the page's monospaced text of 12 px."""
ROW, BOX, GAP, PADDING = 50.0, 26.0, 8.0, 10.0
WIDTH = 350.0
"""Of the boxes of a row, in px; those that are chosen are drawn in any case."""
LONGEST = 20
"""Letters of a candidate."""
NAME = 26
"""Letters of a label, and of a path."""
ROWS = 14
"""Of a column."""


@dataclass(frozen=True)
class Option:
    """A candidate, or what stands for several that are not drawn."""

    text: str
    full: str
    chosen: bool
    probability: float | None = None


@dataclass(frozen=True)
class Row:
    """What is decided under one label.

    Attributes:
        label: its name.
        path: the first module that asks it; how many more there are is in ``more``.
        more: see there.
        options: what could be taken.
        active: whether it decides something in this architecture.
    """

    label: str
    path: str
    more: int
    options: Sequence[Option]
    active: bool


@dataclass(frozen=True)
class Box:
    """An option where it is drawn."""

    option: Option
    x: float
    width: float


@dataclass(frozen=True)
class Line:
    """A row where it is drawn; ``y`` is the top of its boxes, the names are beside them."""

    row: Row
    y: float
    boxes: Sequence[Box]
    label: str
    path: str


@dataclass(frozen=True)
class Column:
    """Rows below each other.

    Attributes:
        lines: from top to bottom.
        links: from what is chosen to what is chosen next.
        width: in px.
        height: in px.
    """

    lines: Sequence[Line]
    links: Sequence[Curve]
    width: float
    height: float


def rows(
    space: Mapping[str, Any],
    chosen: Choices,
    probabilities: Mapping[str, Sequence[float]],
    leave_out: frozenset[str] = frozenset(),
) -> list[Row]:
    """Return what is decided, in the order in which the model runs.

    Args:
        space: of ``run.json``.
        chosen: label -> choice; a label that is not in it decides nothing.
        probabilities: label -> one for each candidate, at the end.
        leave_out: labels that are drawn elsewhere.
    """
    paths: dict[str, list[str]] = {}
    for place in space.get("places", []):
        for label in place["labels"]:
            paths.setdefault(label, []).append(place["path"])
    found = []
    for label in [*paths, *(name for name in space["parameters"] if name not in paths)]:
        if label in space["parameters"] and label not in leave_out:
            at = paths.get(label, [""])
            options = _options(
                space["parameters"][label],
                label in chosen,
                chosen.get(label),
                probabilities.get(label),
            )
            found.append(Row(label, at[0], len(at) - 1, options, label in chosen))
    return found


def _options(
    parameter: Mapping[str, Any], active: bool, taken: Any, p: Sequence[float] | None
) -> list[Option]:
    if parameter.get("interval"):
        low, high, _ = parameter["interval"]
        between = f"of {choice(low)} to {choice(high)}"
        return [Option(f"{choice(taken)} {between}" if active else between, between, active)]
    members = taken if isinstance(taken, list) else [taken]
    full = [choice(candidate) for candidate in parameter["candidates"]]
    options = []
    for index, (text, candidate) in enumerate(
        zip(shortened(full, LONGEST), parameter["candidates"], strict=True)
    ):
        probability = p[index] if p is not None and index < len(p) else None
        options.append(Option(text, full[index], active and candidate in members, probability))
    return options


def columns(found: Sequence[Row], width: float = WIDTH) -> list[Column]:
    """Lay rows out in columns, with boxes as far as ``width``."""
    labels = shortened([row.label for row in found], NAME)
    names = [(label, _below(row)) for label, row in zip(labels, found, strict=True)]
    left = 16 + 7.1 * max((len(text) for pair in names for text in pair), default=0)
    lines = [
        Line(row, 8 + i % ROWS * ROW, list(_boxes(row.options, left, width)), *pair)
        for i, (row, pair) in enumerate(zip(found, names, strict=True))
    ]
    parts = [lines[i : i + ROWS] for i in range(0, len(lines), ROWS)]
    return [_column(part, begins=not i, ends=i == len(parts) - 1) for i, part in enumerate(parts)]


def _below(row: Row) -> str:
    """Return what is written below the label."""
    if not row.active:
        return "decides nothing"
    if row.path == row.label:
        return f"and {row.more} more" if row.more else ""
    more = f" +{row.more}" if row.more else ""
    room = NAME - len(more)
    path = row.path if len(row.path) <= room else f"…{row.path[1 - room :]}"
    return path + more


def _column(lines: Sequence[Line], *, begins: bool, ends: bool) -> Column:
    return Column(
        lines,
        list(_links([line for line in lines if line.row.active], begins, ends)),
        max(b.x + b.width for line in lines for b in line.boxes) + 1,
        lines[-1].y + BOX + 14,
    )


def _boxes(options: Sequence[Option], left: float, most: float) -> Iterator[Box]:
    """Yield as many options as fit, those that are chosen in any case."""
    kept = list(options)
    while len(kept) > 1 and _width(kept, len(options)) > most:
        spare = [i for i, option in enumerate(kept) if not option.chosen]
        if not spare:
            break
        del kept[spare[-1]]
    if len(kept) < len(options):
        hidden = [option.full for option in options if option not in kept]
        kept.append(Option(f"+{len(hidden)}", ", ".join(hidden), False))
    x = left
    for option in kept:
        width = _box(option)
        yield Box(option, round(x, 1), width)
        x += width + GAP


def _box(option: Option) -> float:
    return round(len(option.text) * LETTER + 2 * PADDING, 1)


def _width(kept: Sequence[Option], n: int) -> float:
    more = 5 * LETTER + GAP if len(kept) < n else 0.0
    return sum(_box(option) + GAP for option in kept) + more


def _links(lines: Sequence[Line], begins: bool, ends: bool) -> Iterator[Curve]:
    for above, below in pairwise(lines):
        for one in _middles(above):
            for other in _middles(below):
                top, bottom = above.y + BOX, below.y
                middle = (top + bottom) / 2
                yield (one, top), (one, middle), (other, middle), (other, bottom)
    if lines and not begins:
        yield from (straight(x, 0.0, lines[0].y) for x in _middles(lines[0]))
    if lines and not ends:
        y = lines[-1].y + BOX
        yield from (straight(x, y, y + 12) for x in _middles(lines[-1]))


def _middles(line: Line) -> list[float]:
    return [round(b.x + b.width / 2, 1) for b in line.boxes if b.option.chosen]
