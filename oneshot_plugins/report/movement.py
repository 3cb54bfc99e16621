"""How the probabilities moved, as panels: one for each label, the winner before the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .folder import History
from .plots import Scale, Spot, apart, thinned
from .text import choice, number, shortened

POINTS = 60
"""Of a line at most."""
NAMED = 4
"""Candidates of a panel that are named beside their line."""
METRICS = 12
LONGEST = 18
"""Letters of a candidate."""
TOPS = (0.25, 0.5, 0.75, 1.0)
"""Ends of the vertical axis of probabilities."""


@dataclass(frozen=True)
class Name:
    """Text beside the end of a line, ``y`` per cent from the bottom; ``full`` is not cut."""

    text: str
    full: str
    value: str
    y: float
    wins: bool


@dataclass(frozen=True)
class Panel:
    """A small plot.

    Attributes:
        title: a label, or a metric.
        others: the lines in the background.
        winner: the line in front.
        names: at the ends of lines.
        ends: texts at the ends of the horizontal axis.
        low: text at the bottom of the vertical axis.
        high: text at its top.
        moved: by how much the probability that moved most did.
    """

    title: str
    others: Sequence[Sequence[Spot]]
    winner: Sequence[Spot]
    names: Sequence[Name]
    ends: tuple[str, str]
    low: str = "0"
    high: str = "1"
    moved: float = 0.0


def panels(history: History) -> list[Panel]:
    """Return a panel for each label with two or more candidates; all have one vertical axis."""
    if len(history.epochs) < 2:
        return []
    labels = [label for label, candidates in history.candidates.items() if len(candidates) > 1]
    most = max(
        (max(epoch.probabilities[label]) for epoch in history.epochs for label in labels),
        default=1.0,
    )
    top = next(high for high in TOPS if most <= high or high == 1.0)
    return [_panel(label, history, top) for label in labels]


def _panel(label: str, history: History, top: float) -> Panel:
    epochs = [history.epochs[i] for i in thinned(len(history.epochs), POINTS)]
    across = Scale(epochs[0].epoch, epochs[-1].epoch)
    rows = [epoch.probabilities[label] for epoch in epochs]
    n = len(rows[0])
    paths = [
        [(across(e.epoch), 100 * row[i] / top) for e, row in zip(epochs, rows, strict=True)]
        for i in range(n)
    ]
    order = sorted(range(n), key=lambda i: -rows[-1][i])
    shown = order[:NAMED]
    places = apart([100 * rows[-1][i] / top for i in shown], 15.0)
    full = [choice(candidate) for candidate in history.candidates[label]]
    short = shortened(full, LONGEST)
    names = [
        Name(short[i], full[i], f"{rows[-1][i]:.0%}", y, i == order[0])
        for i, y in zip(shown, places, strict=True)
    ]
    moved = max(abs(a - b) for a, b in zip(rows[0], rows[-1], strict=True))
    return Panel(
        label,
        [_rounded(paths[i]) for i in order[1:]],
        _rounded(paths[order[0]]),
        names,
        _ends(epochs),
        high=number(top),
        moved=moved,
    )


def _rounded(points: Sequence[Spot]) -> list[Spot]:
    return [(round(x, 1), round(y, 1)) for x, y in points]


def _ends(epochs: Sequence[Any]) -> tuple[str, str]:
    return f"epoch {epochs[0].epoch}", str(epochs[-1].epoch)


def entropies(history: History, parameters: Mapping[str, Any]) -> list[float]:
    """Return, epoch by epoch, how undecided the search is on average: 1 not at all, 0 wholly."""
    means = []
    for epoch in history.epochs:
        each = [
            _entropy(p, parameters.get(label, {}).get("n_chosen", 1))
            for label, p in epoch.probabilities.items()
            if len(p) > 1
        ]
        means.append(sum(each) / len(each) if each else 0.0)
    return means


def _entropy(p: Sequence[float], n_chosen: int | None) -> float:
    """As :meth:`oneshot_core.Decision.entropy`, which needs torch."""
    if n_chosen is None:
        return sum(_bits(x) + _bits(1 - x) for x in p) / len(p)
    total = sum(p)
    return sum(_bits(x / total) for x in p) / math.log2(len(p))


def _bits(p: float) -> float:
    return -p * math.log2(p) if p > 0 else 0.0


def entropy_panel(history: History, parameters: Mapping[str, Any]) -> Panel:
    """Return a panel of :func:`entropies`."""
    values = entropies(history, parameters)
    numbers = [epoch.epoch for epoch in history.epochs]
    return _curve("entropy, mean of all labels", numbers, values, Scale(0.0, 1.0))


def metric_panels(history: History) -> list[Panel]:
    """Return a panel for each metric that was logged in two epochs or more."""
    names = dict.fromkeys(name for epoch in history.epochs for name in epoch.metrics)
    found = []
    for name in names:
        logged = [(e.epoch, e.metrics[name]) for e in history.epochs if name in e.metrics]
        finite = [(epoch, value) for epoch, value in logged if value is not None]
        if len(finite) > 1:
            epochs, values = zip(*finite, strict=True)
            found.append(_curve(name, epochs, values, Scale.around(values, log=False)))
    return found[:METRICS]


def _curve(title: str, epochs: Sequence[int], values: Sequence[float], up: Scale) -> Panel:
    kept = thinned(len(epochs), 2 * POINTS)
    across = Scale(epochs[0], epochs[-1])
    points = [(across(epochs[i]), up(values[i])) for i in kept]
    end = Name("", "", number(values[-1]), points[-1][1], True)
    low, high = (number(min(values)), number(max(values))) if up.high != 1.0 else ("0", "1")
    if min(values) == max(values):  # in the middle, where its number stands
        low = high = ""
    ends = (f"epoch {epochs[0]}", str(epochs[-1]))
    return Panel(title, [], _rounded(points), [end], ends, low, high)


def preferred(history: History, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the most probable choice of each label at present; empty if nothing has moved."""
    if len(history.epochs) < 2 or all(panel.moved < 1e-6 for panel in panels(history)):
        return {}
    found: dict[str, Any] = {}
    for label, p in history.epochs[-1].probabilities.items():
        candidates = history.candidates[label]
        n = parameters.get(label, {}).get("n_chosen", 1)
        order = sorted(range(len(p)), key=lambda i: -p[i])
        if n == 1:
            found[label] = candidates[order[0]]
        else:
            kept = [i for i in order if p[i] >= 0.5] or order[:1]
            found[label] = [candidates[i] for i in sorted(order[:n] if n else kept)]
    return found
