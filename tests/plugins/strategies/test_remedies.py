"""Remedies for collapse, as options of DARTS: perturbed weights, an auxiliary skip."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oneshot_core.decision import DecisionTable
from oneshot_core.errors import StrategyError
from oneshot_core.space import ParameterSpec
from oneshot_plugins.strategies.darts import Darts, SoftmaxDecision
from oneshot_plugins.strategies.schedules import Schedule


def decided(n_chosen: int | None = 1) -> SoftmaxDecision:
    table = DecisionTable(SoftmaxDecision)
    decision = table.decide(ParameterSpec("x", ("a", "b", "skip"), n_chosen), path="x")
    assert isinstance(decision, SoftmaxDecision)
    decision.double()
    with torch.no_grad():
        decision.alpha.copy_(torch.tensor([0.5, -0.4, 0.1]))
    table.reseed(0)
    return decision


def weights(decision: SoftmaxDecision) -> Tensor:
    return torch.stack([a.weight for a in decision.mixture() if a.weight is not None]).detach()


def test_perturbed_weights_are_uniform_around_the_learned_ones() -> None:
    """SDARTS-RS: softmax(α) + δ, δ ~ U(-ε, ε), normalised again."""
    decision = decided()
    decision.perturbation = 0.05
    p = decision.probabilities().detach()
    moves = []
    for _ in range(2000):
        decision.perturb()
        w = weights(decision)
        assert float(w.sum()) == pytest.approx(1.0)
        # Undo the normalisation: w = (p + δ) / s, and the first two δ are in the same s.
        noise = torch.tensor(decision._moved) * 0.05
        assert torch.allclose(w, (p + noise) / (p + noise).sum())
        moves.append(noise)
    moved = torch.stack(moves)
    assert moved.abs().max() <= 0.05
    assert moved.mean(0).abs().max() < 0.003
    assert torch.allclose(moved.var(0), torch.tensor(0.05**2 / 3).expand(3), rtol=0.1)


@pytest.mark.parametrize("n_chosen", [1, 2, None])
def test_perturbed_weights_stay_in_range_however_large_the_radius(n_chosen: int | None) -> None:
    decision = decided(n_chosen)
    decision.perturbation = 3.0
    for _ in range(200):
        decision.perturb()
        w = weights(decision)
        assert (w >= 0).all()
        if n_chosen is not None:
            assert float(w.sum()) == pytest.approx(n_chosen)
        else:
            assert (w <= 1).all()
    decision.perturb(False)
    assert torch.equal(weights(decision), decision.probabilities().detach())


class Watched(Darts):
    """Notes the weights of both steps."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.seen: list[tuple[str, Tensor, Tensor]] = []

    def note(self, step: str) -> None:
        (first, *_) = self.decisions
        assert isinstance(first, SoftmaxDecision)
        self.seen.append((step, weights(first), first.probabilities().detach().clone()))

    def architecture_loss(self, batch: Any, batch_idx: int) -> Any:
        self.note("architecture")
        return super().architecture_loss(batch, batch_idx)

    def advance_optimization(self) -> None:
        self.note("weights")
        super().advance_optimization()


def test_only_the_weight_step_is_perturbed_and_by_the_schedule(
    net: Any, loader: Any, fit: Any
) -> None:
    search = Watched(net(), arch_dataloader=loader(2), perturbation=Schedule(0.01, 0.2), seed=0)
    fit(search, max_epochs=2)
    moves = [float((w - p).abs().max()) for step, w, p in search.seen if step == "weights"]
    assert all(torch.equal(w, p) for step, w, p in search.seen if step == "architecture")
    assert all(0 < move < 0.02 for move in moves[:3])
    assert max(moves[3:]) > 0.03


def test_the_auxiliary_skip_is_a_second_connection_beside_the_choice(net: Any, loader: Any) -> None:
    """DARTS-, equation 5: β x + Σ p o(x), where the skip is the identity."""
    search = Darts(net(), arch_dataloader=loader(), auxiliary_skip=Schedule(1.0, 0.0), seed=0)
    x = torch.randn(3, 4, dtype=torch.float64)
    choice = search.model.first
    (decision, *_) = search.decisions
    p = decision.probabilities().detach()
    for beta in (1.0, 0.3, 0.0):
        decision.auxiliary_skip = beta  # type: ignore[assignment]
        expected = beta * x + sum(p[i] * f(x) for i, f in enumerate(choice.candidates.values()))
        assert torch.allclose(choice(x), expected)


def test_the_auxiliary_skip_is_gone_in_the_last_epoch(net: Any, loader: Any, fit: Any) -> None:
    search = Watched(
        net(), arch_dataloader=loader(2), auxiliary_skip=Schedule(1.0, 0.0, "cosine"), seed=0
    )
    fit(search, max_epochs=3)
    extra = [(w - p).tolist() for step, w, p in search.seen if step == "weights"]
    for got, beta in zip(extra, [1.0] * 3 + [0.5] * 3 + [0.0] * 3, strict=True):
        assert got == pytest.approx([0.0, 0.0, beta], abs=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"auxiliary_skip": 1.0},
        {"auxiliary_skip": Schedule(1.0, 0.1)},
        {"perturbation": -0.1},
    ],
)
def test_what_would_not_end_well_is_refused(options: Any, net: Any, loader: Any) -> None:
    with pytest.raises(StrategyError, match="expected"):
        Darts(net(), arch_dataloader=loader(), **options)


def test_an_auxiliary_skip_without_skips_is_refused(net: Any, loader: Any, fit: Any) -> None:
    search = Darts(
        net(), arch_dataloader=loader(), auxiliary_skip=Schedule(1.0, 0.0), skip=["identity"]
    )
    with pytest.raises(StrategyError, match="identity"):
        fit(search)


def test_remedies_compose_with_the_second_order(net: Any, loader: Any, fit: Any) -> None:
    search = Darts(
        net(optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
        arch_dataloader=loader(2),
        order=2,
        perturbation=0.1,
        auxiliary_skip=Schedule(1.0, 0.0),
        seed=0,
    )
    before = nn.utils.parameters_to_vector(search.decisions.parameters()).detach().clone()
    fit(search, max_epochs=2)
    after = nn.utils.parameters_to_vector(search.decisions.parameters())
    assert after.isfinite().all()
    assert not torch.equal(before, after)
