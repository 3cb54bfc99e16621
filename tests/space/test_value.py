"""Values: numbers and words that are not chosen yet, and what is computed from them."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oneshot_core as oneshot
from oneshot_core.errors import ArchitectureError, LabelError, SpaceError
from oneshot_core.space import (
    ParameterSpec,
    RangeChoice,
    Taken,
    Value,
    ValueChoice,
    apply,
    choice,
    if_else,
    loguniform,
    maximum,
    minimum,
    resolve,
    specs_in,
    uniform,
)

W = choice([16, 32, 64], label="w")
K = choice([3, 5], label="k")
CHOSEN = {"w": 32, "k": 5}


@pytest.mark.parametrize(
    ("value", "expected", "text"),
    [
        pytest.param(W, 32, "w", id="itself"),
        pytest.param(2 * W + 1, 65, "((2 * w) + 1)", id="sum-of-product"),
        pytest.param(W // K, 6, "(w // k)", id="floor-division"),
        pytest.param(W / 64, 0.5, "(w / 64)", id="division"),
        pytest.param(100 - W, 68, "(100 - w)", id="reflected-difference"),
        pytest.param(W % 10, 2, "(w % 10)", id="remainder"),
        pytest.param(70 // W, 2, "(70 // w)", id="reflected-floor"),
        pytest.param(64 / W, 2.0, "(64 / w)", id="reflected-division"),
        pytest.param(70 % W, 6, "(70 % w)", id="reflected-remainder"),
        pytest.param(2**K, 32, "(2 ** k)", id="reflected-power"),
        pytest.param(K**2, 25, "(k ** 2)", id="power"),
        pytest.param(-W, -32, "-w", id="negative"),
        pytest.param(abs(-W), 32, "abs(-w)", id="absolute"),
        pytest.param(round(W / 3, 1), 10.7, "round((w / 3), 1)", id="round"),
        pytest.param(math.floor(W / 3), 10, "floor((w / 3))", id="floor"),
        pytest.param(math.ceil(W / 3), 11, "ceil((w / 3))", id="ceil"),
        pytest.param(math.trunc(W / 3), 10, "trunc((w / 3))", id="trunc"),
        pytest.param(W >= 32, True, "(w >= 32)", id="at-least"),
        pytest.param(W < K, False, "(w < k)", id="less"),
        pytest.param(W == 32, True, "(w == 32)", id="equal"),
        pytest.param(W != 32, False, "(w != 32)", id="different"),
        pytest.param((W > 16) & (K > 3), True, "((w > 16) and (k > 3))", id="and"),
        pytest.param((W > 32) | (K > 3), True, "((w > 32) or (k > 3))", id="or"),
        pytest.param(~(W > 16), False, "(not (w > 16))", id="not"),
        pytest.param(maximum(W, 40), 40, "max(w, 40)", id="max"),
        pytest.param(minimum(W, 40, K), 5, "min(w, 40, k)", id="min"),
        pytest.param(if_else(W > 16, K, 1), 5, "(k if (w > 16) else 1)", id="if-else"),
        pytest.param(apply(divmod, W, K), (6, 2), "divmod(w, k)", id="any-function"),
        pytest.param(ValueChoice.max(W, 1), 32, "max(w, 1)", id="reference-max"),
        pytest.param(ValueChoice.min(W, 1), 1, "min(w, 1)", id="reference-min"),
        pytest.param(ValueChoice.condition(W > 90, 1, 2), 2, "(1 if (w > 90) else 2)", id="cond"),
        pytest.param(ValueChoice.to_int(W / 3), 10, "int((w / 3))", id="to-int"),
        pytest.param(ValueChoice.to_float(W), 32.0, "float(w)", id="to-float"),
    ],
)
def test_operators_compute_once_the_choices_are_known(
    value: Value, expected: Any, text: str
) -> None:
    assert value.evaluate(CHOSEN) == expected
    assert type(value.evaluate(CHOSEN)) is type(expected)
    assert repr(value) == text
    assert set(value.specs) <= {"w", "k"}


def test_tuples_can_be_chosen_and_taken_apart() -> None:
    kernel = choice([(1, 7), (7, 1), [3, 3]], label="kernel")
    assert kernel.spec.candidates == ((1, 7), (7, 1), (3, 3))
    assert (kernel[1] // 2).evaluate({"kernel": (1, 7)}) == 3
    assert kernel.spec.normalise([7, 1]) == (7, 1)
    assert kernel.spec.members((7, 1)) == ((7, 1),)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=5, unique=True), st.data())
def test_the_distribution_lists_every_value_with_the_choices_that_give_it(
    numbers: list[int], data: st.DataObject
) -> None:
    value = choice(numbers, label="a") * choice([1, 2], label="b") % 7
    found = value.distribution()
    pairs = [(a, b) for a in numbers for b in (1, 2)]
    assert set(found) == {a * b % 7 for a, b in pairs}
    assert sum(map(len, found.values())) == len(pairs)
    a, b = data.draw(st.sampled_from(pairs))
    assert {"a": a, "b": b} in found[a * b % 7]


def test_values_with_one_label_are_one_choice() -> None:
    again = choice([16, 32, 64], label="w")
    assert list((W + again).specs) == ["w"]
    assert (W - again).distribution() == {0: [{"w": 16}, {"w": 32}, {"w": 64}]}
    with pytest.raises(LabelError, match="'w' names two different choices"):
        _ = (W + choice([16, 32], label="w")).specs


def test_structures_are_resolved_at_any_depth() -> None:
    thing = {"kernel": (K, 1), "rest": [W, {"x": "as it is"}]}
    assert resolve(thing, CHOSEN) == {"kernel": (5, 1), "rest": [32, {"x": "as it is"}]}
    assert list(specs_in(thing)) == ["k", "w"]


@pytest.mark.parametrize(
    ("use", "fix"),
    [
        pytest.param(lambda: max(W, 3), "maximum", id="max"),
        pytest.param(lambda: 1 if W else 2, "if_else", id="if"),
        pytest.param(lambda: int(W), "oneshot.nn", id="int"),
        pytest.param(lambda: float(W), "oneshot.nn", id="float"),
        pytest.param(lambda: range(W), "oneshot.nn", id="range"),  # type: ignore[call-overload]
        pytest.param(lambda: list(choice([(1, 2)], label="t")), "value[0]", id="iterate"),  # type: ignore[call-overload]
    ],
)
def test_what_needs_to_know_the_value_now_is_refused_with_what_to_use(use: Any, fix: str) -> None:
    with pytest.raises(SpaceError, match="is not chosen yet") as caught:
        use()
    assert fix in str(caught.value)


@pytest.mark.parametrize(
    ("values", "default"),
    [
        pytest.param([16, 64, 32], 64, id="largest-number"),
        pytest.param([0.1, 0.5, 0.2], 0.5, id="largest-float"),
        pytest.param(["relu", "gelu"], "relu", id="first-word"),
        pytest.param([False, True], False, id="first-truth-value"),
        pytest.param([(1, 7), (7, 1)], (1, 7), id="first-tuple"),
        pytest.param([None, 3], None, id="first-of-mixed"),
    ],
)
def test_the_default_is_the_largest_number_or_the_first(values: Any, default: Any) -> None:
    spec = choice(values, label="x").spec
    assert spec.default == default
    assert type(spec.default) is type(default)


def test_a_default_can_be_given() -> None:
    assert choice([1, 2, 3], label="x", default=2).spec.default == 2
    with pytest.raises(SpaceError, match="default=4"):
        choice([1, 2, 3], label="x", default=4)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: choice([], label="x"), id="nothing"),
        pytest.param(lambda: choice([1, 1], label="x"), id="twice"),
        pytest.param(lambda: choice([object()], label="x"), id="object"),  # type: ignore[list-item]
        pytest.param(lambda: choice([float("nan")], label="x"), id="nan"),
        pytest.param(lambda: choice([1, 2], label=""), id="no-label"),
        pytest.param(lambda: choice([1, 2], label=None), id="none-label"),  # type: ignore[arg-type]
        pytest.param(lambda: choice([1, 2], label="x", prior=[1]), id="short-prior"),
        pytest.param(lambda: choice([1, 2], label="x", prior=[0, 0]), id="zero-prior"),
        pytest.param(lambda: uniform(1, 1, label="x"), id="no-interval"),
        pytest.param(lambda: loguniform(0, 1, label="x"), id="log-of-zero"),
        pytest.param(lambda: uniform(0, math.inf, label="x"), id="infinite"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_written(make: Any) -> None:
    with pytest.raises(SpaceError) as caught:
        make()
    assert "\n  expected: " in str(caught.value)
    assert "\n  fix: " in str(caught.value)


@given(st.floats(0.001, 10), st.floats(0.1, 10), st.booleans(), st.randoms(use_true_random=False))
def test_an_interval_draws_what_it_contains(low: float, span: float, log: bool, rng: Any) -> None:
    value = RangeChoice(low, low + span, log=log, label="p")
    for _ in range(5):
        drawn = value.spec.draw(rng)
        assert value.spec.contains(drawn)
        assert value.evaluate({"p": drawn}) == drawn
    assert value.spec.contains(value.spec.default)


def test_an_interval_refuses_to_be_listed_and_what_is_outside() -> None:
    spec = uniform(0, 0.5, label="p").spec
    assert spec.size == math.inf
    assert spec.normalise(0) == 0.0
    with pytest.raises(SpaceError, match=r"all numbers from 0\.0 to 0\.5"):
        list(spec.choices())
    for outside in (-0.1, 0.6, True, "0.1", [0.1, 0.2]):
        with pytest.raises(ArchitectureError, match=r"a number from 0\.0 to 0\.5"):
            spec.normalise(outside)


def test_values_survive_copying_and_pickling() -> None:
    value = if_else(W > 16, 2 * K, maximum(W, 3))
    assert copy.deepcopy(value) is value
    again = pickle.loads(pickle.dumps(value))
    assert again.evaluate(CHOSEN) == value.evaluate(CHOSEN)
    assert repr(again) == repr(value)


def test_a_prior_says_how_often_each_is_drawn() -> None:
    import random

    spec = choice(["a", "b", "c"], label="x", prior=[3, 0, 1]).spec
    rng = random.Random(0)
    drawn = [spec.draw(rng) for _ in range(4000)]
    assert drawn.count("b") == 0
    assert abs(drawn.count("a") / 4000 - 0.75) < 0.03


def test_the_names_are_public() -> None:
    for name in ("choice", "if_else", "maximum", "minimum", "uniform", "loguniform", "ValueChoice"):
        assert name in oneshot.__all__
        assert getattr(oneshot, name)


def many(n: int) -> list[Value]:
    return [choice(range(4), label=f"m{i}", default=0) for i in range(n)]


def test_a_declared_domain_is_listed_instead_of_too_many_choices() -> None:
    values = many(12)  # 4 ** 12 combinations
    with pytest.raises(SpaceError, match="can be combined in 16,777,216 ways"):
        apply(max, *values).distribution()
    largest = apply(max, *values, domain=range(4))
    assert list(largest.distribution()) == [0, 1, 2, 3]
    assert list((2 * largest + choice([1, 2], label="w")).distribution()) == [*range(1, 9)]
    assert list(largest.specs) == [f"m{i}" for i in range(12)]
    chosen = {f"m{i}": i % 3 for i in range(12)}
    assert largest.evaluate(chosen) == 2
    assert (2 * largest).evaluate(chosen) == 4


def test_a_declared_value_in_two_places_is_one_value() -> None:
    largest = apply(max, *many(12), domain=range(4))
    assert list((largest - largest).distribution()) == [0]


def test_a_result_outside_the_declared_domain_is_refused() -> None:
    with pytest.raises(SpaceError, match="one of its declared domain"):
        apply(max, *many(2), domain=[0, 1]).evaluate({"m0": 3, "m1": 0})


@pytest.mark.parametrize("domain", [[], [object()]], ids=["empty", "no-data"])
def test_a_domain_that_makes_no_sense_is_refused(domain: Any) -> None:
    with pytest.raises(SpaceError, match="the domain of max"):
        apply(max, *many(2), domain=domain)


def test_what_another_choice_takes_can_be_computed_with() -> None:
    spec = ParameterSpec("inputs", (0, 1, 2), 2)
    taken = apply(len, Taken(spec)) + Taken(spec)[1]
    assert taken.specs == {"inputs": spec}
    assert taken.evaluate({"inputs": (0, 2)}) == 4
