"""The Gumbel-softmax against its equations, and what of it a fit learns from."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core.decision import DecisionTable
from oneshot_core.errors import StrategyError
from oneshot_core.space import ParameterSpec
from oneshot_plugins.strategies.gumbel import GumbelDarts, GumbelDecision, Snas


def decided(n_chosen: int | None = 1, *, hard: bool = False, alpha: Any = None) -> GumbelDecision:
    table = DecisionTable(lambda spec: GumbelDecision(spec, hard=hard))
    decision = table.decide(ParameterSpec("x", ("a", "b", "c"), n_chosen), path="x")
    assert isinstance(decision, GumbelDecision)
    decision.double()
    if alpha is not None:
        with torch.no_grad():
            decision.alpha.copy_(torch.tensor(alpha))
    table.reseed(0)
    return decision


def weights(decision: GumbelDecision) -> Tensor:
    found = [active.weight for active in decision.mixture()]
    assert all(w is not None for w in found)
    return torch.stack([w for w in found if w is not None])


@pytest.mark.verifies("equation 2", "gumbel", "snas")
def test_the_weights_are_the_relaxed_draw_of_equation_2() -> None:
    decision = decided(alpha=[0.3, -1.0, 2.0])
    decision.temperature = 0.7
    decision.resample()
    noise = (decision.scores() - decision.alpha).detach()
    logits = (decision.alpha.softmax(0).log() + noise) / 0.7
    assert torch.allclose(weights(decision), logits.exp() / logits.exp().sum())


@pytest.mark.verifies("frequencies of hard draws", "gumbel", "snas")
@pytest.mark.parametrize("alpha", [[0.0, 0.0, 0.0], [1.0, -0.5, 0.3]])
def test_hard_draws_have_the_learned_probabilities(alpha: list[float]) -> None:
    """Equation 1: the arg max of noisy scores is a draw from their softmax."""
    decision = decided(alpha=alpha)
    draws = 6000
    counts = Counter(decision.resample() for _ in range(draws))
    p = torch.tensor(alpha).softmax(0).tolist()
    chi = sum((counts[c] - draws * q) ** 2 / (draws * q) for c, q in zip("abc", p, strict=True))
    assert chi < 13.8  # 0.1 % quantile for 2 degrees of freedom


def test_any_subset_is_drawn_by_one_relaxed_bernoulli_variable_for_each_candidate() -> None:
    decision = decided(None, alpha=[1.0, -1.0, 0.0])
    draws, counts = 4000, Counter[object]()
    for _ in range(draws):
        decision.resample()
        soft = decision.soft()
        counts.update(c for c, s in zip("abc", soft.tolist(), strict=True) if s > 0.5)
    for candidate, p in zip("abc", decision.alpha.sigmoid().tolist(), strict=True):
        assert counts[candidate] / draws == pytest.approx(p, abs=0.03)


def test_a_subset_is_never_empty() -> None:
    decision = decided(None, alpha=[-9.0, -9.0, -9.0])
    assert all(decision.resample() for _ in range(50))


@pytest.mark.parametrize("n_chosen", [1, 2, None])
def test_hard_weights_are_exactly_zero_and_one_with_the_gradient_of_the_soft(
    n_chosen: int | None,
) -> None:
    decision = decided(n_chosen, hard=True, alpha=[0.3, -1.0, 0.5])
    decision.temperature = 0.3
    outputs = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    for _ in range(20):
        taken = decision.resample()
        found = weights(decision)
        expected = [float(c in decision.spec.members(taken)) for c in "abc"]
        assert found.tolist() == expected
        (straight,) = torch.autograd.grad((found * outputs).sum(), decision.alpha)
        (soft,) = torch.autograd.grad((decision.soft() * outputs).sum(), decision.alpha)
        assert torch.allclose(straight, soft)


def test_the_noise_stays_until_the_next_draw() -> None:
    decision = decided()
    decision.resample()
    first = weights(decision)
    assert torch.equal(first, weights(decision))
    decision.resample()
    assert not torch.equal(first, weights(decision))


class PlainSteps:
    """Steps the architecture by its plain gradient."""

    decisions: DecisionTable

    def configure_architecture_optimizers(self) -> Any:
        return torch.optim.SGD(self.decisions.parameters(), lr=1.0)


class PlainGumbel(PlainSteps, GumbelDarts):
    pass


class PlainSnas(PlainSteps, Snas):
    pass


def loss_by_hand(search: oneshot.BaseOneShotLightningModule, batch: Any) -> Tensor:
    x, model = batch[0], search.model
    for decision, choice in zip(search.decisions, (model.first, model.second), strict=True):
        assert isinstance(decision, GumbelDecision)
        soft = decision.soft()
        x = sum(soft[i] * m(x) for i, m in enumerate(choice.candidates.values()))
    return nn.functional.cross_entropy(model.head(x), batch[1])


@pytest.mark.verifies("autograd through the draw of each batch, both orders", "gumbel", "snas")
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("cls", [PlainGumbel, PlainSnas])
def test_a_step_follows_the_gradient_through_the_draw_of_its_batch(
    cls: Any, order: Any, net: Any, loader: Any, fit: Any
) -> None:
    """SNAS on the training batch (one objective), the other on data of its own."""
    options = {} if cls is PlainSnas else {"arch_dataloader": loader(2, n=8)}
    model = net(optimizer=lambda p: torch.optim.SGD(p, lr=0.0))  # the virtual step is none
    search = cls(model, temperature=0.5, order=order, seed=3, **options)
    search.decisions.double()
    search.reseed("architecture", 0, 0)
    search.resample()
    (batch,) = list(loader(1 if cls is PlainSnas else 2, n=8))
    alphas = list(search.decisions.parameters())
    gradients = torch.autograd.grad(loss_by_hand(search, batch), alphas)
    expected = [(a - g).detach() for a, g in zip(alphas, gradients, strict=True)]

    fit(search, loader(1, n=8))

    assert all(g.abs().max() > 0 for g in gradients)
    for alpha, want in zip(alphas, expected, strict=True):
        assert torch.allclose(alpha, want, rtol=1e-10, atol=1e-13)


def test_draws_differ_between_batches_and_between_both_steps_of_one(net: Any, loader: Any) -> None:
    search = GumbelDarts(net(), arch_dataloader=loader(2), seed=0)
    noises = []
    for stage, index in [("architecture", 0), ("train", 0), ("architecture", 1)]:
        search.draw(stage, index)
        noises.append(tuple(d.soft().tolist() for d in search.decisions))  # type: ignore[attr-defined]
    assert len({str(noise) for noise in noises}) == 3


def test_gumbel_darts_needs_data_of_its_own(net: Any) -> None:
    with pytest.raises(StrategyError, match="arch_dataloader"):
        GumbelDarts(net())


def test_a_temperature_of_zero_is_refused(net: Any, loader: Any) -> None:
    with pytest.raises(StrategyError, match="greater than 0"):
        GumbelDarts(net(), arch_dataloader=loader(), temperature=0.0)


def test_an_unknown_option_lists_those_that_are_handed_on(net: Any, loader: Any) -> None:
    with pytest.raises(StrategyError, match="takes no heat") as info:
        oneshot.search(net(), GumbelDarts, arch_dataloader=loader(), heat=1.0)
    assert "temperature" in str(info.value)
    assert "warmup_epochs" in str(info.value)
