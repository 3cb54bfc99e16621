"""How well two orders of the same architectures agree."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations


def kendall_tau(a: Sequence[float], b: Sequence[float]) -> float:
    """Return Kendall's tau-b of two lists: 1 for the same order, -1 for the reverse.

    Pairs that are tied in a list are no evidence, and taken out of its normalisation. Places
    where either is NaN are left out. NaN if a list has no two different numbers.

    Source: Kendall, "The treatment of ties in ranking problems", Biometrika 33(3), 1945.
    """
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if not math.isnan(x) and not math.isnan(y)]
    agree = sum(
        ((x > u) - (x < u)) * ((y > v) - (y < v)) for (x, y), (u, v) in combinations(pairs, 2)
    )
    untied_a, untied_b = (
        (_untied(column) for column in zip(*pairs, strict=True)) if pairs else (0, 0)
    )
    if not untied_a or not untied_b:
        return math.nan
    return agree / math.sqrt(untied_a * untied_b)


def _untied(values: Sequence[float]) -> int:
    """Count the pairs of different numbers."""
    return math.comb(len(values), 2) - sum(math.comb(n, 2) for n in Counter(values).values())
