"""What a table says of architectures, of decisions, and of files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core import ModelSpace
from oneshot_core import nn as mnn
from oneshot_core.errors import ArchitectureError, StrategyError
from oneshot_plugins.costs.build import cost_table
from oneshot_plugins.costs.table import CostError, CostTable, Deviation, Row
from oneshot_plugins.strategies.penalties import CostPenalty


class Net(pl.LightningModule):
    """A choice that is nested, a layer over two labels, a depth, and a plain choice."""

    def __init__(self) -> None:
        super().__init__()
        hidden = oneshot.choice([2, 5], label="hidden")
        more = oneshot.choice([1, 2, 3], label="more")
        self.up = mnn.Linear(4, hidden * more)
        self.down = mnn.Linear(hidden * more, 4)
        inner = oneshot.LayerChoice({"x": nn.Linear(4, 4), "y": nn.Identity()}, label="inner")
        self.outer = oneshot.LayerChoice(
            {
                "wide": nn.Sequential(nn.Linear(4, 30), nn.Tanh(), nn.Linear(30, 4), inner),
                "thin": nn.Linear(4, 4),
                "skip": nn.Identity(),
            },
            label="outer",
        )
        self.blocks = oneshot.Repeat(
            lambda i: oneshot.LayerChoice(
                {"l": nn.Linear(4, 4), "i": nn.Identity()}, label=f"block{i}"
            ),
            (0, 2),
            label="depth",
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(self.outer(self.down(self.up(x))))
        return out

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def data() -> DataLoader[Any]:
    x = torch.linspace(-1, 1, 64).reshape(16, 4)
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=4)


def table_of(model: nn.Module) -> CostTable:
    return cost_table(model, "macs", inputs=[torch.zeros(1, 4)], verify=4)


def darts(**options: Any) -> Any:
    return oneshot.search(Net(), "darts", arch_dataloader=data(), seed=0, **options)


def spread(search: Any) -> list[nn.Parameter]:
    search.decisions.double()
    alphas = list(search.decisions.parameters())
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for alpha in alphas:
            alpha.copy_(torch.randn(alpha.shape, generator=generator, dtype=torch.float64))
    return alphas


def probability(architecture: Any, search: Any) -> float:
    p = search.export_probs()
    return math.prod(p[label][choice] for label, choice in architecture.items())


def test_the_expectation_is_that_over_all_architectures() -> None:
    """Products of parents' probabilities, and joints of the labels of one layer."""
    search = darts()
    spread(search)
    table = table_of(search)
    assert table.exact
    architectures = list(search.space.architectures())
    assert math.fsum(probability(a, search) for a in architectures) == pytest.approx(1)
    by_hand = math.fsum(probability(a, search) * table.of(a) for a in architectures)
    found = table.expected(search.decisions)
    assert float(found.detach()) == pytest.approx(by_hand, rel=1e-9)


def test_its_gradient_is_that_of_finite_differences() -> None:
    search = darts()
    alphas = spread(search)
    table = table_of(search)

    def value() -> Tensor:
        return table.expected(search.decisions)

    gradients = torch.autograd.grad(value(), alphas)
    assert all(gradient.abs().max() > 1e-3 for gradient in gradients)
    for alpha, gradient in zip(alphas, gradients, strict=True):
        for place in range(len(alpha)):
            sides = []
            for sign in (1, -1):
                with torch.no_grad():
                    alpha[place] += sign * 1e-6
                    sides.append(float(value().detach()))
                    alpha[place] -= sign * 1e-6
            assert float(gradient[place]) == pytest.approx(
                (sides[0] - sides[1]) / 2e-6, rel=1e-6, abs=1e-6
            )


def test_a_table_of_a_search_is_that_of_its_model() -> None:
    assert table_of(darts()).describe() == table_of(Net()).describe()


def test_the_cost_of_a_hard_draw_is_that_of_its_architecture() -> None:
    search = oneshot.search(Net(), "random", seed=0)
    table = table_of(search)
    for _ in range(5):
        drawn = search.space.reduce(search.resample())
        assert float(table.sampled(search.decisions)) == table.of(drawn)


def trained(strategy: str, scale: float, table: CostTable, **options: Any) -> Any:
    torch.manual_seed(0)
    penalty = CostPenalty(table.expected, target=300.0, scale=scale, form="log_ratio")
    search: Any = oneshot.search(
        Net(),
        strategy,
        arch_dataloader=data(),
        seed=0,
        arc_learning_rate=0.05,
        penalties=[penalty],
        **options,
    )
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(search, data())
    return search


