"""Scored architectures as a cloud of points, with what the page needs to name them on hover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .folder import Baseline, Beside, Choices, Point, Scores
from .plots import Scale, Spot, staircase
from .text import choice, cut, number

PLOTS = 4
"""Pairs of quantities that are drawn."""
ROWS = 10
"""Of the table of the best."""
HIGH, WIDE = 6.5, 1.7
"""Of a name in a plot, and of its letters, in per cent."""
LONGEST = 28
"""Letters of a name in a plot."""


@dataclass(frozen=True)
class Mark:
    """A point that is named in the plot.

    Attributes:
        text: its name.
        x: where it is.
        y: where it is.
        kind: ``"chosen"`` or ``"baseline"``.
        at: height of the name, so that none covers another.
    """

    text: str
    x: float
    y: float
    kind: str
    at: float

    @property
    def left(self) -> bool:
        """Whether the name stands to the left."""
        return self.x > 60


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
        random: random architectures that are not among the scores.
    """

    x: str
    y: str
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    places: Sequence[Spot]
    front: Sequence[Spot]
    stairs: Sequence[Spot]
    marks: Sequence[Mark]
    random: Sequence[Spot]


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
    beside = [b for b in _beside(scores, baselines, chosen) if x in b.values and y in b.values]
    random = [v for v in scores.beside.random if x in v and y in v] if scores.beside else []
    others = [*(b.values for b in beside), *random]
    right = Scale.around([*across, *(values[x] for values in others)])
    top = Scale.around([*up, *(values[y] for values in others)], log=False)
    places = [(right(a), top(b)) for a, b in zip(across, up, strict=True)]
    front, stairs = _front(scores, x, places)
    at = next((i for i, p in enumerate(scores.points) if p.architecture == chosen), None)
    named = [("best" if at is None else "chosen", *places[at or 0], "chosen")]
    named += [(b.name, right(b.values[x]), top(b.values[y]), "baseline") for b in beside]
    return Cloud(
        scores.named(x) if x else "place in the ranking",
        scores.named(y),
        right.ticks(),
        top.ticks(),
        places,
        front,
        stairs,
        _marks(named),
        [(right(values[x]), top(values[y])) for values in random],
    )


def _beside(
    scores: Scores, baselines: Sequence[Baseline], chosen: Choices | None
) -> list[Baseline]:
    """Return what is marked: of the rows beside the scores those of one architecture."""
    rows = [] if scores.beside is None else scores.beside.rows
    known = [chosen, *(point.architecture for point in scores.points if point.best)]
    single = [r for r in rows if r.architecture is not None and r.architecture not in known]
    return [*single, *baselines]


def _marks(named: Sequence[tuple[str, float, float, str]]) -> list[Mark]:
    """Return marks whose names do not cover each other."""
    placed: list[Mark] = []
    for text, x, y, kind in sorted(named, key=lambda mark: -mark[2]):
        mark = Mark(cut(text, LONGEST), x, y, kind, y)
        for other in placed:  # from top to bottom
            if _overlap(mark, other):
                mark = replace(mark, at=round(other.at - HIGH, 2))
        placed.append(mark)
        placed.sort(key=lambda mark: -mark.at)
    # The chosen one is drawn last, over all others.
    return sorted(placed, key=lambda mark: mark.kind)


def _overlap(one: Mark, other: Mark) -> bool:
    (a, b), (c, d) = _ends(one), _ends(other)
    return abs(one.at - other.at) < HIGH and a < d and c < b


def _ends(mark: Mark) -> Spot:
    width = WIDE * (len(mark.text) + 3)
    return (mark.x - width, mark.x) if mark.left else (mark.x, mark.x + width)


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
        "quantities": list(map(scores.named, quantities)),
        "values": [[number(p.values[name]) for name in quantities] for p in scores.points],
    }


def best_rows(scores: Scores) -> tuple[list[str], list[list[str]]]:
    """Return the table of the best: names of columns, cells. Others are told by what differs.

    Of a front those that are on it.
    """
    quantities = [*list(scores.objectives)[:1], *scores.others]
    several = len(scores.objectives) > 1
    points = [point for point in scores.points if point.best or not several]
    first = points[0].architecture if points else {}
    table = []
    for place, point in enumerate(points[:ROWS], 1):
        said = said_of(point.architecture) if place == 1 else difference(first, point.architecture)
        table.append([str(place), *(number(point.values[name]) for name in quantities), said])
    return [
        "",
        *map(scores.named, quantities),
        "architecture; below the first: what differs from it",
    ], table


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
