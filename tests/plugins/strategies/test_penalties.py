"""Costs in the architecture's loss, and FBNet's, with the gradient that the reference lost."""

from __future__ import annotations

import math
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core.errors import StrategyError
from oneshot_plugins.strategies.darts import Darts
from oneshot_plugins.strategies.fbnet import Fbnet
from oneshot_plugins.strategies.gdas import Gdas
from oneshot_plugins.strategies.gumbel import GumbelDarts
from oneshot_plugins.strategies.penalties import (
    AdditiveCost,
    CostPenalty,
    hinge,
    linear,
    log_ratio,
)

TABLE: Any = {
    "first": {"a": 5.0, "b": 2.0, "skip": 1.5},
    "second": {"a": 3.0, "b": 7.0, "skip": 1.5},
}


def alphas(search: Any) -> list[Tensor]:
    return list(search.decisions.parameters())


def spread(search: Any) -> None:
    search.decisions.double()
    with torch.no_grad():
        for i, alpha in enumerate(alphas(search)):
            alpha.copy_(torch.tensor([0.3, -0.2, 0.8]) * (i + 1))


def assert_gradient_by_differences(value: Any, parameters: list[Tensor]) -> None:
    gradients = torch.autograd.grad(value(), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        assert gradient.abs().max() > 1e-4
        for i in range(len(parameter)):
            sides = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter[i] += sign * 1e-6
                    sides.append(float(value().detach()))
                    parameter[i] -= sign * 1e-6
            assert float(gradient[i]) == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-5)


def test_the_cost_is_the_expectation_over_architectures(net: Any, loader: Any) -> None:
    search = Darts(net(), arch_dataloader=loader(), seed=0)
    spread(search)
    p = search.export_probs()
    expected = sum(
        p["first"][a["first"]]  # type: ignore[index]
        * p["second"][a["second"]]  # type: ignore[index]
        * (TABLE["first"][a["first"]] + TABLE["second"][a["second"]])
        for a in search.space.architectures()
    )
    found = AdditiveCost(TABLE)(search.decisions).detach()
    assert float(found) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("strategy", [Darts, GumbelDarts])
@pytest.mark.parametrize("form", ["linear", "hinge", "log_ratio"])
@pytest.mark.parametrize("of", ["probabilities", "sample"])
def test_penalties_have_a_gradient_to_the_architecture(
    form: Any, of: Any, strategy: Any, net: Any, loader: Any
) -> None:
    """By finite differences; in the reference it was None (its bug B1)."""
    search = strategy(net(), arch_dataloader=loader(), seed=0)
    spread(search)
    search.draw("architecture", 0)
    penalty = CostPenalty(AdditiveCost(TABLE, of=of), target=2.0, scale=0.7, form=form)
    assert_gradient_by_differences(lambda: penalty(search.decisions), alphas(search))


def test_the_cost_of_a_hard_draw_is_that_of_what_was_drawn(net: Any, loader: Any) -> None:
    search = Gdas(net(), arch_dataloader=loader(), seed=0)
    for index in range(5):
        search.draw("architecture", index)
        taken = {d.spec.label: d.taken for d in search.decisions}  # type: ignore[attr-defined]
        expected = sum(TABLE[label][choice] for label, choice in taken.items())
        assert float(AdditiveCost(TABLE, of="sample")(search.decisions).detach()) == expected


def test_the_forms_are_what_they_are_called() -> None:
    below, above = torch.tensor(5.0), torch.tensor(20.0)
    assert (linear(below, 10.0).item(), linear(above, 10.0).item()) == (-0.5, 1.0)
    assert (hinge(below, 10.0).item(), hinge(above, 10.0).item()) == (0.0, 1.0)
    assert log_ratio(above, 10.0).item() == pytest.approx(math.log(2))


def test_penalties_are_added_to_the_loss_that_trains_the_architecture(
    net: Any, loader: Any, fit: Any
) -> None:
    class Plain(Darts):
        def configure_architecture_optimizers(self) -> Any:
            return torch.optim.SGD(self.decisions.parameters(), lr=1.0)

    moved = []
    penalty = CostPenalty(AdditiveCost(TABLE), target=3.0, scale=0.5)
    for penalties in ([], [penalty]):
        torch.manual_seed(0)
        search = Plain(net(), arch_dataloader=loader(2, n=8), penalties=penalties, seed=0)
        search.decisions.double()
        before = [a.detach().clone() for a in alphas(search)]
        extra = torch.autograd.grad(penalty(search.decisions), alphas(search))
        fit(search, loader(1, n=8))
        moved.append([b - a for a, b in zip(alphas(search), before, strict=True)])
    for without, with_, gradient in zip(*moved, extra, strict=True):
        assert torch.allclose(with_ - without, gradient, rtol=1e-9, atol=1e-12)


