"""How well two orders of the same architectures agree."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence


def kendall_tau(a: Sequence[float], b: Sequence[float]) -> float:
    """Return Kendall's tau-b of two lists: 1 for the same order, -1 for the reverse.

    Pairs that are tied in a list are no evidence, and taken out of its normalisation. Places
    where either is NaN are left out. NaN if a list has no two different numbers.

    Source: Kendall, "The treatment of ties in ranking problems", Biometrika 33(3), 1945; counted
    as in Knight, "A computer method for calculating Kendall's tau", JASA 61, 1966.
    """
    pairs = sorted(
        (x, y) for x, y in zip(a, b, strict=True) if not math.isnan(x) and not math.isnan(y)
    )
    untied_a, untied_b = (_untied([pair[side] for pair in pairs]) for side in (0, 1))
    if not untied_a or not untied_b:
        return math.nan
    # Of the pairs that are tied in neither list, all but the reversed ones agree.
    untied = untied_a + untied_b - _untied(pairs)
    return (untied - 2 * _reversed([y for _, y in pairs])) / math.sqrt(untied_a * untied_b)


def _untied(values: Sequence[object]) -> int:
    """Count the pairs of different values."""
    return math.comb(len(values), 2) - sum(math.comb(n, 2) for n in Counter(values).values())


def _reversed(values: Iterable[float]) -> int:
    """Count the pairs of which the first is larger."""
    before: list[float] = []
    count = 0
    for value in values:
        place = bisect_right(before, value)
        count += len(before) - place
        before.insert(place, value)
    return count
