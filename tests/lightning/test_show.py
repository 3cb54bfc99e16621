"""Searches, rankings and fronts in notebooks, terminals and figures."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from rich.console import Console
from torch import nn

import oneshot_core as oneshot
from oneshot_core import Architecture, ParetoFront, Ranked, Ranking
from oneshot_core.errors import RankingError
from oneshot_plugins.ranking.baselines import Baseline, Baselines
from oneshot_plugins.ranking.front import Scored

ODD = "<script>alert(1)</script>"


class Net(pl.LightningModule):
    """One choice with an odd label and odd candidates, one of several, one interval."""

    def __init__(self) -> None:
        super().__init__()
        self.odd = oneshot.LayerChoice({ODD: nn.Identity(), "b": nn.Tanh()}, label=f"{ODD}l")
        self.pair = oneshot.InputChoice(3, n_chosen=2, label="pair")
        self.drop = oneshot.nn.Dropout(oneshot.uniform(0.0, 0.5, label="p"))
        self.many = oneshot.LayerChoice([nn.Identity() for _ in range(10)], label="many")

    def forward(self, x: Any) -> Any:
        return x


def ranking(n: int = 30, **costs: float) -> Ranking:
    entries = [Ranked(Architecture({ODD: i}), i / 100, {}, costs) for i in range(n)]
    return Ranking(entries, metric="val_acc", mode="max")


def html_of(shown: Any) -> str:
    """Return what a notebook gets, without styles."""
    return re.sub(r' style="[^"]*"', "", shown._repr_html_())


def test_a_search_shows_its_candidates_and_how_probable_they_are() -> None:
    page = html_of(oneshot.search(Net(), "random", seed=0))
    assert "UniformSampling over Net: 4 choices" in page
    assert ODD not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 0.50, b 0.50" in page
    assert "<td>2 of 0 0.67, 1 0.67, 2 0.67</td>" in page
    assert "<td>a number from 0.0 to 0.5</td>" in page
    assert "7 0.10, ... 2 more</td>" in page


def test_a_ranking_shows_its_best_with_scores_and_costs() -> None:
    page = html_of(ranking(macs=1234567.0))
    assert "<caption>30 architectures by val_acc</caption>" in page
    assert "<td>1</td><td>0.2900</td><td>1,234,567</td>" in page
    assert page.count("<tr>") == 21
    assert page.endswith("<p>... and 10 more</p>")
    assert ODD not in page
    console = Console(file=io.StringIO(), width=100)
    console.print(ranking(macs=5.0))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "val_acc (max)" in text
    assert f"{ODD}=29" in text


def test_an_empty_ranking_is_a_table_too() -> None:
    assert "0 architectures" in ranking(0)._repr_html_()


def test_an_architecture_shows_its_choices() -> None:
    page = html_of(Architecture({ODD: (ODD, "b"), "width": 4}))
    assert "<td>&lt;script&gt;alert(1)&lt;/script&gt;+b</td>" in page
    assert "<td>width</td><td>4</td>" in page
    assert ODD not in page


def test_a_front_prints_as_a_table() -> None:
    front = ParetoFront([Scored(Architecture({"a": ODD}), {"acc": 0.5}, {})], {"acc": "max"})
    console = Console(file=io.StringIO(), width=100)
    console.print(front)
    assert f"a={ODD}" in console.file.getvalue()  # type: ignore[attr-defined]


def test_baselines_stand_below_a_ranking_and_a_front() -> None:
    sample = {Architecture({"a": i}): {"acc": 0.1 * i, "size": float(i)} for i in range(3)}
    rows = [Baseline("largest", {"acc": 0.25, "size": float("nan")})]
    beside = Baselines(rows, sample)
    ranked = Ranking([], metric="acc", mode="max", baselines=beside)
    front = ParetoFront([], {"acc": "max"}, baselines=beside)
    for shown in (ranked, front):
        page = html_of(shown)
        assert "<td>largest</td><td>0.25</td><td>-</td>" in page
        assert "<td>acc and size</td><td>1</td>" in page
        console = Console(file=io.StringIO(), width=100)
        console.print(shown)
        assert "acc and size" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_figure_of_a_ranking_is_over_a_cost_or_over_places() -> None:
    entries = [
        Ranked(Architecture({"a": i}), score, {}, {"macs": macs, "size": 1.0})
        for i, (score, macs) in enumerate([(0.5, 10.0), (0.9, 30.0), (0.7, 20.0)])
    ]
    found = Ranking(entries, metric="val_acc", mode="max")
    figure = found.figure()
    assert isinstance(figure, Figure)
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("macs", "val_acc")
    every, best = axes.collections
    assert every.get_offsets().tolist() == [[30.0, 0.9], [20.0, 0.7], [10.0, 0.5]]
    assert best.get_offsets().tolist() == [[30.0, 0.9]]
    assert found.figure("size").axes[0].get_xlabel() == "size"
    plain = ranking(3).figure().axes[0]
    assert plain.get_xlabel() == "place"
    assert plain.collections[0].get_offsets()[:, 0].tolist() == [1, 2, 3]
    with pytest.raises(RankingError, match="'speed'"):
        found.figure("speed")


def test_the_figure_of_a_ranking_shows_what_is_beside_it() -> None:
    entries = [Ranked(Architecture({"a": i}), i / 10, {}, {"macs": 9.0 - i}) for i in range(3)]
    best, largest = entries[2].architecture, Architecture({"a": "large"})
    rows = [
        Baseline("best found", {"val_acc": 0.2, "macs": 7.0}, best),
        Baseline("mean of 2 random", {"val_acc": 0.15, "macs": 8.0}),
        Baseline("largest", {"val_acc": 0.05, "macs": 10.0}, largest),
    ]
    sample = {best: rows[0].values, Architecture({"a": "other"}): {"val_acc": 0.1, "macs": 5.0}}
    beside = Baselines(rows, sample)
    axes = Ranking(entries, metric="val_acc", mode="max", baselines=beside).figure().axes[0]
    points = [c.get_offsets().tolist() for c in axes.collections[2:]]
    assert points == [[[5.0, 0.1]], [[10.0, 0.05]]]  # what is neither ranked nor best found
    plain = [Ranked(e.architecture, e.score, {}) for e in entries]
    axes = Ranking(plain, metric="val_acc", mode="max", baselines=beside).figure().axes[0]
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert lines == {"mean of 2 random": [0.15, 0.15], "largest": [0.05, 0.05]}


def test_showing_a_search_draws_no_random_number() -> None:
    search = oneshot.search(Net(), "random", seed=0)
    before, ours = torch.get_rng_state(), search.decisions.rng.getstate()
    search._repr_html_()
    assert torch.equal(before, torch.get_rng_state())
    assert search.decisions.rng.getstate() == ours
