"""What was scored beside a ranking or a front, and is better than what was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from .baselines import Baseline, Baselines, Values

UNTRAINED = (
    "the supernet is untrained: its weights are those that the search was made with. The scores "
    "say something only if those were trained before"
)


def better_row(baselines: Baselines | None, metric: str, mode: str, best: float) -> int | None:
    """Return the position of the best row that is an architecture and beats ``best``, if any."""
    rows = [] if baselines is None else baselines.rows
    sign = 1.0 if mode == "max" else -1.0
    beats = {  # what is NaN beats nothing
        i: sign * row.values[metric]
        for i, row in enumerate(rows)
        if row.architecture is not None and sign * row.values.get(metric, math.nan) > sign * best
    }
    return max(beats, key=lambda i: beats[i], default=None)


def beyond(
    baselines: Baselines | None,
    front: Iterable[Values],
    objectives: Mapping[str, str],
    keeps: Callable[[Values], bool],
) -> list[Baseline]:
    """Return what was scored beside a front and would be on it, of equals the first.

    Args:
        baselines: of the front.
        front: its numbers.
        objectives: name -> ``"max"`` or ``"min"``.
        keeps: whether numbers are within the constraints.
    """
    if baselines is None:
        return []
    beside = [Baseline("random", values, a) for a, values in baselines.sample.items()]
    beside += [row for row in baselines.rows if row.architecture is not None]

    def point(values: Values) -> tuple[float, ...]:
        return tuple(values[n] if mode == "max" else -values[n] for n, mode in objectives.items())

    known = {point(values) for values in front}
    others: dict[tuple[float, ...], Baseline] = {}
    for row in beside:
        if keeps(row.values) and point(row.values) not in known:
            others.setdefault(point(row.values), row)
    every = [*known, *others]
    return [
        row
        for one, row in others.items()
        if not any(one != p and all(x >= y for x, y in zip(p, one, strict=True)) for p in every)
        and all(x == x for x in one)  # NaN compares with nothing
    ]
