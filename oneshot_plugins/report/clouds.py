"""Scored architectures as a cloud of points, with what the page needs to name them on hover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .folder import Baseline, Beside, Choices, Point, Scores
from .plots import Scale, Spot, staircase
from .text import choice, number

PLOTS = 4
"""Pairs of quantities that are drawn."""
ROWS = 10
"""Of the table of the best."""


@dataclass(frozen=True)
class Mark:
    """A point that is named in the plot."""

    text: str
    x: float
    y: float
    kind: str


@dataclass(frozen=True)
class Cloud:
    """A plot of one quantity over another.

    Attributes:
        x: name on the horizontal axis.
        y: name on the vertical axis.
        x_ticks: where, and what is written there.
        y_ticks: likewise.
        places: of each point, in the order of the scores.
        front: of those on the front.
        stairs: corners of the line along the front.
        marks: what is named.
    """

    x: str
    y: str
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    places: Sequence[Spot]
    front: Sequence[Spot]
    stairs: Sequence[Spot]
    marks: Sequence[Mark]


def clouds(
    scores: Scores, chosen: Choices | None, baselines: Sequence[Baseline] = ()
) -> list[Cloud]:
    """Return a plot over each other quantity, or over the place if there is none."""
    if not scores.points:
        return []
    y, *_ = scores.objectives
    return [_cloud(scores, x, y, chosen, baselines) for x in (scores.others or [""])[:PLOTS]]


def _cloud(
    scores: Scores, x: str, y: str, chosen: Choices | None, baselines: Sequence[Baseline]
) -> Cloud:
    across = [point.values[x] if x else place for place, point in enumerate(scores.points, 1)]
    up = [point.values[y] for point in scores.points]
    beside = [b for b in baselines if x in b.values and y in b.values]
    right = Scale.around([*across, *(b.values[x] for b in beside)])
    top = Scale.around([*up, *(b.values[y] for b in beside)], log=False)
    places = [(right(a), top(b)) for a, b in zip(across, up, strict=True)]
    front, stairs = _front(scores, x, places)
    marks = [
        Mark("chosen", *places[i], "chosen")
        for i, point in enumerate(scores.points)
        if chosen is not None and point.architecture == chosen
    ][:1]
    if not marks:
        marks = [Mark("best", *places[0], "chosen")]
    marks += [Mark(b.name, right(b.values[x]), top(b.values[y]), "baseline") for b in beside]
    return Cloud(
        x or "place in the ranking",
        y,
        right.ticks(),
        top.ticks(),
        places,
        front,
        stairs,
        marks,
    )


def _front(scores: Scores, x: str, places: Sequence[Spot]) -> tuple[list[Spot], list[Spot]]:
    """Return what is drawn strong, and the line along it.

    A front knows what is on it, in all its objectives; the line is that of two. In a ranking,
    what no other beats in score and cost is drawn; a cost is better the smaller it is.
    """
    if len(scores.objectives) == 1:
        upwards = next(iter(scores.objectives.values())) == "max"
        front = _unbeaten(places, upwards) if x else []
        return front, staircase(front)
    on_it = [place for place, point in zip(places, scores.points, strict=True) if point.best]
    if len(scores.objectives) > 2 or x not in scores.objectives:
        return on_it, []
    return on_it, staircase(on_it, leftwards=scores.objectives[x] == "max")


def _unbeaten(places: Sequence[Spot], upwards: bool) -> list[Spot]:
    """Return what no other beats, from left to right; further to the left is better."""
    sign = 1 if upwards else -1
    kept: list[Spot] = []
    for x, y in sorted(places, key=lambda place: (place[0], -sign * place[1])):
        if not kept or sign * y > sign * kept[-1][1]:
            kept.append((x, y))
    return kept


def names(scores: Scores) -> dict[str, Any]:
    """Return the architectures for the page's script, each text once.

    ``labels``; ``texts``, for each label what is chosen somewhere; ``points``, for each point
    its position in ``texts``, label by label, -1 where a label decides nothing; ``quantities``
    and ``values``.
    """
    labels = list(dict.fromkeys(label for p in scores.points for label in p.architecture))
    texts: list[dict[str, int]] = [{} for _ in labels]

    def position(index: int, point: Point) -> int:
        if labels[index] not in point.architecture:
            return -1
        known = texts[index]
        return known.setdefault(choice(point.architecture[labels[index]]), len(known))

    points = [[position(i, point) for i in range(len(labels))] for point in scores.points]
    quantities = [*list(scores.objectives)[:1], *scores.others]
    return {
        "labels": labels,
        "texts": [list(known) for known in texts],
        "points": points,
        "quantities": quantities,
        "values": [[number(p.values[name]) for name in quantities] for p in scores.points],
    }


def best_rows(scores: Scores) -> tuple[list[str], list[list[str]]]:
    """Return the table of the best: names of columns, cells. Others are told by what differs."""
    quantities = [*list(scores.objectives)[:1], *scores.others]
    first = scores.points[0].architecture if scores.points else {}
    table = []
    for place, point in enumerate(scores.points[:ROWS], 1):
        said = said_of(point.architecture) if place == 1 else difference(first, point.architecture)
        table.append([str(place), *(number(point.values[name]) for name in quantities), said])
    return ["", *quantities, "architecture; below the first: what differs from it"], table


def beside_rows(beside: Beside) -> tuple[list[str], list[list[str]]]:
    """Return the table of what was scored for comparison: names of columns, cells."""
    names_ = list(dict.fromkeys(name for values in beside.rows.values() for name in values))
    table = [
        [row, *(number(values.get(name)) for name in names_)] for row, values in beside.rows.items()
    ]
    return ["beside it", *names_], table


def agreements(beside: Beside) -> list[str]:
    """Return Kendall's tau of every pair that has one, as text."""
    return [f"{a} and {b} {tau:.2f}" for a, b, tau in beside.agreement if tau is not None]


def said_of(architecture: Mapping[str, Any], most: int = 12) -> str:
    """Return choices as text, the first of them if there are many."""
    shown = [f"{label} {choice(value)}" for label, value in list(architecture.items())[:most]]
    more = len(architecture) - most
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def difference(first: Mapping[str, Any], other: Mapping[str, Any], most: int = 6) -> str:
    """Return what is chosen otherwise."""
    labels = dict.fromkeys([*first, *other])
    found = {
        label: other.get(label, "not asked")
        for label in labels
        if first.get(label) != other.get(label)
    }
    return said_of(found, most) if found else "the same choices"
