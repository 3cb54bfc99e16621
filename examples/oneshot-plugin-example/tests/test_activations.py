"""What is special to this plugin: which activations become choices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from oneshot_plugin_example import ActivationChoice, MixedActivation, choose_activations
from torch import nn

import oneshot_core as oneshot
from oneshot_core.errors import SpaceError, UnsupportedModuleError
from oneshot_core.testing import check
from oneshot_plugins.checks.decisions import Drawn


def model() -> nn.Sequential:
    shared = nn.ReLU(inplace=True)
    return nn.Sequential(
        nn.Linear(3, 3), shared, nn.Sequential(nn.Linear(3, 3), nn.GELU()), shared, nn.ReLU()
    )


def mutated(root: nn.Module, **options: Any) -> list[oneshot.BaseSuperNetModule]:
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


def test_a_shared_choice_is_one_decision_for_each_class() -> None:
    root = model()
    mutated(root, share=True)
    assert oneshot.ModelSpace(root).size == 3
    root = model()
    mutated(root, share=True, replaces=(nn.ReLU, nn.GELU))
    specs = oneshot.ModelSpace(root).specs
    assert {label: spec.candidates for label, spec in specs.items()} == {
        "activation.relu": ("relu", "gelu", "tanh"),
        "activation.gelu": ("gelu", "tanh"),
    }


def test_subclasses_of_what_is_replaced_stay() -> None:
    class Clipped(nn.ReLU):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).clamp(max=1)

    root = nn.Sequential(Clipped())
    assert mutated(root) == []
    assert len(mutated(root, replaces=(Clipped,))) == 1


def test_settings_of_what_is_replaced_stay() -> None:
    root = nn.Sequential(nn.GELU(approximate="tanh"))
    mutated(root, replaces=(nn.GELU,))
    assert oneshot.ModelSpace(root).specs["0"].candidates == ("gelu", "tanh")
    assert oneshot.freeze(root, {"0": "gelu"})[0].approximate == "tanh"


def test_in_a_superposition_no_activation_destroys_the_input_of_the_others() -> None:
    from oneshot_plugins.checks.decisions import Weighted

    root = nn.Sequential(nn.ReLU(inplace=True))
    decisions = oneshot.DecisionTable(Weighted)
    hook = choose_activations(["tanh", "identity"])
    oneshot.traverse_and_mutate_submodules(root, [hook], {"decisions": decisions})
    x = torch.tensor([-2.0, 1.0])
    expected = (x.relu() + x.tanh() + x) / 3
    assert torch.allclose(root(x), expected)
    assert x.tolist() == [-2.0, 1.0]


def test_an_activation_in_a_candidate_counts_only_if_that_is_taken() -> None:
    inner = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    root = nn.Sequential(oneshot.LayerChoice({"deep": inner, "none": nn.Identity()}, label="l"))
    mixed = oneshot.registry.load("supernet", "layer-choice")
    decisions = oneshot.DecisionTable(Drawn)
    hooks = [mixed.mutate, choose_activations(["tanh"])]
    oneshot.traverse_and_mutate_submodules(root, hooks, {"decisions": decisions})
    assert oneshot.ModelSpace(root).size == 2 + 1


def test_an_activation_with_weights_is_refused_and_the_model_stays_as_it_was() -> None:
    root = nn.Sequential(nn.ReLU(), nn.PReLU())
    with pytest.raises(UnsupportedModuleError, match="the PReLU at '1' has weights"):
        mutated(root, replaces=(nn.ReLU, nn.PReLU))
    assert [type(m) for m in root] == [nn.ReLU, nn.PReLU]


@pytest.mark.parametrize("activation", ["relu", nn.ReLU()], ids=["function", "module"])
def test_a_transformer_layer_is_refused_with_the_way_out(activation: Any) -> None:
    root = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, activation=activation))
    with pytest.raises(UnsupportedModuleError, match="TransformerEncoderLayer at '0'") as caught:
        mutated(root)
    assert "fix: build it with activation=ActivationChoice(['relu', 'gelu'])" in str(caught.value)
    assert mutated(root, replaces=(nn.GELU,)) == []  # nobody asked for its relu


def test_a_transformer_layer_is_left_alone_if_a_hook_before_says_so() -> None:
    def leave(module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> bool:
        return isinstance(module, nn.TransformerEncoderLayer)

    root = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16), nn.ReLU())
    decisions = {"decisions": oneshot.DecisionTable(Drawn)}
    found = oneshot.traverse_and_mutate_submodules(root, [leave, choose_activations()], decisions)
    assert found == [root[1]]


@pytest.mark.parametrize("training", [True, False])
def test_a_choice_in_a_transformer_layer_is_computed_in_training_and_evaluation(
    training: bool,
) -> None:
    choice = ActivationChoice(["relu", "tanh"], label="act")
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation=choice, batch_first=True)
    root = nn.Sequential(layer).train(training)
    decisions = oneshot.DecisionTable(Drawn)
    options = {"decisions": decisions}
    oneshot.traverse_and_mutate_submodules(root, [MixedActivation.mutate], options)
    x = torch.randn(2, 3, 8)
    decisions["act"].pin("tanh")
    plain = nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0.0, activation=torch.tanh, batch_first=True
    )
    plain.load_state_dict(oneshot.freeze(root, {"act": "tanh"})[0].state_dict())
    with torch.no_grad():
        expected = plain.train(training)(x)
        assert torch.allclose(root(x), expected, atol=1e-6)
        assert torch.equal(oneshot.freeze(root, {"act": "tanh"})(x), root(x))


def test_an_original_is_not_taken_for_a_candidate_of_another_class() -> None:
    tanh = type("Tanh", (nn.Module,), {"forward": lambda self, x: x})
    with pytest.raises(SpaceError, match="a class Tanh beside the candidate 'tanh'"):
        ActivationChoice(["relu", "tanh"], original=tanh())


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
