"""A table of another model is refused before training, from wherever it comes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core import nn as mnn
from oneshot_core.errors import StrategyError
from oneshot_plugins.costs.build import cost_table
from oneshot_plugins.costs.named import NamedCost
from oneshot_plugins.costs.table import CostError, CostTable
from oneshot_plugins.costs.verify import verify
from oneshot_plugins.strategies.penalties import CostPenalty

LOADER = DataLoader(TensorDataset(torch.zeros(4, 8)), 2)


class Layers(nn.Module):
    """Choices, and layers that no choice changes: ``hidden`` wide, with strides."""

    def __init__(self, hidden: int = 16, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        width = oneshot.choice([4, 8], label="w")
        self.a = mnn.Linear(8, width)
        self.b = mnn.Linear(width, hidden)
        self.drop = nn.Dropout(0.1 * stride)
        self.op = oneshot.LayerChoice(
            {
                "skip": nn.Identity(),
                "conv": nn.Conv1d(1, 1, kernel, padding=kernel // 2, stride=stride),
                "same": nn.Conv1d(1, 1, 1),
            },
            label="op",
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.op(self.drop(self.b(self.a(x))).unsqueeze(1))
        return out


class Net(pl.LightningModule):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__()
        self.net = Layers(*arguments, **options)
        self.loss = nn.MSELoss()
        self.example_input_array = torch.zeros(1, 8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out

    def training_step(self, batch: list[Tensor]) -> Tensor:
        out = self(batch[0])
        loss: Tensor = self.loss(out, torch.zeros_like(out))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(model: pl.LightningModule, strategy: str = "darts", **options: Any) -> None:
    search = oneshot.search(model, strategy, arch_dataloader=LOADER, **options)
    pl.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    ).fit(search, LOADER)  # fmt: skip


def penalty(table: CostTable) -> CostPenalty:
    return CostPenalty(table.expected, target=500.0)


HOW: dict[str, Callable[[CostTable, Path], Any]] = {
    "method": lambda table, path: penalty(table),
    "table": lambda table, path: table,
    "closure": lambda table, path: lambda decisions: table.expected(decisions),
    "partial": lambda table, path: partial(CostTable.expected, table),
    "file": lambda table, path: CostPenalty(str(table.save(path)), target=500.0),
    "named": lambda table, path: NamedCost(str(table.save(path))),
}


@pytest.mark.parametrize("how", HOW)
def test_a_counted_table_of_another_width_is_refused_with_both_numbers(
    how: str, tmp_path: Path
) -> None:
    table = cost_table(Net(16), "macs")
    given = HOW[how](table, tmp_path / "macs.json")
    fit(Net(16), penalties=[given])
    with pytest.raises(StrategyError) as error:
        fit(Net(12), penalties=[given])
    said = str(error.value)
    assert f"it says {8 * 8 + 8 * 16:,}, and the network has {8 * 8 + 8 * 12:,}" in said
    assert "{'w': 8, 'op': 'skip'}" in said
    assert "\n  expected: 160 for Net" in said
    assert "\n  fix: build a table for this model: oneshot cost build RUN --cost macs" in said


def test_a_strategy_that_takes_a_table_as_its_cost_checks_it_too() -> None:
    table = cost_table(Net(16), "macs")
    fit(Net(16), "fbnet", cost=table)
    with pytest.raises(StrategyError, match="it says 192, and the network has 160"):
        fit(Net(12), "fbnet", cost=table)


def test_a_difference_in_a_candidate_that_is_neither_first_nor_last_is_found() -> None:
    table = cost_table(Net(kernel=3), "macs")
    with pytest.raises(StrategyError, match=r"'op': 'conv'\} it says 240, and the network has 272"):
        fit(Net(kernel=5), penalties=[penalty(table)])


@pytest.mark.parametrize(
    ("other", "where"),
    [
        ({"hidden": 12}, "at 'w'"),
        ({"kernel": 5}, "at 'op'"),
        ({"stride": 2}, "at 'op'"),
    ],
)
def test_a_measured_table_is_refused_by_what_the_layers_are(
    other: dict[str, int], where: str
) -> None:
    table = cost_table(Net(), "latency", verify=0, min_run_time=0.001)
    fit(Net(), penalties=[penalty(table)])
    with pytest.raises(StrategyError, match=where):
        fit(Net(**other), penalties=[penalty(table)])


def test_a_layer_that_no_choice_changes_is_named_as_such() -> None:
    class Head(Net):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.head = nn.Linear(16, width)

    table = cost_table(Head(3), "latency", verify=0, min_run_time=0.001)
    with pytest.raises(StrategyError, match="other layers at the layers that no choice changes"):
        verify(table, Head(4), oneshot.registry)


def test_what_changes_no_cost_changes_no_identity() -> None:
    """A plain module, a LightningModule around it, searches of several kinds; dropout; a loss."""
    table = cost_table(Layers(), "macs", inputs=[torch.zeros(1, 8)])
    model = Net()
    model.net.drop.p = 0.7
    verify(table, model, oneshot.registry)
    for strategy in ("darts", "fbnet", "proxyless", "random"):
        options: dict[str, Any] = {"cost": "macs"} if strategy == "fbnet" else {}
        try:
            search = oneshot.search(Net(), strategy, arch_dataloader=LOADER, **options)
        except StrategyError:  # it takes none
            search = oneshot.search(Net(), strategy, **options)
        verify(table, search, oneshot.registry)


def test_tables_of_models_that_look_at_their_data_are_verified_with_data() -> None:
    class Looks(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if float(x.sum()) < 1e9 else -x)

    table = cost_table(Looks(16), "macs")
    assert table.origin["device"] == "cpu"
    verify(table, Looks(16), oneshot.registry)
    with pytest.raises(StrategyError, match="it says 192, and the network has 160"):
        verify(table, Looks(12), oneshot.registry)


def test_a_table_of_tied_weights_from_before_is_refused_by_its_wrong_number(
    tmp_path: Path,
) -> None:
    """A file that an older version wrote knows no identity, and counted tied weights twice."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width = oneshot.choice([4, 8], label="d")
            self.e, self.h = mnn.Embedding(50, width), mnn.Linear(width, 50)
            self.h.weight = self.e.weight

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.h(self.e(x))
            return out

    tokens = torch.zeros(1, 3, dtype=torch.long)
    data = cost_table(Tied(), "parameters", inputs=[tokens]).describe()
    del data["origin"]["identity"], data["origin"]["function"]
    data["origin"]["inputs"] = [[1, 3]]
    for row in data["rows"]:
        row["cost"] *= 2
    path = tmp_path / "old.json"
    path.write_text(json.dumps(data))
    with pytest.raises(StrategyError, match="it says 900, and the network has 450"):
        verify(CostTable.load(path), Tied(), oneshot.registry)


