"""Things that are compared, a row for each, with a dot for each of their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .folder import Baseline, Choices
from .text import number


@dataclass(frozen=True)
class Dot:
    """A number, and where it is between the smallest and the largest of its column, in per cent."""

    share: float
    text: str


@dataclass(frozen=True)
class Track:
    """A row; ``dots`` are in the order of the columns, None where there is no number."""

    name: str
    notes: Sequence[str]
    is_chosen: bool
    dots: Sequence[Dot | None]


@dataclass(frozen=True)
class Tracks:
    """What is compared.

    Attributes:
        quantities: names of the columns.
        rows: from top to bottom.
    """

    quantities: Sequence[str]
    rows: Sequence[Track]


def tracks(compared: Sequence[Baseline], chosen: Choices | None) -> Tracks:
    """Lay out what is compared.

    Args:
        compared: the rows.
        chosen: the architecture whose rows are marked.
    """
    quantities = list(dict.fromkeys(name for row in compared for name in row.values))
    columns = {q: [row.values[q] for row in compared if q in row.values] for q in quantities}
    rows = []
    for row in compared:
        is_chosen = chosen is not None and row.architecture == chosen
        notes = ["the chosen architecture"] if is_chosen else []
        notes += [] if row.seed is None else [f"seed {row.seed}"]
        dots = [_dot(row.values, q, columns[q]) for q in quantities]
        rows.append(Track(row.name, notes, is_chosen, dots))
    return Tracks(quantities, rows)


def _dot(values: Mapping[str, float], quantity: str, column: Sequence[float]) -> Dot | None:
    if quantity not in values:
        return None
    low, high = min(column), max(column)
    value = values[quantity]
    share = 50.0 if low == high else round(100 * (value - low) / (high - low), 1)
    return Dot(share, number(value))
