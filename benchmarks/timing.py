"""Time two things in turn, so that whatever else the machine does hits both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple


class Ratio(NamedTuple):
    """How long one thing takes, relative to another.

    Attributes:
        median: of the ratios of all pairs.
        low: their lower quartile.
        high: their upper quartile.
        ours: median time in seconds.
        theirs: median time in seconds.
    """

    median: float
    low: float
    high: float
    ours: float
    theirs: float


def compare(ours: Callable[[], object], theirs: Callable[[], object], pairs: int = 15) -> Ratio:
    """Run both once to warm up, then in turn, swapping who goes first."""
    return compare_seconds(partial(_time, ours), partial(_time, theirs), pairs)


def compare_seconds(
    ours: Callable[[], float], theirs: Callable[[], float], pairs: int = 15
) -> Ratio:
    """As :func:`compare`, of what says itself how many seconds it took."""
    ours()
    theirs()
    times: list[tuple[float, float]] = []
    for pair in range(pairs):
        if pair % 2:
            mine, other = ours(), theirs()
        else:
            other, mine = theirs(), ours()
        times.append((mine, other))
    ratios = [mine / other for mine, other in times]
    low, median, high = statistics.quantiles(ratios, n=4)
    return Ratio(
        median,
        low,
        high,
        statistics.median(mine for mine, _ in times),
        statistics.median(other for _, other in times),
    )


def _time(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
