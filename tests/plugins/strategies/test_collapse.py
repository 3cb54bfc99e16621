"""The callbacks that watch for collapse: what they see, say and stop."""

from __future__ import annotations

import copy
import logging
import math
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from torch import Tensor, nn

from oneshot_core.errors import StrategyError
from oneshot_plugins.strategies.collapse import (
    CollapseAlarm,
    EigenvalueStop,
    dominant_eigenvalue,
    health,
)
from oneshot_plugins.strategies.darts import Darts


def set_alphas(search: Any, *values: Any) -> None:
    with torch.no_grad():
        for parameter, value in zip(search.decisions.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value))


def test_health_is_what_it_says(net: Any, loader: Any) -> None:
    search = Darts(net(), arch_dataloader=loader(), seed=0)
    set_alphas(search, [0.0, 0.0, 0.0], [0.0, 1.0, 2.0])
    p = torch.tensor([0.0, 1.0, 2.0]).softmax(0)
    found = health(search, ["skip"])
    assert found.finite
    assert found.entropy == pytest.approx((1 - float((p * p.log()).sum()) / math.log(3)) / 2)
    assert found.skip_share == 0.5
    assert health(search, ["none"]).skip_share == 0.0
    set_alphas(search, [math.nan, 0.0, 0.0], [0.0, 0.0, 0.0])
    assert not health(search, ["skip"]).finite


def test_it_logs_every_epoch(net: Any, loader: Any, fit: Any) -> None:
    alarm = CollapseAlarm(max_skip_share=1.0)
    trainer = fit(Darts(net(), arch_dataloader=loader(2), seed=0), callbacks=[alarm])
    assert float(trainer.callback_metrics["oneshot/entropy"]) == pytest.approx(1.0, abs=1e-3)
    assert "oneshot/skip_share" in trainer.callback_metrics
    assert alarm.alarms == []


@pytest.mark.parametrize("stop", [False, True])
def test_dominant_skips_raise_an_alarm_that_can_stop(
    stop: bool, net: Any, loader: Any, fit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    search = Darts(net(), arch_dataloader=loader(2), seed=0)
    set_alphas(search, [0.0, 0.0, 1.0], [0.0, 0.0, 1.0])
    alarm = CollapseAlarm(["skip"], stop=stop)
    with caplog.at_level(logging.WARNING, "oneshot_plugins.strategies.collapse"):
        trainer = fit(search, max_epochs=3, callbacks=[alarm])
    assert trainer.current_epoch == (1 if stop else 3)
    assert "100% of the labels prefer ['skip']" in caplog.text
    assert len(alarm.alarms) == (1 if stop else 3)


def test_a_search_that_is_decided_too_early_raises_an_alarm(
    net: Any, loader: Any, fit: Any
) -> None:
    search = Darts(net(), arch_dataloader=loader(2), seed=0)
    set_alphas(search, [9.0, 0.0, 0.0], [9.0, 0.0, 0.0])
    alarm = CollapseAlarm(until=0.5)
    fit(search, max_epochs=4, callbacks=[alarm])
    assert [text.split(":")[0] for text in alarm.alarms] == ["epoch 0", "epoch 1"]
    assert "decided already" in alarm.alarms[0]


class Poison(Callback):
    """Spoils the architecture, as the last step of an epoch may."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        next(iter(pl_module.decisions.parameters())).data.fill_(math.nan)


def test_numbers_that_are_not_finite_stop_in_any_case(net: Any, loader: Any, fit: Any) -> None:
    alarm = CollapseAlarm()
    search = Darts(net(), arch_dataloader=loader(2), seed=0)
    trainer = fit(search, max_epochs=3, callbacks=[Poison(), alarm])
    assert trainer.current_epoch == 1
    assert "not finite" in alarm.alarms[0]


@pytest.mark.parametrize("callback", [CollapseAlarm, EigenvalueStop])
def test_a_module_that_is_no_search_is_refused(callback: Any, net: Any, fit: Any) -> None:
    with pytest.raises(StrategyError, match="expected: a search"):
        fit(net(), callbacks=[callback()])


class Measure(Callback):
    """Compares the eigenvalue with that of the whole Hessian."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches
        self.pairs: list[tuple[float, float]] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        model, parameters = pl_module.model, list(pl_module.decisions.parameters())
        before = {k: v.clone() for k, v in model.state_dict().items()}
        random = torch.get_rng_state()
        found = dominant_eigenvalue(pl_module, n_batches=2, tolerance=1e-10, max_iterations=2000)
        assert torch.equal(random, torch.get_rng_state())
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())

        def loss(flat: Tensor) -> Tensor:
            total = torch.zeros((), dtype=torch.float64)
            for batch in self.batches:
                x = batch[0]
                for choice, alpha in zip((model.first, model.second), flat.split(3), strict=True):
                    p = alpha.softmax(0)
                    x = sum(p[i] * f(x) for i, f in enumerate(choice.candidates.values()))
                total = total + nn.functional.cross_entropy(model.head(x), batch[1])
            return total / len(self.batches)

        flat = torch.cat([p.detach() for p in parameters])
        hessian = torch.autograd.functional.hessian(loss, flat)
        values = torch.linalg.eigvalsh(hessian)
        self.pairs.append((found, float(values[values.abs().argmax()])))


