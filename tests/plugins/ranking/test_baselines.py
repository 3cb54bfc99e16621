"""What a search is held against is computed from frozen networks, and evaluated once."""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core import Architecture, LayerChoice, Repeat
from oneshot_core.errors import RankingError
from oneshot_plugins.costs.counts import macs, parameters
from oneshot_plugins.ranking.baselines import Baseline, Baselines
from oneshot_plugins.ranking.evaluation import Ranked, Ranking

X = torch.zeros(1, 6, dtype=torch.float64)
WIDTHS = (2, 4, 8, 16)


class Net(LightningModule):
    """16 networks in float64, with BatchNorm behind the choices."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = LayerChoice(
            {f"w{w}": nn.Sequential(nn.Linear(6, w), nn.Tanh(), nn.Linear(w, 8)) for w in WIDTHS},
            label="first",
        )
        self.norm = nn.BatchNorm1d(8)
        self.blocks = Repeat(lambda index: nn.Linear(8, 8), (0, 3), label="depth")
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.norm(self.first(x))))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        SCORED.append(f"{self.first.decision.pinned} {self.blocks.decision.pinned}")
        self.log("loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


SCORED: list[str] = []


def data(n: int, seed: int) -> DataLoader[Any]:
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()), batch_size=n)


TRAIN, VAL = data(48, 0), data(32, 1)


@pytest.fixture(autouse=True)
def _logged_in_float64() -> Iterator[None]:
    """Lightning keeps what is logged in the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def search(make_trainer: Any) -> Any:
    made = oneshot.search(Net(), seed=0)
    make_trainer(max_epochs=3).fit(made, TRAIN, VAL)
    SCORED.clear()
    return made


@pytest.fixture
def rank(search: Any) -> Callable[..., Ranking]:
    def ranked(what: Any = "evolution", **options: Any) -> Any:
        given = {"metric": "loss", "mode": "min", "progress": False, **options}
        if what == "evolution":
            given |= {"budget": 6, "population_size": 3}
        return search.rank(what, VAL, **given)

    return ranked


def by_hand(search: Any, architecture: Any) -> float:
    """Return the loss of the frozen network with the statistics of the training batch."""
    network = oneshot.freeze(search, architecture)
    ((x, _),) = TRAIN
    norm = network.norm
    norm.reset_running_stats()
    norm.momentum = 1.0
    with torch.no_grad():
        network.train()(x)
        ((x, y),) = VAL
        return nn.functional.cross_entropy(network.eval()(x), y).item()


def tau(a: list[float], b: list[float]) -> float:
    """Return Kendall's tau-b by its definition."""
    signs = [
        ((x > u) - (x < u), (y > v) - (y < v))
        for (x, y), (u, v) in combinations(zip(a, b, strict=True), 2)
    ]
    norm = math.sqrt(sum(abs(s) for s, _ in signs) * sum(abs(t) for _, t in signs))
    return sum(s * t for s, t in signs) / norm


def rows(ranking: Any) -> dict[str, Any]:
    return {row.name: row for row in ranking.baselines.rows}


def test_random_and_largest_are_those_of_frozen_networks(rank: Any, search: Any) -> None:
    ranking = rank(costs=["macs"], inputs=[X])
    found, mean, best, largest = ranking.baselines.rows
    sample = ranking.baselines.sample

    assert len(sample) == len(ranking) == 6
    losses = {a: by_hand(search, a) for a in sample}
    frozen = {a: oneshot.freeze(search, a) for a in sample}
    sizes = {a: parameters(frozen[a]) for a in sample}
    operations = {a: macs(frozen[a], X) for a in sample}
    for architecture, values in sample.items():
        assert values["loss"] == pytest.approx(losses[architecture], rel=1e-12)
        assert values["macs"] == operations[architecture]
        assert values["parameters"] == sizes[architecture]
    assert mean.name == "mean of 6 random"
    assert mean.architecture is None
    assert mean.values == pytest.approx(
        {
            "loss": statistics.fmean(losses.values()),
            "macs": statistics.fmean(operations.values()),
            "parameters": statistics.fmean(sizes.values()),
        },
        rel=1e-12,
    )
    assert best.name == "best of 6 random"
    assert best.architecture == min(losses, key=losses.__getitem__)
    assert best.values == sample[best.architecture]
    assert largest.architecture == {"first": "w16", "depth": 3}
    assert largest.values["loss"] == pytest.approx(by_hand(search, largest.architecture), rel=1e-12)
    assert found.architecture == ranking.best
    assert found.values["loss"] == ranking[0].score
    assert ranking.baselines.agreement == pytest.approx(
        {
            ("loss", "macs"): tau(list(losses.values()), list(operations.values())),
            ("loss", "parameters"): tau(list(losses.values()), list(sizes.values())),
            ("macs", "parameters"): tau(list(operations.values()), list(sizes.values())),
        }
    )


