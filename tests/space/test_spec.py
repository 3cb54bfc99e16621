"""One parameter of a space: its choices, their normal form, and drawing one."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneshot_core.errors import ArchitectureError, SpaceError
from oneshot_core.space import ParameterSpec

ABC = ("a", "b", "c")


@st.composite
def specs(draw: st.DrawFn, most: int = 6) -> ParameterSpec:
    candidates = tuple(range(draw(st.integers(1, most))))
    n_chosen = draw(st.none() | st.integers(1, len(candidates)))
    return ParameterSpec("x", candidates, n_chosen)


@pytest.mark.parametrize(
    ("candidates", "n_chosen", "match"),
    [
        pytest.param((), 1, "at least one candidate", id="none"),
        pytest.param(("a", "a"), 1, "each given once", id="twice"),
        pytest.param(ABC, 0, "1 to 3", id="too-few"),
        pytest.param(ABC, 4, "1 to 3", id="too-many"),
    ],
)
def test_specs_that_make_no_sense_are_refused_by_label(
    candidates: Any, n_chosen: int, match: str
) -> None:
    with pytest.raises(SpaceError, match=match) as caught:
        ParameterSpec("stem", candidates, n_chosen)
    assert "'stem'" in str(caught.value)


@pytest.mark.parametrize(
    ("n_chosen", "choices", "default"),
    [
        pytest.param(1, ["a", "b", "c"], "a", id="one"),
        pytest.param(2, [("a", "b"), ("a", "c"), ("b", "c")], ("a", "b"), id="two"),
        pytest.param(
            None,
            [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c"), ABC],
            ABC,
            id="any-subset",
        ),
    ],
)
def test_choices_size_and_default(n_chosen: int | None, choices: list[Any], default: Any) -> None:
    spec = ParameterSpec("x", ABC, n_chosen)
    assert list(spec.choices()) == choices
    assert spec.size == len(choices)
    assert spec.default == default


def test_equal_specs_decide_the_same_thing_whatever_their_default() -> None:
    assert ParameterSpec("x", (1, 2), default=2) == ParameterSpec("x", (1, 2))
    assert ParameterSpec("x", (1, 2)) != ParameterSpec("x", (2, 1))
    assert ParameterSpec("x", (1, 2)) != ParameterSpec("x", (1, 2), None)


@pytest.mark.parametrize(
    ("n_chosen", "given_value", "normal"),
    [
        pytest.param(1, "b", "b", id="candidate"),
        pytest.param(1, ["b"], "b", id="list-of-one"),
        pytest.param(2, ["c", "a"], ("a", "c"), id="declaration-order"),
        pytest.param(2, {"c", "b"}, ("b", "c"), id="set"),
        pytest.param(None, "b", ("b",), id="bare-candidate-of-a-subset"),
        pytest.param(None, ("c", "b", "a"), ABC, id="all"),
    ],
)
def test_values_are_brought_into_one_form(n_chosen: Any, given_value: Any, normal: Any) -> None:
    spec = ParameterSpec("x", ABC, n_chosen)
    assert spec.normalise(given_value) == normal
    assert spec.contains(given_value)


@pytest.mark.parametrize(
    ("n_chosen", "value"),
    [
        pytest.param(1, "d", id="unknown"),
        pytest.param(1, 0, id="index"),
        pytest.param(1, ["a", "b"], id="too-many"),
        pytest.param(1, [], id="empty"),
        pytest.param(1, None, id="none"),
        pytest.param(2, "a", id="too-few"),
        pytest.param(2, ["a", "a"], id="twice"),
        pytest.param(None, [], id="empty-subset"),
        pytest.param(None, ["a", "d"], id="one-unknown"),
    ],
)
def test_values_that_are_no_choice_are_refused(n_chosen: Any, value: Any) -> None:
    spec = ParameterSpec("stem", ABC, n_chosen)
    assert not spec.contains(value)
    with pytest.raises(ArchitectureError, match="is not a choice of 'stem'"):
        spec.normalise(value)


@pytest.mark.parametrize("value", [True, 1.5, "1"])
def test_only_the_same_type_is_the_same_candidate(value: Any) -> None:
    assert not ParameterSpec("depth", (0, 1)).contains(value)


@given(specs())
def test_every_choice_is_normal_and_counted(spec: ParameterSpec) -> None:
    choices = list(spec.choices())
    assert len(set(choices)) == len(choices) == spec.size
    assert [spec.normalise(choice) for choice in choices] == choices
    assert all(set(spec.members(choice)) <= set(spec.candidates) for choice in choices)
    assert spec.default in choices


@given(specs(), st.integers(0, 2**32))
def test_a_draw_is_a_choice_and_repeatable(spec: ParameterSpec, seed: int) -> None:
    drawn = spec.draw(random.Random(seed))
    assert drawn in list(spec.choices())
    assert spec.draw(random.Random(seed)) == drawn


class Fixed(random.Random):
    """Returns the given value for the next draw."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def random(self) -> float:
        return self.value


@given(specs())
def test_equal_parts_of_the_unit_interval_draw_every_choice_once(spec: ParameterSpec) -> None:
    drawn = [spec.draw(Fixed((i + 0.5) / spec.size)) for i in range(spec.size)]
    assert Counter(drawn) == Counter(spec.choices())


@pytest.mark.parametrize("n_chosen", [None, 15, 1])
def test_drawing_from_very_many_choices_is_fast_and_varied(n_chosen: int | None) -> None:
    rng = random.Random(0)
    spec = ParameterSpec("x", tuple(range(30)), n_chosen)
    drawn = [spec.draw(rng) for _ in range(200)]
    taken = Counter(c for choice in drawn for c in spec.members(choice))
    assert all(spec.contains(choice) for choice in drawn)
    assert len(taken) == 30, "every candidate is taken sometimes"
    assert max(taken.values()) < 150, "and none nearly always"
