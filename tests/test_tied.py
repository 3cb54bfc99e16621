"""Choices that conditions tie together: counted and drawn as if each combination were tried."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneshot_core import ParameterSpec
from oneshot_core.model_space.tied import Tied, TooManyError, groups_of
from oneshot_core.space import Choice


@dataclass(frozen=True)
class Rule:
    """A condition by hand."""

    labels: frozenset[str]
    test: Callable[..., bool]
    order: tuple[str, ...]

    def holds(self, chosen: Mapping[str, Choice]) -> bool:
        return self.test(*(chosen[label] for label in self.order))


def rule(test: Callable[..., bool], *labels: str) -> Rule:
    return Rule(frozenset(labels), test, labels)


def spec(label: str, n: int = 3) -> ParameterSpec:
    return ParameterSpec(label, tuple(range(n)))


def by_trying(
    specs: list[ParameterSpec], rules: list[Rule], given: Mapping[str, Choice]
) -> list[dict[str, Choice]]:
    labels = [s.label for s in specs]
    every = (
        dict(zip(labels, c, strict=True)) for c in itertools.product(*(s.choices() for s in specs))
    )
    return [c for c in every if c | dict(given) == c and all(r.holds(c) for r in rules)]


RULES = [
    ("a", "b"), ("b", "c"), ("a", "d"), ("c", "d", "e"), ("e",), ("d", "e"), ("a", "c", "e"),
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(RULES), st.integers(0, 4)), max_size=4),
    st.dictionaries(st.sampled_from("abcde"), st.integers(0, 2), max_size=2),
)
def test_counts_and_draws_are_those_of_trying_every_combination(
    picked: list[tuple[tuple[str, ...], int]], given: dict[str, int]
) -> None:
    specs = [spec(label) for label in "abcde"]
    rules = [rule(lambda *xs, n=n: sum(xs) % 5 != n, *labels) for labels, n in picked]
    tied = Tied(specs, rules, 100_000)
    wanted = by_trying(specs, rules, given)
    assert tied.count({}) == len(by_trying(specs, rules, {}))
    assert tied.count(given) == len(wanted)
    drawn = tied.draw(given, random.Random(0))
    assert drawn in wanted if wanted else drawn is None


def test_every_combination_is_drawn_equally_often() -> None:
    specs = [spec(label, 4) for label in "abc"]
    rules = [rule(lambda a, b: a <= b, "a", "b"), rule(lambda b, c: b < c, "b", "c")]
    tied, rng = Tied(specs, rules, 10_000), random.Random(0)
    wanted = by_trying(specs, rules, {})
    n = 4000
    found = Counter(tuple(sorted(drawn.items())) for _ in range(n) if (drawn := tied.draw({}, rng)))
    assert set(found) == {tuple(sorted(each.items())) for each in wanted}
    expected = n / len(wanted)
    chi_square = sum((count - expected) ** 2 / expected for count in found.values())
    assert chi_square < 30  # 9 degrees of freedom: exceeded once in 2,000 seeds


def test_a_long_chain_is_counted_without_trying_its_combinations() -> None:
    """Sequences of 40 numbers that do not fall: multisets, (40 + 9) over 9 of them."""
    labels = [f"w{i}" for i in range(40)]
    specs = [spec(label, 10) for label in labels]
    rules = [rule(lambda a, b: a <= b, *pair) for pair in itertools.pairwise(labels)]
    tied = Tied(specs, rules, 10_000)
    assert tied.count({}) == 2_054_455_634
    drawn = tied.draw({"w20": 5}, random.Random(0))
    assert drawn is not None
    assert drawn["w20"] == 5
    assert all(r.holds(drawn) for r in rules)


def test_where_too_many_choices_must_be_tried_it_gives_up() -> None:
    specs = [spec(f"w{i}", 10) for i in range(9)]
    dense = [rule(lambda *xs: sum(xs) == 40, *(s.label for s in specs))]
    with pytest.raises(TooManyError):
        Tied(specs, dense, 1000).count({})


def test_what_no_condition_connects_is_apart() -> None:
    specs = [spec(label) for label in "abcd"]
    rules = [rule(lambda *xs: True, "a", "c")]
    groups = groups_of(specs, rules)
    assert sorted([s.label for s in group] for group in groups) == [["a", "c"], ["b"], ["d"]]
