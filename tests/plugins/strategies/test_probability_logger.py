"""What is logged about probabilities, and where it goes."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import nn

import oneshot_core as oneshot
from oneshot_core.errors import StrategyError, UnknownComponentError
from oneshot_plugins.strategies.darts import Darts
from oneshot_plugins.strategies.probability_logger import ProbabilityLogger, probabilities
from oneshot_plugins.strategies.uniform import UniformSampling

INPUTS = [torch.zeros(1, 4, dtype=torch.float64)]


def layers(network: nn.Module, x: Any) -> float:
    torch.randn(3)  # a cost may draw; the training must not notice
    return float(sum(isinstance(m, nn.Linear) for m in network.modules()))


def rows(folder: Path) -> list[dict[str, str]]:
    (file,) = folder.rglob("metrics.csv")
    return list(csv.DictReader(file.read_text().splitlines()))


def test_it_logs_probabilities_entropies_and_costs_after_every_epoch(
    net: Any, loader: Any, fit: Any, tmp_path: Path
) -> None:
    search = Darts(net(), arch_dataloader=loader(2), seed=0, arc_learning_rate=0.5)
    callback = ProbabilityLogger(costs=["parameters", layers], inputs=INPUTS)
    trainer = fit(
        search,
        callbacks=[callback],
        max_epochs=3,
        logger=CSVLogger(tmp_path, flush_logs_every_n_steps=1),
    )
    logged = [row for row in rows(tmp_path) if row["entropy/mean"]]
    assert [row["epoch"] for row in logged] == ["0", "1", "2"]
    assert [int(row["step"]) for row in logged] == [3, 6, 9]
    last = {name: float(value) for name, value in logged[-1].items() if value}
    found = search.export_probs()
    assert last["probability/first/skip"] == pytest.approx(found["first"]["skip"])
    assert last["entropy/second"] == pytest.approx(search.decisions["second"].entropy())
    frozen = oneshot.freeze(search, search.export())
    assert last["cost/layers"] == layers(frozen, None)
    assert last["cost/parameters"] == sum(p.numel() for p in frozen.parameters())
    assert last["entropy/mean"] < 1
    assert not [name for name in trainer.callback_metrics if "/" in name]


def test_training_does_not_notice_it(net: Any, loader: Any, fit: Any, tmp_path: Path) -> None:
    weights = []
    for callbacks in ([], [ProbabilityLogger(costs=[layers], inputs=INPUTS)]):
        torch.manual_seed(0)
        search = Darts(net(norm=True), arch_dataloader=loader(2), seed=0)
        fit(search, callbacks=callbacks, max_epochs=2, logger=CSVLogger(tmp_path))
        weights.append([*search.model.state_dict().values(), *search.decisions.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_it_keeps_to_every_n_epochs_and_needs_a_logger_only_to_log(
    net: Any, loader: Any, fit: Any, tmp_path: Path
) -> None:
    search = Darts(net(), arch_dataloader=loader(2), seed=0)
    callback = ProbabilityLogger(every_n_epochs=2)
    fit(search, callbacks=[callback], max_epochs=3, logger=CSVLogger(tmp_path))
    assert [row["epoch"] for row in rows(tmp_path) if row["entropy/mean"]] == ["1"]
    fit(Darts(net(), arch_dataloader=loader(2), seed=0), callbacks=[callback])


def test_a_strategy_without_preferences_has_no_costs(net: Any, fit: Any, tmp_path: Path) -> None:
    callback = ProbabilityLogger(costs=["macs"], inputs=INPUTS)
    search = UniformSampling(net(), seed=0)
    fit(search, callbacks=[callback], logger=CSVLogger(tmp_path))
    (row,) = [row for row in rows(tmp_path) if row["entropy/mean"]]
    assert float(row["probability/first/a"]) == pytest.approx(1 / 3)
    assert "cost/macs" not in row


def test_intervals_and_single_candidates_have_no_entropy() -> None:
    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.drop = oneshot.nn.Dropout(oneshot.uniform(0.0, 0.5, label="p"))
            self.one = oneshot.LayerChoice([nn.Identity()], label="one")

    assert probabilities(UniformSampling(Model(), seed=0)) == {"probability/one/0": 1.0}


def test_what_cannot_work_raises_before_training(net: Any, loader: Any, fit: Any) -> None:
    with pytest.raises(StrategyError, match="no inputs"):
        ProbabilityLogger(costs=["macs"])
    with pytest.raises(StrategyError, match="every_n_epochs=0"):
        ProbabilityLogger(every_n_epochs=0)
    with pytest.raises(StrategyError, match="expected: a search"):
        fit(net(), callbacks=[ProbabilityLogger()])
    search = Darts(net(), arch_dataloader=loader(2), seed=0)
    with pytest.raises(UnknownComponentError):
        fit(search, callbacks=[ProbabilityLogger(costs=["speed"], inputs=INPUTS)])
    assert search.trainer.global_step == 0


def test_probabilities_that_are_not_finite_are_logged_as_they_are(net: Any, loader: Any) -> None:
    search = Darts(net(), arch_dataloader=loader(2), seed=0)
    next(iter(search.decisions.parameters())).data.fill_(math.nan)
    assert math.isnan(probabilities(search)["entropy/mean"])