def test_a_penalty_may_be_a_plain_sum_of_scores(net: Any, loader: Any, fit: Any) -> None:
    """Its gradient is one number expanded, which nothing can be written to."""
    search = Darts(
        net(),
        arch_dataloader=loader(2),
        penalties=[lambda decisions: 1e3 * sum(a.sum() for a in decisions.parameters())],
        seed=0,
    )
    before = [float(a.detach().sum()) for a in alphas(search)]
    fit(search)
    assert all(float(a.detach().sum()) < b for a, b in zip(alphas(search), before, strict=True))


def test_a_strong_penalty_chooses_the_cheapest(net: Any, loader: Any, fit: Any) -> None:
    penalty = CostPenalty(AdditiveCost(TABLE), target=1.0, scale=100.0)
    search = Darts(
        net(), arch_dataloader=loader(2), arc_learning_rate=0.1, penalties=[penalty], seed=0
    )
    fit(search, max_epochs=5)
    assert search.export() == {"first": "skip", "second": "skip"}


@pytest.mark.verifies(
    "the loss of section 3 and its gradient, written out and by finite differences", "fbnet"
)
def test_the_loss_of_fbnet_is_the_papers(net: Any, loader: Any) -> None:
    """CE · α · log(LAT)^β with LAT = Σ m · LAT(b), m the current draw; and its gradient."""
    search = Fbnet(net(), cost=TABLE, arch_dataloader=loader(), temperature=0.8, seed=0)
    spread(search)
    search.draw("architecture", 0)
    (batch, *_) = loader()

    def by_hand() -> Tensor:
        x, latency, model = batch[0], torch.zeros(()), search.model
        for decision, choice in zip(search.decisions, (model.first, model.second), strict=True):
            m = decision.soft()  # type: ignore[attr-defined,operator]
            x = sum(m[i] * f(x) for i, f in enumerate(choice.candidates.values()))
            costs = TABLE[decision.spec.label].values()
            latency = latency + sum(m[i] * c for i, c in enumerate(costs))
        loss = nn.functional.cross_entropy(model.head(x), batch[1])
        return loss * 0.2 * latency.log() ** 0.6

    found = search.architecture_loss(batch, 0)
    assert found is not None
    assert torch.allclose(found, by_hand(), rtol=1e-12)
    one = torch.autograd.grad(found, alphas(search))
    two = torch.autograd.grad(by_hand(), alphas(search))
    assert all(torch.allclose(a, b, rtol=1e-9) for a, b in zip(one, two, strict=True))
    assert_gradient_by_differences(lambda: search.architecture_loss(batch, 0), alphas(search))


def test_a_cost_whose_logarithm_is_negative_is_refused(net: Any, loader: Any, fit: Any) -> None:
    tiny = {k: dict.fromkeys(v, 0.1) for k, v in TABLE.items()}
    with pytest.raises(StrategyError, match="smaller unit"):
        fit(Fbnet(net(), cost=tiny, arch_dataloader=loader(2), seed=0))


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"third": {"a": 1.0}},
        {"first": {"a": 1.0}},
        {"first": {"a": 1.0, "b": 1.0, "skip": 1.0, "more": 1.0}},
    ],
)
def test_a_table_that_does_not_fit_is_refused_before_training(
    table: Any, net: Any, loader: Any, fit: Any
) -> None:
    search = Darts(net(), arch_dataloader=loader(), penalties=[AdditiveCost(table)], seed=0)
    with pytest.raises(StrategyError, match="cost table"):
        fit(search)
    with pytest.raises(StrategyError, match="cost table"):
        fit(Fbnet(net(), cost=table, arch_dataloader=loader(), seed=0))


def test_a_table_for_a_nested_choice_is_refused(loader: Any, fit: Any) -> None:
    """It costs something only where its candidate is taken, which a sum cannot say."""

    class Nested(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            inner = oneshot.LayerChoice([nn.Linear(4, 4), nn.Identity()], label="inner")
            self.net = oneshot.LayerChoice([inner, nn.Identity()], label="outer")
            self.head = nn.Linear(4, 3)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return nn.functional.cross_entropy(self.head(self.net(batch[0])), batch[1])

        def validation_step(self, batch: Any, batch_idx: int) -> None: ...

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    penalty = CostPenalty(AdditiveCost({"inner": {"0": 1.0, "1": 2.0}}), target=1.0)
    with pytest.raises(StrategyError, match="nested"):
        fit(Darts(Nested(), arch_dataloader=loader(), penalties=[penalty], seed=0))


@pytest.mark.parametrize("options", [{"target": 0.0}, {"target": 1.0, "form": "cubic"}])
def test_senseless_penalties_are_refused(options: Any) -> None:
    with pytest.raises(StrategyError, match="CostPenalty"):
        CostPenalty(AdditiveCost(TABLE), **options)
    with pytest.raises(StrategyError, match="of="):
        AdditiveCost(TABLE, of="luck")  # type: ignore[arg-type]


def test_penalties_do_not_hide_that_a_module_optimizes_manually(
    net: Any, loader: Any, fit: Any
) -> None:
    model = net()
    model.automatic_optimization = False
    with pytest.raises(StrategyError, match="optimizes manually"):
        fit(Darts(model, arch_dataloader=loader(), seed=0))
