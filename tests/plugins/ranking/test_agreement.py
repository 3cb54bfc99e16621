"""Kendall's tau-b against its definition by signs of all pairs."""

from __future__ import annotations

import math
import random

import pytest

from oneshot_plugins.ranking.agreement import kendall_tau


def by_definition(a: list[float], b: list[float]) -> float:
    """Kendall 1945: the inner product of the two sign matrices over the product of their norms."""
    n = range(len(a))
    signs = [
        [math.copysign(1, x[i] - x[j]) if x[i] != x[j] else 0.0 for i in n for j in n]
        for x in (a, b)
    ]
    dot, aa, bb = (
        sum(x * y for x, y in zip(p, q, strict=True))
        for p, q in ((signs[0], signs[1]), (signs[0], signs[0]), (signs[1], signs[1]))
    )
    return dot / math.sqrt(aa * bb) if aa and bb else math.nan


@pytest.mark.parametrize("values", [3, 6, 1000], ids="{} different numbers".format)
def test_tau_is_that_of_the_definition_with_ties(values: int) -> None:
    rng = random.Random(values)
    for _ in range(50):
        n = rng.randrange(2, 15)
        a, b = ([float(rng.randrange(values)) for _ in range(n)] for _ in range(2))
        assert kendall_tau(a, b) == pytest.approx(by_definition(a, b), nan_ok=True)


def test_a_known_value_with_ties() -> None:
    """Of 6 pairs 4 agree and none disagrees; each list has one tied pair: 4 / sqrt(5 * 5)."""
    assert kendall_tau([1, 2, 2, 3], [1, 1, 2, 3]) == pytest.approx(4 / 5)


def test_nan_is_left_out() -> None:
    assert kendall_tau([1, math.nan, 3, 4], [1, 2, 3, math.nan]) == 1


@pytest.mark.parametrize("a", [[], [1.0], [2.0, 2.0], [math.nan, 1.0]])
def test_without_two_different_numbers_there_is_no_tau(a: list[float]) -> None:
    assert math.isnan(kendall_tau(a, [float(i) for i in range(len(a))]))
