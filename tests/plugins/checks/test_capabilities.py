"""What a strategy can do is found by running it: each outcome is shown."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import oneshot_core as oneshot
from oneshot_core import Decision, ParameterSpec, Registry
from oneshot_core.errors import StrategyError, UnknownComponentError
from oneshot_core.testing import capabilities
from oneshot_plugins.checks.capabilities import choices_of
from oneshot_plugins.strategies.darts import Darts, SoftmaxDecision
from oneshot_plugins.strategies.uniform import UniformSampling


def of(strategy: Any, *choices: str) -> Any:
    registry = Registry()
    registry.register("strategy", "x.tried", strategy)
    return capabilities("x.tried", *(choices or ["LayerChoice"]), registry=registry)


def test_every_choice_and_every_elastic_layer_that_is_installed_is_tried() -> None:
    names = list(choices_of(oneshot.registry))
    handled = [
        h
        for k in ("supernet", "elastic")
        for r in oneshot.registry.find(k)
        for h in r.component.handles
    ]
    assert len(names) > len(oneshot.registry.find("elastic"))
    for choice in ("LayerChoice", "InputChoice", "Repeat", "Cell", "NasBench101Cell"):
        assert any(choice in h for h in handled)
        assert any(name.split(",")[0] == choice for name in names)
    assert {"nn.Linear", "nn.MultiheadAttention", "a constraint between choices"} <= set(names)


def test_a_strategy_with_architecture_parameters_learns_and_another_ranks() -> None:
    found = {name: capabilities(name, "LayerChoice*") for name in ("darts", "random")}
    assert list(found["darts"]) == ["LayerChoice", "LayerChoice, nested"]
    assert [c.outcome for c in found["darts"].values()] == ["learned", "learned"]
    assert [c.outcome for c in found["random"].values()] == ["ranked", "ranked"]
    assert all(all(each.values()) for each in found.values())


def test_what_is_refused_before_training_is_told_with_the_message() -> None:
    found = capabilities("darts", "InputChoice, concatenated")["InputChoice, concatenated"]
    assert found.outcome == "refused"
    assert "cannot be superposed" in found.message
    assert not found


def test_scores_that_get_no_gradient_are_a_failure() -> None:
    class Deaf(SoftmaxDecision):
        def mixture(self) -> Any:
            return [oneshot.Active(a.candidate, a.weight.detach()) for a in super().mixture()]

    class Pretends(Darts):
        def make_decision(self, spec: ParameterSpec) -> Decision:
            return Deaf(spec)

        def architecture_loss(self, batch: Any, batch_idx: int) -> Any:
            nothing = sum((0 * p).sum() for p in self.decisions.parameters())
            return super().architecture_loss(batch, batch_idx) + nothing

    found = of(Pretends)["LayerChoice"]
    assert found.outcome == "failed"
    assert "parameters of 'flat' never got a gradient" in found.message


def test_a_refusal_in_the_middle_of_training_is_a_failure() -> None:
    class Late(UniformSampling):
        def on_train_batch_end(self, *_: Any) -> None:
            raise StrategyError("not so.\n  expected: this\n  fix: that")

    found = of(Late)["LayerChoice"]
    assert (found.outcome, found.message.split("\n")[0]) == ("failed", "StrategyError: not so.")


def test_a_refusal_that_changes_the_model_is_a_failure() -> None:
    class Rude(UniformSampling):
        def mutate(self) -> None:
            super().mutate()
            raise StrategyError("not so.\n  expected: this\n  fix: that")

    assert of(Rude)["LayerChoice"].outcome == "failed"


def test_a_refusal_without_a_fix_is_a_failure() -> None:
    class Short(UniformSampling):
        def check_fit(self) -> None:
            raise StrategyError("no")

    assert "three parts" in of(Short)["LayerChoice"].message


def test_a_result_that_is_not_what_the_supernet_computes_is_a_failure() -> None:
    class Spoils(UniformSampling):
        def top_k(self, k: int) -> Any:
            self.model.register_forward_hook(lambda *_: torch.rand(3, 4))
            return super().top_k(k)

    assert "its frozen network differ" in of(Spoils)["LayerChoice"].message


def test_unknown_names_are_refused_with_what_there_is() -> None:
    with pytest.raises(UnknownComponentError, match=r"expected: some of .*LayerChoice"):
        capabilities("random", "Triangle")
    with pytest.raises(UnknownComponentError, match="no component"):
        capabilities("nothing-like-it")