def test_a_function_with_the_name_of_an_installed_cost_is_not_taken_for_that() -> None:
    def macs(network: nn.Module, *inputs: Tensor) -> float:
        return 7.0

    verify(cost_table(Net(), macs), Net(), oneshot.registry)


def test_other_candidates_are_named_with_what_is_there() -> None:
    one = nn.Sequential(oneshot.LayerChoice({"a": nn.Identity(), "b": nn.Linear(2, 2)}, label="x"))
    other = nn.Sequential(
        oneshot.LayerChoice({"a": nn.Identity(), "c": nn.Linear(2, 2)}, label="x")
    )
    table = cost_table(one, "macs", inputs=[torch.zeros(1, 2)])
    with pytest.raises(StrategyError, match=r"a.*b.*at 'x'.*a.*c") as error:
        verify(table, other, oneshot.registry)
    assert "another model space" in str(error.value)


def test_the_example_of_a_model_is_what_costs_are_measured_with() -> None:
    model = Net()
    model.example_input_array = torch.zeros(8, 8)
    table = cost_table(model, "macs")
    assert table.batch == 8
    assert table.of({"w": 8, "op": "skip"}) == 8 * (64 + 128)
    assert "all numbers are for a batch of 8" in str(table)
    assert "built for Net with inputs 8x8" in str(table)
    assert table.of({"w": 8, "op": "skip"}) == 8 * cost_table(Net(), "macs").of(
        {"w": 8, "op": "skip"}
    )
    assert cost_table(oneshot.search(model, "random"), "macs").batch == 8
    assert cost_table(model, "parameters").batch is None


def test_without_an_example_inputs_are_asked_for() -> None:
    with pytest.raises(CostError, match="not known what Layers is called with") as error:
        cost_table(Layers(), "macs")
    assert "\n  fix: cost_table(model, ..., inputs=" in str(error.value)
