"""ENAS: the controller's distribution, its policy gradient, and when it is trained."""

from __future__ import annotations

import copy
import random
from collections import Counter
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import nn as onn
from oneshot_core.errors import StrategyError
from oneshot_core.space import ParameterSpec
from oneshot_plugins.strategies.enas import Controller, Enas

SPECS = [
    ParameterSpec("one", ("a", "b", "c")),
    ParameterSpec("two", (1, 2)),
    ParameterSpec("some", (0, 1), None),
]


def controller() -> Controller:
    found = Controller(SPECS, seed=1, hidden=8, temperature=0.1).double()
    with torch.no_grad():  # far enough from uniform to matter
        for parameter in found.parameters():
            parameter.mul_(4)
    return found


def everything() -> list[dict[str, Any]]:
    return [
        {"one": one, "two": two, "some": some}
        for one in "abc"
        for two in (1, 2)
        for some in ((0,), (1,), (0, 1))
    ]


@pytest.mark.verifies("probabilities of all paths, summed", "enas")
def test_probabilities_of_all_paths_sum_to_one() -> None:
    p = [float(controller().log_probability(path).detach().exp()) for path in everything()]
    assert sum(p) == pytest.approx(1.0)
    assert max(p) > 1.5 * min(p)


def test_paths_are_drawn_with_the_probability_that_is_reported() -> None:
    policy, rng, draws = controller(), random.Random(0), 3000
    counts = Counter[str]()
    for _ in range(draws):
        path, log_p, entropy = policy.sample(rng)
        counts[str(path)] += 1
        assert torch.allclose(log_p, policy.log_probability(path))
        assert entropy > 0
    chi = 0.0
    for path in everything():
        expected = draws * float(policy.log_probability(path).detach().exp())
        chi += (counts[str(path)] - expected) ** 2 / expected
    assert chi < 40.8  # 0.1 % quantile for 17 degrees of freedom


def test_later_choices_know_the_earlier_ones() -> None:
    policy = controller()
    given = {
        one: policy.log_probability({"one": one, "two": 1, "some": (0,)})
        - policy.log_probability({"one": one, "two": 2, "some": (0,)})
        for one in "abc"
    }
    assert len({round(float(value.detach()), 6) for value in given.values()}) == 3


@pytest.mark.verifies("the policy gradient: that of the enumerated expected reward", "enas")
def test_the_policy_gradient_is_that_of_the_expected_reward() -> None:
    """REINFORCE: Σ π(a) (R(a) - b) ∇ log π(a) = ∇ Σ π(a) R(a), whatever the baseline b."""
    policy = controller()
    rewards = dict(zip(map(str, everything()), torch.linspace(-1, 2, 18).tolist(), strict=True))
    parameters = list(policy.parameters())
    expectation: Any = sum(
        policy.log_probability(path).exp() * rewards[str(path)] for path in everything()
    )
    expected = torch.autograd.grad(expectation, parameters, allow_unused=True)
    total = [torch.zeros_like(p) for p in parameters]
    for path in everything():
        log_p = policy.log_probability(path)
        weight = float(log_p.detach().exp()) * (rewards[str(path)] - 0.7)
        gradient = torch.autograd.grad(log_p, parameters, allow_unused=True)
        total = [t if g is None else t + weight * g for t, g in zip(total, gradient, strict=True)]
    for found, want in zip(total, expected, strict=True):
        assert torch.allclose(found, torch.zeros_like(found) if want is None else want, atol=1e-12)


class PlainEnas(Enas):
    """Steps the controller by its plain gradient."""

    def configure_architecture_optimizers(self) -> Any:
        return torch.optim.SGD(self.decisions.parameters(), lr=1.0)


@pytest.mark.verifies("a step, written out", "enas")
def test_a_step_follows_the_reward_of_the_path_that_was_drawn(
    net: Any, loader: Any, fit: Any
) -> None:
    search = PlainEnas(net(), arch_dataloader=loader(2, n=8), n_samples=2, hidden=8, seed=0)
    search.decisions.double()
    search.baseline = 0.25
    policy = copy.deepcopy(search.controller)
    assert policy is not None
    search.reseed("architecture", 0, 0)
    rng = search.decisions.rng
    (batch,) = list(loader(2, n=8))
    baseline, losses = 0.25, []
    for _ in range(2):
        path, log_p, entropy = policy.sample(rng)
        x, model = batch[0], search.model
        for label in ("first", "second"):
            x = getattr(model, label).candidates[path[label]](x)
        reward = -float(nn.functional.cross_entropy(model.head(x), batch[1]).detach())
        baseline = 0.99 * baseline + 0.01 * reward
        losses.append(-(reward - baseline) * log_p - 1e-4 * entropy)
    parameters = list(policy.parameters())
    gradients = torch.autograd.grad(torch.stack(losses).mean(), parameters, allow_unused=True)

    fit(search, loader(1, n=8))

    assert search.controller is not None
    moved = 0
    for found, old, g in zip(search.controller.parameters(), parameters, gradients, strict=True):
        want = old if g is None else old - g
        assert torch.allclose(found, want, rtol=1e-10, atol=1e-14)
        moved += not torch.equal(found, old)
    assert moved > 3
    assert search.baseline == pytest.approx(baseline)


