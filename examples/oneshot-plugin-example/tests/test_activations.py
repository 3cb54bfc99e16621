"""What is special to this plugin: which activations become choices."""

from __future__ import annotations

import pytest
import torch
from oneshot_plugin_example import ActivationChoice, MixedActivation, choose_activations
from torch import nn

import oneshot_core as oneshot
from oneshot_core.errors import SpaceError
from oneshot_core.testing import check

DECISIONS = {"decisions": None}


def model() -> nn.Sequential:
    shared = nn.ReLU(inplace=True)
    return nn.Sequential(
        nn.Linear(3, 3), shared, nn.Sequential(nn.Linear(3, 3), nn.GELU()), shared, nn.ReLU()
    )


def mutated(root: nn.Module, **options: object) -> list[oneshot.BaseSuperNetModule]:
    from oneshot_core.testing.decisions import Drawn

    decisions = {"decisions": oneshot.DecisionTable(Drawn)}
    hook = choose_activations(["gelu", "tanh"], **options)
    return oneshot.traverse_and_mutate_submodules(root, [hook], decisions)


@pytest.mark.parametrize("topdown", [True, False])
def test_each_relu_becomes_a_choice_once_and_the_rest_stays(topdown: bool) -> None:
    root = model()
    found = mutated(root)
    assert root[1] is root[3] is found[0]
    assert [type(m) for m in found] == [MixedActivation, MixedActivation]
    assert type(root[2][1]) is nn.GELU
    assert set(oneshot.ModelSpace(root).specs) == {"1", "4"}


def test_a_shared_choice_is_one_decision() -> None:
    root = model()
    mutated(root, share=True)
    assert oneshot.ModelSpace(root).size == 3


def test_a_model_computes_at_first_what_it_computed_before() -> None:
    root, x = model(), torch.randn(4, 3)
    before = root(x)
    mutated(root)
    assert torch.equal(root(x), before)


def test_a_frozen_network_has_plain_activations() -> None:
    root = model()
    mutated(root)
    frozen = oneshot.freeze(root, {"1": "tanh", "4": "relu"})
    assert type(frozen[1]) is nn.Tanh
    assert frozen[1] is frozen[3]
    assert type(frozen[4]) is nn.ReLU


def test_a_misspelt_activation_is_refused_at_once() -> None:
    with pytest.raises(SpaceError, match="rellu"):
        choose_activations(["rellu"])
    with pytest.raises(SpaceError, match="candidates"):
        ActivationChoice([])


def test_the_hook_keeps_the_promises_of_hooks() -> None:
    registry = oneshot.Registry()
    registry.register("mutation_hook", "activations", choose_activations(), summary="try it")
    report = check("mutation_hook:activations", registry=registry)
    assert report.ok, report