def test_a_complete_ranking_has_quartiles_of_all_and_scores_nothing_more(
    rank: Any, search: Any
) -> None:
    ranking = rank("all")
    losses = sorted(by_hand(search, a) for a in search.space.architectures())
    found = rows(ranking)

    assert len(SCORED) == len(set(SCORED)) == 16
    assert len(ranking.baselines.sample) == 16
    assert list(found) == [
        "best found", "mean of all 16", "lower quartile of all 16", "median of all 16",
        "upper quartile of all 16", "largest",
    ]  # fmt: skip
    assert found["mean of all 16"].values["loss"] == pytest.approx(statistics.fmean(losses))
    assert found["median of all 16"].values["loss"] == pytest.approx(statistics.median(losses))
    # Linear between neighbours: at 15 / 4 of the way.
    lower = losses[3] + 0.75 * (losses[4] - losses[3])
    assert found["lower quartile of all 16"].values["loss"] == pytest.approx(lower)


@pytest.mark.parametrize("what", ["evolution", 5])
def test_nothing_is_scored_twice(what: Any, rank: Any) -> None:
    ranking = rank(what)
    beside = {*ranking.baselines.sample, *(e.architecture for e in ranking)}
    beside.add(rows(ranking)["largest"].architecture)

    assert len(SCORED) == len(set(SCORED)) == len(beside)
    if what == 5:
        assert set(ranking.baselines.sample) == {e.architecture for e in ranking}


@pytest.mark.parametrize("what", ["evolution", 5])
def test_baselines_change_nothing_of_a_ranking_and_are_repeatable(
    what: Any, rank: Any, search: Any
) -> None:
    before = {k: v.clone() for k, v in search.state_dict().items()}
    without = rank(what, baselines=False)
    one, two = rank(what), rank(what)

    assert without.baselines is None
    assert without.entries == one.entries == two.entries
    assert one.baselines.to_dict() == two.baselines.to_dict()
    assert all(torch.equal(v, before[k]) for k, v in search.state_dict().items())


def test_given_architectures_have_baselines_if_they_are_asked_for(rank: Any) -> None:
    given = [{"first": "w2", "depth": d} for d in range(3)]

    assert rank(given).baselines is None
    assert len(SCORED) == 3
    assert len(rank(given, baselines=True).baselines.sample) == 3


def test_score_and_costs_are_compared_with_the_truth_where_it_is_known(
    rank: Any, search: Any
) -> None:
    """The truth here: wider is better, so that counting parameters tells nearly all."""
    ranking = rank("all", truth=true_of)
    every = [e.architecture for e in ranking]
    true = [true_of(a) for a in every]
    sizes = [parameters(oneshot.freeze(search, a)) for a in every]
    agreement = ranking.baselines.agreement

    assert agreement["parameters", "truth"] == pytest.approx(tau(sizes, true))
    assert agreement["loss", "truth"] == pytest.approx(ranking.kendall_tau(true_of))
    some = {a: true_of(a) for a in every[:5]}
    assert rank(every, truth=some).baselines.agreement["loss", "truth"] == pytest.approx(
        tau([e.score for e in ranking[:5]], list(some.values()))
    )
    with pytest.raises(RankingError, match="about 1 of 16"):
        rank("all", truth={every[0]: 1.0})


