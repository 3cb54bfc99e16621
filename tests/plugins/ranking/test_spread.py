"""Numbers with a spread, and for how many examples they are, in rankings and fronts."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core import Architecture
from oneshot_plugins.costs.measured import (
    Measured,
    batch_of,
    in_order,
    in_turns,
    per_batch,
    spread_of,
)
from oneshot_plugins.ranking.front import ParetoFront, Scored, non_dominated

DATA = DataLoader(TensorDataset(torch.zeros(4, 6)), 2)


class Net(pl.LightningModule):
    """Six networks of different widths; the wider, the better the score."""

    def __init__(self, examples: int = 1) -> None:
        super().__init__()
        self.example_input_array = torch.zeros(examples, 6)
        width = oneshot.choice([1, 2, 3, 4, 5, 6], label="w")
        self.a, self.b = oneshot.nn.Linear(6, width), oneshot.nn.Linear(width, 1)
        nn.init.ones_(self.b.weight)
        nn.init.zeros_(self.b.bias)
        nn.init.zeros_(self.a.weight)
        nn.init.ones_(self.a.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.a(x))
        return out

    def training_step(self, batch: list[Tensor]) -> Tensor:
        return self(batch[0]).sum()

    def validation_step(self, batch: list[Tensor]) -> None:
        self.log("score", self(batch[0]).mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def search(examples: int = 1) -> oneshot.BaseOneShotLightningModule:
    return oneshot.search(Net(examples), "random", seed=0)


class Clock:
    """A machine that gets slower by a third with each sixth reading; reads 100 at first."""

    readings = 5

    def __init__(self) -> None:
        self.widths: list[int] = []

    def __call__(self, network: nn.Module, *inputs: Any) -> float:
        self.widths.append(network.a.out_features)
        return 100.0 + 30 * (len(self.widths) // 6)


@pytest.fixture
def clock() -> Iterator[Clock]:
    cost = Clock()
    oneshot.registry.register("cost", "others.clock", cost)
    yield cost
    oneshot.registry.unregister("cost", "others.clock")


def test_a_number_with_a_spread_is_a_float_that_keeps_it() -> None:
    number = Measured(5.0, 0.5, 3)
    assert number == 5.0
    assert isinstance(number, float)
    for copied in (copy.deepcopy(number), pickle.loads(pickle.dumps(number))):
        assert (copied, copied.spread, copied.readings) == (5.0, 0.5, 3)
    assert json.dumps(number) == "5.0"
    of = Measured.of([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (of, of.spread, of.readings) == (3.0, 2.0, 5)
    assert Measured.of([Measured(1.0, 9.0), Measured(1.0, 9.0)]).spread == 9.0


def test_equal_numbers_are_ordered_by_what_follows_and_nan_comes_last() -> None:
    near = [
        (Measured(10.0, 2.0), 1.0),
        (Measured(11.0, 2.0), 0.0),
        (20.0, 0.0),
        (float("nan"), 9.0),
    ]
    assert in_order(near) == [2, 0, 1, 3]
    assert in_order([(float(a), b) for a, b in near]) == [2, 1, 0, 3]


def test_within_its_spread_a_number_dominates_nothing() -> None:
    far = [(0.9, -100.0), (0.8, -90.0), (0.7, -50.0)]
    assert non_dominated(far) == [0, 1, 2]
    near = [(score, Measured(cost, 15.0)) for score, cost in far]
    assert non_dominated(near) == [0, 2]  # the second is no cheaper than the first, and worse
    same = [(0.9, Measured(-100.0, 15.0)), (0.9, Measured(-90.0, 15.0))]
    assert non_dominated(same) == [0, 1]


def test_a_front_is_never_empty_even_where_equality_goes_round_in_a_circle() -> None:
    s = 1.0
    points = [
        tuple(Measured(v, s) for v in values)
        for values in ((0.0, 1.8, 0.9), (0.9, 0.0, 1.8), (1.8, 0.9, 0.0))
    ]
    assert non_dominated(points)


def test_the_best_within_limits_is_told_by_the_further_objective_where_the_first_is_equal() -> None:
    scored = [
        Scored(Architecture({"w": w}), {"us": Measured(us, 10.0), "score": score}, {})
        for w, us, score in ((1, 100.0, 0.5), (2, 105.0, 0.9), (3, 300.0, 0.95))
    ]
    front = ParetoFront(scored, {"us": "min", "score": "max"})
    assert front.best() == {"w": 2}
    assert [e.architecture["w"] for e in front] == [2, 3]


def test_readings_are_taken_in_turns_so_that_a_slow_machine_harms_all_alike() -> None:
    made: list[int] = []
    readings: list[int] = []

    def read(network: int) -> float:
        readings.append(network)
        return float(len(readings))

    read.readings = 3  # type: ignore[attr-defined]

    def once(network: int) -> int:
        return 10 * network

    networks = [lambda i=i: made.append(i) or i for i in range(3)]  # type: ignore[misc]
    found = in_turns(networks, {"read": read, "once": once})
    assert readings == made == [0, 1, 2, 2, 1, 0, 0, 1, 2]
    assert [values["once"] for values in found] == [0.0, 10.0, 20.0]
    assert [values["read"] for values in found] == [6.0, 5.0, 4.0]
    assert spread_of(found[0]["read"]) == 3.0
    assert spread_of(found[0]["once"]) == 0.0


def test_a_ranking_keeps_the_spread_of_what_it_measured(clock: Clock, tmp_path: Path) -> None:
    ranking = search().rank("all", DATA, metric="score", costs=["others.clock", "macs"])
    assert clock.widths[:6] == clock.widths[6:12][::-1]
    assert len(clock.widths) == 6 * clock.readings
    assert all(spread_of(entry.costs["others.clock"]) > 30 for entry in ranking)
    values = [float(entry.costs["others.clock"]) for entry in ranking]
    assert max(values) - min(values) <= 30  # read one after the other: 100 to 220
    entries = json.loads(ranking.to_json(tmp_path / "r.json").read_text())["entries"]
    assert all(e["spreads"] == {"others.clock": pytest.approx(60.0, abs=30)} for e in entries)
    head, first, *_ = ranking.to_csv(tmp_path / "r.csv").read_text().splitlines()
    assert "others.clock spread" in head
    assert "+-" not in first
    assert " +- " in str(ranking)
    assert " +- " in ranking._repr_html_()


def test_a_slow_machine_does_not_collapse_a_front(clock: Clock) -> None:
    """What is read while architectures are scored would make the last ones worse in both."""
    front = search().pareto({"score": "max", "others.clock": "min"}, DATA, budget=6, progress=False)
    assert all(spread_of(entry.values["others.clock"]) > 0 for entry in front.scored)
    assert [entry.architecture["w"] for entry in front] == [6]  # all are as fast: the best is left
    assert len(clock.widths) == 1 + 6 + 6 * clock.readings


def test_processes_with_one_journal_have_the_same_readings(clock: Clock, tmp_path: Path) -> None:
    def found() -> list[tuple[Architecture, float, float]]:
        front = search().pareto(
            {"score": "max", "others.clock": "min"}, DATA, budget=6, progress=False,
            journal=tmp_path / "j.jsonl",
        )  # fmt: skip
        values = [(e.architecture, e.values["others.clock"]) for e in front.scored]
        return [(a, float(v), spread_of(v)) for a, v in values]

    first = found()
    read = len(clock.widths)
    assert found() == first
    assert len(clock.widths) == read + 1  # that it can be read is tried once


def test_a_damaged_reading_in_a_journal_is_refused(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"

    def run() -> None:
        search().pareto(
            {"score": "max", "others.clock": "min"}, DATA, budget=6, progress=False, journal=path
        )

    run()
    with path.open("a") as file:
        file.write('{"read_again": [["w", 1]], "values": {"others.clock": "fast"}}\n')
    with pytest.raises(oneshot.errors.RankingError, match="is damaged"):
        run()


@pytest.mark.parametrize(("examples", "about"), [(1, "per example"), (8, "for a batch of 8")])
def test_costs_say_for_how_many_examples_they_are(
    examples: int, about: str, tmp_path: Path
) -> None:
    ranking = search(examples).rank("all", DATA, metric="score", costs=["macs", "parameters"])
    assert ranking[0].costs["macs"] == examples * 42
    assert f"; macs {about}\n" in str(ranking)
    assert f"macs {about}" in ranking._repr_html_()
    assert json.loads(ranking.to_json(tmp_path / "r.json").read_text())["per"] == {"macs": about}
    assert ranking.figure("macs").axes[0].get_xlabel() == f"macs, {about}"
    assert ranking.figure("parameters").axes[0].get_xlabel() == "parameters"
    front = search(examples).pareto({"score": "max", "macs": "min"}, DATA, budget=6, progress=False)
    assert f"; macs {about}" in str(front)
    assert front.figure().axes[0].get_xlabel() == f"macs, {about}"
    assert json.loads(front.to_json(tmp_path / "f.json").read_text())["per"] == {"macs": about}
    report = oneshot.inspect(Net(examples), strategies=["random"])
    assert report.batch == examples
    sizes, memory = (
        next(line for line in str(report).splitlines() if line.startswith(start))
        for start in ("Size", "activations, default")
    )
    assert f", {about})" in sizes
    assert f", {about}" in memory
    assert report.sizes.largest.costs["macs"] == examples * 42


def test_the_batch_is_the_first_size_of_the_first_tensor() -> None:
    assert batch_of([torch.tensor(3.0), {"x": torch.zeros(4, 2)}, torch.zeros(9)]) == 4
    assert batch_of(["text", 5]) is None
    assert [per_batch(n) for n in (None, 1, 8)] == ["", "per example", "for a batch of 8"]


def test_latency_comes_with_its_spread() -> None:
    latency = oneshot.registry.load("cost", "latency")
    found = latency(nn.Linear(4, 4), torch.zeros(1, 4), min_run_time=0.01)
    assert isinstance(found, Measured)
    assert found.spread >= 0
    assert latency.readings > 1
