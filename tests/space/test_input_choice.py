"""A choice of inputs, before any search and frozen."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from oneshot_core.errors import SpaceError
from oneshot_core.space import InputChoice, ParameterSpec, reduce_inputs


@pytest.fixture
def inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, generator=generator) for _ in range(4)]


@pytest.mark.parametrize(
    ("n_candidates", "options", "match"),
    [
        pytest.param(0, {}, "at least one candidate", id="no-candidates"),
        pytest.param(2, {"n_chosen": 0}, "1 to 2", id="too-few"),
        pytest.param(2, {"n_chosen": 3}, "1 to 2", id="too-many"),
        pytest.param(2, {"reduction": "max"}, "reduction='max'", id="reduction"),
        pytest.param(
            2, {"n_chosen": None, "reduction": "concat"}, "not fixed", id="concat-of-any-number"
        ),
        pytest.param(2, {"label": ""}, "label", id="label"),
    ],
)
def test_wrong_arguments_are_refused(
    n_candidates: int, options: dict[str, Any], match: str
) -> None:
    with pytest.raises(SpaceError, match=match):
        InputChoice(n_candidates, **options)


CASES = [
    pytest.param(1, "sum", lambda x: x[0], id="one-sum"),
    pytest.param(1, "mean", lambda x: x[0], id="one-mean"),
    pytest.param(1, "concat", lambda x: x[0], id="one-concat"),
    pytest.param(1, "none", lambda x: [x[0]], id="one-none"),
    pytest.param(2, "sum", lambda x: x[0] + x[1], id="two-sum"),
    pytest.param(2, "mean", lambda x: (x[0] + x[1]) / 2, id="two-mean"),
    pytest.param(2, "concat", lambda x: torch.cat([x[0], x[1]], 1), id="two-concat"),
    pytest.param(2, "none", lambda x: [x[0], x[1]], id="two-none"),
    pytest.param(None, "sum", lambda x: x[0] + x[1] + x[2] + x[3], id="any-sum"),
    pytest.param(None, "mean", lambda x: (x[0] + x[1] + x[2] + x[3]) / 4, id="any-mean"),
    pytest.param(None, "none", lambda x: list(x), id="any-none"),
]


@pytest.mark.parametrize(("n_chosen", "reduction", "expected"), CASES)
def test_it_reduces_its_first_inputs_and_so_does_its_frozen_default(
    n_chosen: int | None, reduction: Any, expected: Any, inputs: list[Tensor]
) -> None:
    choice = InputChoice(4, n_chosen, reduction=reduction)
    frozen = choice.select(choice.spec("x").default)
    for result in (choice(inputs), choice(tuple(inputs)), frozen(inputs)):
        torch.testing.assert_close(result, expected(inputs), rtol=0, atol=1e-6)


def test_concatenation_goes_along_dim(inputs: list[Tensor]) -> None:
    choice = InputChoice(4, 2, reduction="concat", dim=0)
    assert choice(inputs).shape == (4, 3)
    assert choice.select((1, 3))(inputs).shape == (4, 3)


def test_the_frozen_module_picks_what_was_chosen(inputs: list[Tensor]) -> None:
    frozen = InputChoice(4, 2).select((1, 3))
    assert torch.equal(frozen(inputs), inputs[1] + inputs[3])
    assert all("oneshot" not in type(module).__module__ for module in frozen.modules())


def test_the_frozen_module_can_be_pickled(inputs: list[Tensor]) -> None:
    frozen = pickle.loads(pickle.dumps(InputChoice(4, 2, reduction="mean").select((1, 3))))
    assert torch.equal(frozen(inputs), (inputs[1] + inputs[3]) / 2)


@pytest.mark.parametrize("n", [0, 3, 5])
def test_another_number_of_inputs_is_refused_by_label(n: int) -> None:
    with pytest.raises(ValueError, match=f"'skip' was called with {n} inputs"):
        InputChoice(4, label="skip")([torch.ones(1)] * n)


def test_spec_numbers_the_inputs() -> None:
    assert InputChoice(3, 2).spec("x") == ParameterSpec("x", (0, 1, 2), 2)
    assert dict(InputChoice(3, 2).branches()) == {}


def test_the_mean_divides_by_the_total_weight(inputs: list[Tensor]) -> None:
    weights = [torch.tensor(0.5), None, torch.tensor(1.5)]
    total = 0.5 * inputs[0] + inputs[1] + 1.5 * inputs[2]
    torch.testing.assert_close(reduce_inputs(inputs[:3], weights, "sum", 1), total)
    torch.testing.assert_close(reduce_inputs(inputs[:3], weights, "mean", 1), total / 3)


def test_where_inputs_stay_apart_each_has_its_weight(inputs: list[Tensor]) -> None:
    """A path that is learned from has weights of 1 whose gradient would else be lost."""
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0], requires_grad=True)
    apart = reduce_inputs(inputs, [*weights[:3], None], "none", 1)
    wanted = [inputs[0], 2 * inputs[1], 0.5 * inputs[2], inputs[3]]
    torch.testing.assert_close(apart, wanted)
    joined = reduce_inputs(inputs, [*weights[:3], None], "concat", 1)
    assert isinstance(joined, Tensor)
    torch.testing.assert_close(joined, torch.cat(wanted, 1))
    (gradient,) = torch.autograd.grad(joined.sum(), [weights])
    slopes = [*(x.sum() for x in inputs[:3]), torch.tensor(0.0)]  # of None there is none
    torch.testing.assert_close(gradient, torch.stack(slopes))


def test_a_prior_is_for_one_input_out_of_several() -> None:
    assert InputChoice(2, 1, prior=[1, 3]).spec("x").prior == (1, 3)
    for n_chosen in (2, None):
        with pytest.raises(SpaceError, match="n_chosen=1"):
            InputChoice(2, n_chosen, prior=[1, 3])
