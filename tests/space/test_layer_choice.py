"""A choice of layers, before any search."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oneshot_core.errors import SpaceError
from oneshot_core.space import LayerChoice, ParameterSpec


class Scale(nn.Module):
    """Takes more than one tensor, and returns what it got."""

    def forward(self, x: Tensor, factor: Any = 1, *, extra: Any = None) -> Any:
        return x * factor, extra


@pytest.mark.parametrize(
    ("candidates", "match"),
    [
        pytest.param([], "no candidates", id="empty-list"),
        pytest.param({}, "no candidates", id="empty-dict"),
        pytest.param([nn.ReLU], "instance", id="class"),
        pytest.param([nn.ReLU(), None], "candidate '1' of LayerChoice is None", id="none"),
        pytest.param({"a": "conv"}, "candidate 'a'", id="string"),
        pytest.param({"a.b": nn.ReLU()}, "cannot be named 'a.b'", id="dot"),
        pytest.param({"": nn.ReLU()}, "cannot be named ''", id="empty-name"),
        pytest.param({"keys": nn.ReLU()}, "cannot be named 'keys'", id="method-name"),
        pytest.param({1: nn.ReLU()}, "cannot be named 1", id="number"),
    ],
)
def test_wrong_candidates_are_refused(candidates: Any, match: str) -> None:
    with pytest.raises(SpaceError, match=match) as caught:
        LayerChoice(candidates)
    assert "\n  expected: " in str(caught.value)
    assert "\n  fix: " in str(caught.value)


@pytest.mark.parametrize("label", ["", 3, object()])
def test_wrong_labels_are_refused(label: Any) -> None:
    with pytest.raises(SpaceError, match="label"):
        LayerChoice([nn.ReLU()], label=label)


def test_a_list_is_named_by_numbers_and_a_dict_by_its_keys() -> None:
    assert LayerChoice([nn.ReLU(), nn.Tanh()]).names == ("0", "1")
    layers = OrderedDict(second=nn.ReLU(), first=nn.Tanh())
    choice = LayerChoice(layers)
    assert choice.names == tuple(choice) == ("second", "first")
    assert len(choice) == 2
    assert choice["first"] is layers["first"]


def test_it_runs_its_first_candidate() -> None:
    x = torch.randn(3)
    choice = LayerChoice({"tanh": nn.Tanh(), "relu": nn.ReLU()})
    assert torch.equal(choice(x), x.tanh())


def test_all_arguments_and_results_pass_through() -> None:
    choice = LayerChoice([Scale()])
    x, marker = torch.ones(2), object()
    scaled, extra = choice(x, 3, extra=marker)
    assert torch.equal(scaled, 3 * x)
    assert extra is marker
    assert choice(x, extra={"a": 1})[1] == {"a": 1}
    assert choice("ab", 2)[0] == "abab", "inputs need not be tensors"


def test_candidates_are_ordinary_submodules() -> None:
    choice = LayerChoice({"a": nn.Linear(2, 3), "b": nn.Linear(2, 3)})
    assert list(choice.state_dict()) == [
        f"candidates.{name}.{part}" for name in "ab" for part in ("weight", "bias")
    ]


def test_choices_nest() -> None:
    inner = LayerChoice([nn.Tanh(), nn.ReLU()], label="inner")
    outer = LayerChoice({"deep": nn.Sequential(inner), "flat": nn.ReLU()}, label="outer")
    x = torch.randn(3)
    assert torch.equal(outer(x), x.tanh())
    assert outer.select("deep")[0] is inner


def test_spec_branches_and_selection_go_by_name() -> None:
    a, b = nn.ReLU(), nn.Tanh()
    choice = LayerChoice({"a": a, "b": b})
    assert choice.spec("stem") == ParameterSpec("stem", ("a", "b"))
    assert dict(choice.branches()) == {"a": (a,), "b": (b,)}
    assert choice.select("b") is b


def test_a_prior_is_part_of_the_spec_but_not_of_what_is_decided() -> None:
    choice = LayerChoice({"a": nn.ReLU(), "b": nn.Tanh()}, prior=[3, 1])
    assert choice.spec("x").prior == (3, 1)
    assert choice.spec("x") == LayerChoice({"a": nn.ReLU(), "b": nn.Tanh()}).spec("x")


@pytest.mark.parametrize("prior", [[1], [1, 2, 3], [0, 0], [1, -1], [1, float("nan")]], ids=str)
def test_a_prior_that_does_not_fit_is_refused_where_it_is_written(prior: list[float]) -> None:
    with pytest.raises(SpaceError, match="prior") as caught:
        LayerChoice([nn.ReLU(), nn.Tanh()], prior=prior, label="act")
    assert "choice 'act'" in str(caught.value)