def test_a_truth_that_nothing_would_be_compared_with_is_refused(rank: Any, search: Any) -> None:
    with pytest.raises(RankingError, match=r"a truth is given with baselines=False"):
        rank("all", truth=true_of, baselines=False)
    with pytest.raises(RankingError, match=r"a truth is given with baselines=False"):
        search.pareto({"loss": "min"}, VAL, budget=2, truth=true_of, baselines=False)
    assert SCORED == []


@pytest.mark.parametrize("budget", [5, 16])
def test_objectives_of_a_front_are_compared_with_the_truth(budget: int, search: Any) -> None:
    """Over all that was scored, not only over the front, and not over the random ones."""
    front = search.pareto(
        {"loss": "min", "macs": "min"}, VAL, budget=budget, inputs=[X], truth=true_of,
        constraints={"parameters": (None, 1e9)}, progress=False,
    )  # fmt: skip
    every = [entry.architecture for entry in front.scored]
    true = [true_of(a) for a in every]
    agreement = front.baselines.agreement

    assert len(every) == budget
    assert agreement["macs", "truth"] == pytest.approx(
        tau([macs(oneshot.freeze(search, a), X) for a in every], true)
    )
    assert agreement["loss", "truth"] == pytest.approx(
        tau([by_hand(search, a) for a in every], true)
    )
    assert agreement["loss", "truth"] == pytest.approx(front.kendall_tau(true_of))
    assert agreement["parameters", "truth"] == pytest.approx(
        front.kendall_tau(true_of, by="parameters")
    )
    assert "Kendall tau of loss and truth" in str(front)


def true_of(architecture: Any) -> float:
    return float(str(architecture["first"])[1:])


def test_the_largest_of_a_space_too_large_to_count_is_found(
    rank: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oneshot_plugins.costs.sizes.MAX_ENUMERATED", 1)
    assert rows(rank(2))["largest"].architecture == {"first": "w16", "depth": 3}


def test_baselines_are_printed_and_written_with_the_ranking(rank: Any, tmp_path: Path) -> None:
    ranking = rank(costs=["macs"], inputs=[X])
    lines = str(ranking).splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("beside it"))
    assert lines[head].split() == ["beside", "it", "loss", "macs", "parameters"]
    assert [line.split("  ")[0] for line in lines[head + 1 : head + 5]] == [
        "best found", "mean of 6 random", "best of 6 random", "largest",
    ]  # fmt: skip
    tau_of = ranking.baselines.agreement["loss", "parameters"]
    assert f"Kendall tau of loss and parameters: {tau_of:.2f}" in lines

    with ranking.to_csv(tmp_path / "ranking.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["row"] for row in table[6:]] == [row.name for row in ranking.baselines.rows]
    assert [float(row["loss"]) for row in table[:6]] == [e.score for e in ranking]
    assert json.loads(table[0]["architecture"]) == dict(ranking.best)

    written = json.loads(ranking.to_json(tmp_path / "ranking.json").read_text())
    assert written["schema"] == "oneshot.ranking/1"
    scored = [e.architecture for e in ranking]
    assert written["baselines"] == ranking.baselines.to_dict(scored)
    assert {json.dumps(r["architecture"]) for r in written["baselines"]["random"]} == {
        json.dumps(dict(a)) for a in ranking.baselines.sample
    }
    assert [e["score"] for e in written["entries"]] == [e.score for e in ranking]


def test_an_agreement_that_cannot_be_told_is_said_so() -> None:
    rows = [Baseline("best found", {"loss": 1.0, "macs": 2.0})]
    sample = {Architecture({"a": n}): {"loss": 1.0, "macs": float(n)} for n in range(3)}
    compared = Baselines(rows, sample)
    assert math.isnan(compared.agreement["loss", "macs"])
    assert str(compared).endswith("loss and macs: none, for one has no two different numbers")


def test_numbers_that_are_missing_are_null_in_json(tmp_path: Path) -> None:
    entry = Ranked(Architecture({"a": "x"}), math.nan, {"m": math.inf})
    ranking = Ranking([entry], metric="m", mode="max")
    written = json.loads(ranking.to_json(tmp_path / "ranking.json").read_text())
    assert written["entries"][0] == {
        "architecture": {"a": "x"}, "score": None, "metrics": {"m": None}, "costs": {},
        "spreads": {},
    }  # fmt: skip
    assert written["baselines"] is None
