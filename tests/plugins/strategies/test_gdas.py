"""GDAS: one path runs, and its gradient is that of the relaxed draw."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

import oneshot_core as oneshot
from oneshot_core import nn as onn
from oneshot_core.decision import DecisionTable
from oneshot_core.errors import StrategyError
from oneshot_core.space import ParameterSpec
from oneshot_plugins.strategies.darts import Darts
from oneshot_plugins.strategies.gdas import Gdas, GdasDecision


@pytest.mark.verifies("weights of exactly 1", "gdas")
@pytest.mark.parametrize("n_chosen", [1, 2, None])
def test_weights_are_exactly_one_at_every_temperature(n_chosen: int | None) -> None:
    table = DecisionTable(GdasDecision)
    decision = table.decide(ParameterSpec("x", ("a", "b", "c"), n_chosen), path="x")
    assert isinstance(decision, GdasDecision)
    for temperature in (10.0, 0.37, 0.01):
        decision.temperature = temperature
        for _ in range(20):
            taken = decision.resample()
            active = decision.mixture()
            assert tuple(a.candidate for a in active) == decision.spec.members(taken)
            assert all(a.weight is not None and a.weight.item() == 1.0 for a in active)


class PlainGdas(Gdas):
    """Steps the architecture by its plain gradient."""

    def configure_architecture_optimizers(self) -> Any:
        return torch.optim.SGD(self.decisions.parameters(), lr=1.0)


@pytest.mark.verifies("the estimator of section 3.2, written out", "gdas")
def test_a_step_follows_the_estimator_of_the_paper(net: Any, loader: Any, fit: Any) -> None:
    """Section 3.2: with o the output of the path, dL/dα = <dL/dy, o> · dh̃/dα at its index."""
    search = PlainGdas(net(), arch_dataloader=loader(2, n=8), temperature=2.0, seed=1)
    search.decisions.double()
    search.reseed("architecture", 0, 0)
    search.resample()
    (batch,) = list(loader(2, n=8))
    x, gates, model = batch[0], [], search.model
    for decision, choice in zip(search.decisions, (model.first, model.second), strict=True):
        gate = torch.ones((), dtype=torch.float64, requires_grad=True)
        gates.append(gate)
        x = gate * choice.candidates[decision.taken](x)  # type: ignore[attr-defined]
    loss = nn.functional.cross_entropy(model.head(x), batch[1])
    inner = torch.autograd.grad(loss, gates)  # <dL/dy, o>
    expected = []
    for decision, product in zip(search.decisions, inner, strict=True):
        assert isinstance(decision, GdasDecision)
        index = decision.spec.candidates.index(decision.taken)  # type: ignore[arg-type]
        h = decision.soft().detach()
        slope = h[index] * (torch.eye(3, dtype=torch.float64)[index] - h) / 2.0
        expected.append(decision.alpha.detach() - product * slope)

    fit(search, loader(1, n=8))

    for alpha, want in zip(search.decisions.parameters(), expected, strict=True):
        assert torch.allclose(alpha, want, rtol=1e-10, atol=1e-13)
        assert not torch.equal(alpha, torch.zeros_like(alpha))


@pytest.mark.verifies("calls of candidates: one path", "gdas")
def test_only_the_drawn_path_runs_in_either_step(net: Any, loader: Any, fit: Any) -> None:
    search = Gdas(net(), arch_dataloader=loader(2), seed=0)
    ran: list[str] = []
    for name in ("first", "second"):
        for key, module in getattr(search.model, name).candidates.items():
            module.register_forward_hook(lambda *_, at=f"{name}.{key}": ran.append(at))
    fit(search, limit_val_batches=0)
    assert len(ran) == 3 * 2 * 2  # batches, steps, choices
    for one, two in zip(ran[::2], ran[1::2], strict=True):
        assert (one.split(".")[0], two.split(".")[0]) == ("first", "second")
    assert len(set(ran)) > 3


def test_unsampled_batch_norm_is_left_alone(net: Any, loader: Any, fit: Any) -> None:
    search = Gdas(net(norm=True), arch_dataloader=loader(2, n=8), seed=0)
    search.reseed("train", 0, 0)
    drawn = search.resample()
    fit(search, loader(1, n=8), limit_val_batches=0)
    for name, candidate in drawn.items():
        for key in ("a", "b"):
            norm = getattr(search.model, name).candidates[key][1]
            assert norm.num_batches_tracked == (key == candidate)


@pytest.mark.parametrize("strategy", [Gdas, Darts])
def test_scores_for_an_interval_are_refused_before_the_model_is_touched(
    strategy: Any, loader: Any
) -> None:
    class Rate(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.dropout = onn.Dropout(oneshot.uniform(0.0, 0.5, label="rate"))

    model = Rate()
    before = model.dropout
    with pytest.raises(StrategyError, match=r"cannot choose a number from 0.0 to 0.5 for 'rate'"):
        strategy(model, arch_dataloader=loader())
    assert model.dropout is before
