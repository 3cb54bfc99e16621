"""Schedules end where they are said to end."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from oneshot_core.errors import StrategyError
from oneshot_plugins.strategies.gumbel import GumbelDarts, GumbelDecision
from oneshot_plugins.strategies.schedules import Schedule, schedule_of


@pytest.mark.parametrize("form", ["linear", "exponential", "cosine"])
def test_it_starts_and_ends_exactly_as_stated(form: Any) -> None:
    schedule = Schedule(1.0, 0.33, form)
    assert schedule.at(0.0) == 1.0
    assert schedule.at(1.0) == 0.33
    assert schedule.at(2.0) == 0.33
    between = [schedule.at(i / 10) for i in range(11)]
    assert between == sorted(between, reverse=True)


def test_the_forms_are_what_they_are_called() -> None:
    assert Schedule(2.0, 4.0).at(0.25) == pytest.approx(2.5)
    assert Schedule(8.0, 2.0, "exponential").at(0.5) == pytest.approx(4.0)
    assert Schedule(1.0, 0.0, "cosine").at(0.25) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert Schedule(0.7).at(0.9) == 0.7


def trainer(epoch: int = 0, batch: int = 0, **options: Any) -> Any:
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_idx=batch))
    defaults = {"max_epochs": 5, "max_steps": -1, "num_training_batches": 4, "fit_loop": loop}
    return SimpleNamespace(current_epoch=epoch, **(defaults | options))


def test_by_epoch_the_last_epoch_has_the_last_value() -> None:
    schedule = Schedule(1.0, 0.2)
    values = [schedule.value(trainer(epoch)) for epoch in range(5)]
    assert values == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    assert values[-1] == 0.2
    assert [schedule.value(trainer(e), after=2) for e in range(5)][-3:] == [1.0, 0.6, 0.2]
    assert schedule.value(trainer(max_epochs=1)) == 0.2


def test_by_step_the_last_batch_of_the_last_epoch_has_the_last_value() -> None:
    schedule = Schedule(1.0, 0.05, interval="step")
    values = [schedule.value(trainer(e, b)) for e in range(5) for b in range(4)]
    assert values == pytest.approx([1.0 - 0.05 * i for i in range(20)])
    assert values[-1] == 0.05


def test_epochs_of_its_own_end_it_earlier() -> None:
    schedule = Schedule(1.0, 0.0, epochs=3)
    assert [schedule.value(trainer(e)) for e in range(5)] == [1.0, 0.5, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("options", [{"max_epochs": None}, {"max_epochs": -1}, {"max_steps": 7}])
def test_an_unknown_end_is_refused(options: Any) -> None:
    with pytest.raises(StrategyError, match="in how many epochs"):
        Schedule(1.0, 0.5).check(trainer(**options), "temperature")
    Schedule(1.0, 0.5, epochs=3).check(trainer(**options), "temperature")
    Schedule(1.0).check(trainer(**options), "temperature")


@pytest.mark.parametrize(
    "options",
    [
        {"start": math.inf},
        {"start": 0.0, "end": 1.0, "form": "exponential"},
        {"start": 1.0, "form": "zigzag"},
        {"start": 1.0, "interval": "year"},
        {"start": 1.0, "epochs": 0},
    ],
)
def test_senseless_schedules_are_refused(options: Any) -> None:
    with pytest.raises(StrategyError, match="expected"):
        Schedule(**options)


def test_a_number_is_a_schedule_that_stays() -> None:
    assert schedule_of(2.0, "x") == Schedule(2.0)
    with pytest.raises(StrategyError, match="greater than 0"):
        schedule_of(0.0, "temperature", positive=True)


class Watched(GumbelDarts):
    """Notes the temperature that the softmax of each batch is computed with."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.seen: list[float] = []

    def advance_optimization(self) -> None:
        (decision, *_) = self.decisions
        assert isinstance(decision, GumbelDecision)
        scores, soft = decision.scores().detach(), decision.soft().detach()
        # The temperature is read back from the weights: log-ratios scale with its inverse.
        self.seen.append(float((scores[0] - scores[1]) / (soft[0] / soft[1]).log()))
        super().advance_optimization()


@pytest.mark.verifies("temperatures, read back from a fit", "gumbel")
def test_the_softmax_of_a_fit_really_gets_the_scheduled_temperature(
    net: Any, loader: Any, fit: Any
) -> None:
    """The reference logged one value and used another (its bug B3, and B26 for the end)."""
    search = Watched(
        net(), arch_dataloader=loader(2), temperature=Schedule(2.0, 0.5), warmup_epochs=1, seed=0
    )
    fit(search, max_epochs=5)
    assert search.seen == pytest.approx(
        [t for t in (2.0, 2.0, 1.5, 1.0, 0.5) for _ in range(3)], rel=1e-4
    )


def test_by_step_a_fit_without_a_known_length_is_refused(net: Any, loader: Any, fit: Any) -> None:
    search = GumbelDarts(
        net(), arch_dataloader=loader(2), temperature=Schedule(2.0, 0.5, interval="step"), seed=0
    )
    with pytest.raises(StrategyError, match="have no length"):
        fit(search, iter(list(loader(1))))
