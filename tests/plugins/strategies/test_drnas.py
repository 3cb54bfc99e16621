"""DrNAS: draws from a Dirichlet distribution, their gradient, and the distance to uniform."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oneshot_core.decision import DecisionTable
from oneshot_core.errors import StrategyError
from oneshot_core.space import ParameterSpec
from oneshot_plugins.strategies.drnas import DirichletDecision, DistanceToUniform, DrNas

ALPHA = [0.5, -0.7, 1.2]


def table_of(n_chosen: int | None = 1) -> tuple[DecisionTable, DirichletDecision]:
    table = DecisionTable(DirichletDecision)
    decision = table.decide(ParameterSpec("x", ("a", "b", "c"), n_chosen), path="x")
    assert isinstance(decision, DirichletDecision)
    decision.double()
    if n_chosen is not None:
        with torch.no_grad():
            decision.alpha.copy_(torch.tensor(ALPHA))
    table.reseed(0)
    return table, decision


def weights(decision: DirichletDecision) -> Tensor:
    return torch.stack([a.weight for a in decision.mixture() if a.weight is not None])


def test_concentrations_are_elu_plus_one_without_losing_digits() -> None:
    _, decision = table_of()
    expected = [a + 1 if a > 0 else math.exp(a) for a in ALPHA]
    assert decision.concentrations().tolist() == pytest.approx(expected)
    with torch.no_grad():
        decision.alpha.fill_(-40.0)
    assert (decision.concentrations() > 0).all()


@pytest.mark.verifies("expectations of draws and of their gradients", "drnas")
def test_draws_and_their_gradients_have_the_expectations_of_the_distribution() -> None:
    """Section 2.2: E[θ] = β / Σβ, and pathwise gradients average to that of the expectation."""
    _, decision = table_of()
    beta = decision.concentrations()
    mean = beta / beta.sum()
    outputs = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    (expected,) = torch.autograd.grad((mean * outputs).sum(), decision.alpha)
    draws, gradients, n = torch.zeros(3, dtype=torch.float64), torch.zeros(3).double(), 4000
    for _ in range(n):
        decision.resample()
        theta = weights(decision)
        draws += theta.detach() / n
        gradients += torch.autograd.grad((theta * outputs).sum(), decision.alpha)[0] / n
    assert torch.allclose(draws, mean.detach(), atol=0.02)
    assert torch.allclose(gradients, expected, atol=0.06)
    assert expected.abs().min() > 0.1
    assert torch.allclose(decision.probabilities(), mean)


@pytest.mark.parametrize("n_chosen", [1, 2, None])
def test_a_draw_stays_until_the_next_and_ignores_the_global_generator(
    n_chosen: int | None,
) -> None:
    table, decision = table_of(n_chosen)
    found = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        state = torch.get_rng_state()
        table.reseed("key")
        decision.resample()
        one, two = weights(decision), weights(decision)
        assert torch.equal(one, two)
        assert torch.equal(state, torch.get_rng_state())
        found.append(one)
    assert torch.equal(*found)
    decision.resample()
    assert not torch.equal(weights(decision), found[0])
    if n_chosen is not None:
        assert float(found[0].detach().sum()) == pytest.approx(n_chosen)


@pytest.mark.verifies("the divergence", "drnas")
def test_the_divergence_is_that_from_the_uniform_distribution() -> None:
    """KL(Dir(β) ‖ Dir(1)) from its definition, by integrating over draws."""
    table, decision = table_of()
    beta = decision.concentrations().detach()
    reference = torch.distributions.Dirichlet(beta)
    torch.manual_seed(0)
    theta = reference.sample((200_000,))
    uniform = torch.distributions.Dirichlet(torch.ones(3, dtype=torch.float64))
    estimate = (reference.log_prob(theta) - uniform.log_prob(theta)).mean()
    found = DistanceToUniform(2.0, "kl")(table)
    assert float(found.detach()) == pytest.approx(2 * float(estimate), rel=0.02)
    assert torch.autograd.grad(found, decision.alpha)[0].abs().min() > 0
    squares = DistanceToUniform(2.0, "l2")(table)
    assert float(squares.detach()) == pytest.approx(2 * float((beta - 1).square().sum()))


class PlainDrNas(DrNas):
    """Steps the architecture by its plain gradient."""

    def configure_architecture_optimizers(self) -> Any:
        return torch.optim.SGD(self.decisions.parameters(), lr=1.0)


@pytest.mark.verifies("a step, written out", "drnas")
def test_a_step_follows_the_draw_of_its_batch_and_the_distance(
    net: Any, loader: Any, fit: Any
) -> None:
    search = PlainDrNas(net(), arch_dataloader=loader(2, n=8), anchor=0.3, seed=0)
    search.decisions.double()
    search.draw("architecture", 0)
    (batch,) = list(loader(2, n=8))
    x, model = batch[0], search.model
    distance = torch.zeros(())
    for decision, choice in zip(search.decisions, (model.first, model.second), strict=True):
        assert isinstance(decision, DirichletDecision)
        theta = decision.sample()
        x = sum(theta[i] * f(x) for i, f in enumerate(choice.candidates.values()))
        beta = torch.distributions.Dirichlet(decision.concentrations())
        one = torch.distributions.Dirichlet(torch.ones(3, dtype=torch.float64))
        distance = distance + torch.distributions.kl_divergence(beta, one)
    loss = nn.functional.cross_entropy(model.head(x), batch[1]) + 0.3 * distance
    parameters = list(search.decisions.parameters())
    expected = [
        (p - g).detach()
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True)
    ]

    fit(search, loader(1, n=8))

    for parameter, want in zip(parameters, expected, strict=True):
        assert torch.allclose(parameter, want, rtol=1e-10, atol=1e-13)


def test_a_negative_anchor_is_refused(net: Any, loader: Any) -> None:
    with pytest.raises(StrategyError, match="anchor=-1"):
        DrNas(net(), arch_dataloader=loader(), anchor=-1)