def test_the_dominant_eigenvalue_is_that_of_the_whole_hessian(
    net: Any, loader: Any, fit: Any
) -> None:
    batches = list(loader(2))[:2]
    measure = Measure(batches)
    search = Darts(net(), arch_dataloader=loader(2), arc_learning_rate=0.3, seed=0)
    search.decisions.double()
    fit(search, max_epochs=4, callbacks=[measure])
    for found, expected in measure.pairs:
        assert found == pytest.approx(expected, rel=1e-5)
        assert abs(expected) > 1e-4


def test_the_training_does_not_notice_the_eigenvalue(net: Any, loader: Any, fit: Any) -> None:
    states = []
    for callbacks in ([], [EigenvalueStop(window=9)]):
        torch.manual_seed(0)
        search = Darts(net(norm=True), arch_dataloader=loader(2), seed=0)
        fit(search, max_epochs=2, callbacks=callbacks)
        states.append({**search.model.state_dict(), "random": torch.rand(2)})
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())


class Scripted(EigenvalueStop):
    """Sees eigenvalues from a list, and notes the architecture of every epoch."""

    def __init__(self, values: list[float], **options: Any) -> None:
        super().__init__(**options)
        self.values = values
        self.history: list[list[Tensor]] = []

    def measure(self, search: Any) -> float:
        self.history.append(copy.deepcopy([p.detach() for p in search.decisions.parameters()]))
        return self.values[len(self.history) - 1]


@pytest.mark.parametrize(
    ("values", "epochs"),
    [
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 6),
        ([1.0, 1.0, 1.2, 1.4, 1.5, 1.5], 6),  # (1 + 1.2) / (1.4 + 1.5) is above 0.75
        ([1.0, 1.0, 1.0, 3.0, 1.0, 1.0], 4),  # 1 / 2 is below
        ([-1.0, -1.0, -1.0, -3.0, 0.0, 0.0], 4),
    ],
)
def test_it_stops_when_the_mean_has_grown_and_goes_back(
    values: list[float], epochs: int, net: Any, loader: Any, fit: Any
) -> None:
    """Section 4.3: stop if the mean of k epochs before is below 0.75 of the present mean."""
    callback = Scripted(values, window=2)
    search = Darts(net(), arch_dataloader=loader(2), arc_learning_rate=0.1, seed=0)
    search.decisions.double()
    trainer = fit(search, max_epochs=6, callbacks=[callback])
    assert trainer.current_epoch == epochs
    kept = callback.history[-1 if epochs == 6 else epochs - 1 - 2]
    assert all(map(torch.equal, kept, search.decisions.parameters()))


def test_its_history_survives_a_checkpoint(net: Any, loader: Any, fit: Any, tmp_path: Any) -> None:
    path = tmp_path / "half.ckpt"
    values = [1.0, 1.0, 1.0, 3.0]
    fit(
        Darts(net(), arch_dataloader=loader(2), seed=0),
        max_epochs=3,
        callbacks=[Scripted(values, window=2)],
    ).save_checkpoint(path)
    rest = Scripted(values[3:], window=2)
    trainer = fit(
        Darts(net(), arch_dataloader=loader(2), seed=0),
        max_epochs=6,
        callbacks=[rest],
        ckpt_path=path,
    )
    assert trainer.current_epoch == 4
    assert rest.eigenvalues == values


@pytest.mark.parametrize("options", [{"window": 0}, {"ratio": 0.0}, {"n_batches": 0}])
def test_senseless_options_are_refused(options: Any) -> None:
    with pytest.raises(StrategyError, match="EigenvalueStop"):
        EigenvalueStop(**options)
