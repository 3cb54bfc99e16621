"""Which rule cuts a layer of one's own, and how to give it one without a plugin."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import DecisionTable, ModelSpace, freeze, registry
from oneshot_core import nn as onn
from oneshot_core.errors import SpaceError, StrategyError
from oneshot_plugins.elastic.rule import Tensors, prefix, tensors_of
from oneshot_plugins.elastic.supernet import ElasticLayer
from oneshot_plugins.inspect.probe import AllAtOnce, AsDeclared

W = oneshot.choice([2, 4, 6], label="w")


class Mine(nn.Linear):
    """A linear layer whose smaller ones take the last rows."""


class Younger(Mine):
    """Has no rule of its own."""


class LastRows(onn.LayerRule):
    def cut(self, source: Tensors, template: nn.Module) -> dict[str, Tensor]:
        shapes = {name: tensor.shape for name, tensor in tensors_of(template).items()}
        return {n: prefix(source[n][-shape[0] :], shape) for n, shape in shapes.items()}


class Norm(nn.Module):
    """Written as in language models: no reset_parameters."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


def mutated(layer: nn.Module, decision: type = AsDeclared) -> tuple[Any, DecisionTable]:
    table = DecisionTable(decision)
    model: Any = nn.Sequential(layer)
    oneshot.traverse_and_mutate_submodules(model, [ElasticLayer.mutate], {"decisions": table})
    return model, table


@pytest.mark.parametrize("priority", [-5, 0, 5])
@pytest.mark.parametrize("cls", [Mine, Younger])
def test_the_rule_of_the_nearest_base_wins_whatever_the_priorities(
    cls: type[nn.Linear], priority: int
) -> None:
    handles = (f"{__name__}:Mine",)
    registry.register("elastic", "mine", LastRows, handles=handles, priority=priority)
    try:
        layer: Any = onn.mutable(cls)(3, W)
        plain: Any = onn.Linear(3, W)
    finally:
        registry.unregister("elastic", "mine")
    assert type(layer.rule) is LastRows
    frozen: Any = freeze(nn.Sequential(layer), {"w": 2})[0]
    assert type(frozen) is cls
    assert torch.equal(frozen.weight, layer.weight[-2:])
    assert type(plain.rule).__name__ == "LinearRule"


@pytest.mark.parametrize("rule", [onn.LayerRule(), onn.LayerRule])
def test_a_layer_of_prefixes_needs_no_plugin_but_a_rule(rule: Any) -> None:
    twin = onn.mutable(Norm, rule=rule)
    assert type(twin(4)) is Norm
    model, table = mutated(twin(W, eps=0.1))
    assert isinstance(model[0], Norm)
    for copied in (model, pickle.loads(pickle.dumps(model))):
        for chosen in ModelSpace(copied).architectures():
            copied[0].decisions[0].pin(chosen["w"])
            x = torch.randn(3, int(chosen["w"]))  # type: ignore[arg-type]
            frozen: Any = freeze(copied, chosen)
            assert type(frozen[0]) is Norm
            assert torch.equal(frozen[0].weight, copied[0].weight[: chosen["w"]])
            assert torch.equal(copied(x), frozen(x))
    assert isinstance(twin(W).rule, onn.LayerRule)
    del table


def test_a_given_rule_goes_before_installed_ones_and_is_nobody_elses() -> None:
    assert type(onn.mutable(nn.Linear, rule=LastRows)(3, W).rule) is LastRows
    assert type(onn.mutable(nn.Linear)(3, W).rule).__name__ == "LinearRule"
    with pytest.raises(SpaceError, match=r"(?s)rule='prefix'.*expected:.*fix: rule=LayerRule"):
        onn.mutable(Norm, rule="prefix")  # type: ignore[arg-type]


def test_without_a_rule_the_error_names_the_way_to_give_one() -> None:
    with pytest.raises(SpaceError, match=r"fix: mutable\(Norm, rule=LayerRule\(\)\)"):
        onn.mutable(Norm)(W)


def test_what_a_rule_cannot_add_up_is_refused_before_training() -> None:
    with pytest.raises(StrategyError, match=r"(?s)Norm at '0' cannot be superposed: LayerRule"):
        mutated(onn.mutable(Norm, rule=onn.LayerRule())(W), AllAtOnce)
    mutated(onn.mutable(Norm, rule=onn.LayerRule())(4, eps=oneshot.choice([0.1, 1], label="e")))