@pytest.mark.parametrize("strategy", ["darts", "fbnet"])
def test_a_larger_scale_shifts_probabilities_to_what_is_cheaper(strategy: str) -> None:
    table = table_of(Net())
    options: Any = {"cost": table.sampled} if strategy == "fbnet" else {}
    searches = [trained(strategy, scale, table, **options) for scale in (0.0, 1.0, 100.0)]
    expected = [float(table.expected(s.decisions).detach()) for s in searches]
    assert expected[0] > expected[1] > expected[2]
    wide = [s.export_probs()["outer"]["wide"] for s in searches]
    assert wide[0] > wide[2]


def test_a_table_for_another_space_is_refused_before_training() -> None:
    table = table_of(Net())
    other = ModelSpace(nn.Sequential(oneshot.LayerChoice([nn.Identity()], label="outer")))
    with pytest.raises(StrategyError, match="another model space") as error:
        table.check(other)
    assert "'outer'" in str(error.value)
    search = oneshot.search(Net(), "random")
    table.check(search.space)
    with pytest.raises(StrategyError, match="does not decide"):
        CostTable("c", table.specs, table.rows).expected({})  # type: ignore[arg-type]


def test_a_penalty_asks_the_table_whether_it_fits() -> None:
    class Other(Net):
        def __init__(self) -> None:
            super().__init__()
            self.outer = oneshot.LayerChoice(
                {"wide": nn.Identity(), "thin": nn.Linear(4, 4)}, label="outer"
            )

    table = table_of(Net())
    for cost in (table, table.expected):
        with pytest.raises(StrategyError, match="another model space"):
            CostPenalty(cost, target=1.0).check(ModelSpace(Other()))


def test_architectures_that_do_not_fit_are_refused() -> None:
    table = table_of(Net())
    full: dict[str, object] = {"hidden": 2, "more": 1, "outer": "wide", "inner": "x", "depth": 0}
    # Of 2 to 4 and back, 4 to 30 and back, and the inner 4 to 4.
    assert table.of(full) == 2 * 4 * 2 + 2 * 4 * 30 + 16
    with pytest.raises(ArchitectureError, match="'inner' is not decided"):
        table.of({k: v for k, v in full.items() if k != "inner"})
    with pytest.raises(ArchitectureError, match="nothing of"):
        table.of({**full, "unheard": 1})
    with pytest.raises(ArchitectureError, match="is not a choice of 'more'"):
        table.of({**full, "more": 7})
    assert table.of({**full, "outer": "skip"}) == 16


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    table = table_of(Net())
    path = table.save(tmp_path / "macs.json")
    loaded = CostTable.load(path)
    assert loaded.describe() == table.describe()
    assert loaded.specs == table.specs
    assert loaded.exact
    for architecture in ModelSpace(Net()).architectures():
        assert loaded.of(architecture) == table.of(architecture)
    assert [p.name for p in tmp_path.iterdir()] == ["macs.json"]


def test_every_kind_of_candidate_survives_a_file(tmp_path: Path) -> None:
    values = (None, True, 1, 1.5, "one", (3, 3))
    spec = oneshot.ParameterSpec("v", values[:2] + values[3:])
    rows = [Row({"v": value}, float(n)) for n, value in enumerate(spec.candidates)]
    table = CostTable("c", {"v": spec}, rows, deviation=Deviation(1, 0.0, 0.0))
    loaded = CostTable.load(table.save(tmp_path / "t.json"))
    assert [loaded.of({"v": value}) for value in spec.candidates] == [0, 1, 2, 3, 4]
    assert loaded.rows == table.rows


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ("[]", "schema is None"),
        ('{"schema": "oneshot.cost-table/9"}', "cost-table/9"),
        ('{"schema": "oneshot.cost-table/1"}', "damaged"),
    ],
)
def test_other_files_are_refused_by_name(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(CostError, match=r"t\.json") as error:
        CostTable.load(tmp_path / "t.json")
    assert why in str(error.value)
    assert "fix:" in str(error.value)


def test_damaged_numbers_are_refused(tmp_path: Path) -> None:
    path = table_of(Net()).save(tmp_path / "t.json")
    for wrong in ("12", None, True, float("nan")):
        data = json.loads(path.read_text())
        data["rows"][0]["cost"] = wrong
        path.write_text(json.dumps(data))
        with pytest.raises(CostError, match="damaged"):
            CostTable.load(path)
        path = table_of(Net()).save(tmp_path / "t.json")


def test_it_is_printed_row_by_row() -> None:
    text = str(table_of(Net()))
    assert text.startswith("macs: exact, off by at most 0 (0.00%) on 4 sampled architectures\n")
    assert any(line.split() == ["outer=wide", "inner=x", "16"] for line in text.splitlines())