def test_the_controller_is_trained_once_for_each_batch_after_the_warm_up(
    net: Any, loader: Any, fit: Any
) -> None:
    """The reference updated it 26 times where 6 were due (its bug B5)."""
    rewards: list[int] = []

    def reward(model: Any, batch: Any) -> float:
        rewards.append(1)
        return 1.0

    search = Enas(
        net(), arch_dataloader=loader(2), reward=reward, n_samples=2, warmup_epochs=1, seed=0
    )
    fit(search, max_epochs=3)
    assert len(rewards) == 2 * 3 * 2


def test_it_learns_what_is_rewarded_and_exports_it_each_time(
    net: Any, loader: Any, fit: Any
) -> None:
    """The reference exported a random draw (its bug B6)."""

    def reward(model: Any, batch: Any) -> float:
        return float(
            (model.first.decision.active()[0].candidate == "b")
            + (model.second.decision.active()[0].candidate == "skip")
        )

    search = Enas(
        net(),
        arch_dataloader=loader(2),
        reward=reward,
        arc_learning_rate=0.02,
        baseline_decay=0.9,
        temperature=1.0,
        seed=0,
    )
    fit(search, max_epochs=30, limit_val_batches=0)
    assert all(search.export() == {"first": "b", "second": "skip"} for _ in range(3))
    assert search.export_probs()["first"]["b"] > 0.6
    assert search.top_k(2)[0] == search.export()


def test_a_copy_has_a_controller_of_its_own(net: Any, loader: Any) -> None:
    search = Enas(net(), arch_dataloader=loader(), seed=0)
    twin = copy.deepcopy(search)
    assert twin.controller is not None
    assert twin.controller is not search.controller
    before = search.export_probs()
    with torch.no_grad():
        for parameter in twin.controller.parameters():
            parameter.mul_(-30)
    assert search.export_probs() == before
    assert twin.export_probs() != before


def test_rewards_leave_no_trace_in_the_users_training(net: Any, loader: Any, fit: Any) -> None:
    states = []
    for warmup in (9, 0):
        torch.manual_seed(0)
        search = Enas(
            net(norm=True),
            arch_dataloader=loader(2),
            arc_learning_rate=0.0,
            warmup_epochs=warmup,
            seed=0,
        )
        fit(search, max_epochs=2)
        states.append({**search.model.state_dict(), "random": torch.rand(2)})
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())


def test_the_controller_is_no_part_of_the_users_module(net: Any, loader: Any) -> None:
    plain = net()
    search = Enas(net(), arch_dataloader=loader(), seed=0)
    assert search.state_dict().keys() == plain.state_dict().keys()
    assert len(list(search.model.parameters())) == len(list(plain.parameters()))
    assert search.controller is not None
    assert all(isinstance(p, Tensor) for p in search.decisions.parameters())
    names = search._ddp_params_and_buffers_to_ignore
    assert any(name.startswith("decisions.controller.") for name in names)


@pytest.mark.parametrize(
    "options",
    [{"n_samples": 0}, {"baseline_decay": 1.0}, {"temperature": 0.0}, {"warmup_epochs": -1}],
)
def test_senseless_options_are_refused(options: Any, net: Any, loader: Any) -> None:
    with pytest.raises(StrategyError, match="n_samples"):
        Enas(net(), arch_dataloader=loader(), **options)


def test_a_label_with_too_many_choices_is_refused_before_the_model_is_touched(loader: Any) -> None:
    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.dropout = onn.Dropout(oneshot.uniform(0.0, 0.5, label="rate"))

    model = Net()
    before = model.dropout
    with pytest.raises(StrategyError, match="'rate' has inf choices, too many for a controller"):
        Enas(model, arch_dataloader=loader())
    assert model.dropout is before


def test_it_needs_data_of_its_own(net: Any) -> None:
    with pytest.raises(StrategyError, match="arch_dataloader"):
        Enas(net())


def test_without_a_reward_a_module_that_optimizes_manually_is_refused(
    net: Any, loader: Any, fit: Any
) -> None:
    model = net()
    model.automatic_optimization = False
    with pytest.raises(StrategyError, match="optimizes manually"):
        fit(Enas(model, arch_dataloader=loader()))
