"""Scores with inherited weights are those of the frozen networks, and leave no trace."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor, nn
from torchmetrics import Accuracy

import oneshot_core as oneshot
from oneshot_core.errors import ArchitectureError, RankingError, UnknownComponentError
from oneshot_core.space import LayerChoice, Repeat
from oneshot_plugins.ranking import evaluation
from oneshot_plugins.ranking.evaluation import Ranked, Ranking


class Net(LightningModule):
    """BatchNorm inside and behind choices, so that statistics depend on the architecture."""

    def __init__(self) -> None:
        super().__init__()
        self.first = LayerChoice(
            {"linear": nn.Linear(6, 8), "normed": normed(6), "tanh": normed(6, nn.Tanh())},
            label="first",
        )
        self.norm = nn.BatchNorm1d(8)
        self.blocks = Repeat(lambda index: normed(8), (0, 2), label="depth")
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 3)
        self.acc = Accuracy(task="multiclass", num_classes=3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.blocks(self.norm(self.first(x)))))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.acc(logits, batch[1])
        self.log("val_acc", self.acc)
        self.log("val_loss", nn.functional.cross_entropy(logits, batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def normed(n: int, activation: nn.Module | None = None) -> nn.Module:
    return nn.Sequential(nn.Linear(n, 8), nn.BatchNorm1d(8), activation or nn.ReLU())


@pytest.fixture
def val(make_loader: Any) -> Any:
    return make_loader(40, seed=1, batch_size=8)


@pytest.fixture
def train(make_loader: Any) -> Any:
    return make_loader(60, batch_size=6)


@pytest.fixture
def trained(make_trainer: Any, train: Any, val: Any) -> Callable[..., Any]:
    """Return a search over ``Net`` after two epochs."""

    def make(model: LightningModule | None = None, strategy: Any = "random", **options: Any) -> Any:
        search = oneshot.search(model or Net(), strategy, **options)
        make_trainer().fit(search, train, val)
        return search

    return make


def by_hand(
    search: Any, architecture: Any, train: Any, val: Any, n: int = 16
) -> tuple[float, float]:
    """Return accuracy and loss of the frozen network with statistics of its own."""
    network = oneshot.freeze(search, architecture).eval()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for (x, _), _ in zip(train, range(n), strict=False):
            network(x)
        network.eval()
        x, y = (torch.cat(parts) for parts in zip(*val, strict=True))
        logits = network(x)
    return float((logits.argmax(1) == y).float().mean()), float(
        nn.functional.cross_entropy(logits, y)
    )


@pytest.mark.parametrize("strategy", ["random", "darts"])
def test_every_architecture_scores_as_its_frozen_network(
    strategy: str, trained: Any, train: Any, val: Any, make_loader: Any
) -> None:
    """Also for a strategy that superposes: while ranked, only the architecture is computed."""
    options = {"arch_dataloader": make_loader(8, seed=3)} if strategy == "darts" else {}
    search = trained(strategy=strategy, **options)

    ranking = search.rank("all", val, metric="val_acc", progress=False)

    assert len(ranking) == 9
    scores = [entry.score for entry in ranking]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > 1
    for entry in ranking:
        accuracy, loss = by_hand(search, entry.architecture, train, val)
        assert entry.score == entry.metrics["val_acc"] == pytest.approx(accuracy)
        assert entry.metrics["val_loss"] == pytest.approx(loss, rel=1e-4)


def test_calibration_asks_for_the_users_loss_and_not_for_the_strategys(
    trained: Any, train: Any, val: Any, make_loader: Any
) -> None:
    """What a strategy adds, such as costs, says nothing about BatchNorm, and may be refused."""

    def penalty(decisions: Any) -> Tensor:
        assert not any(decision.is_pinned for decision in decisions)
        return torch.zeros(())

    search = trained(strategy="darts", arch_dataloader=make_loader(8, seed=3), penalties=[penalty])
    accuracy, _ = by_hand(search, search.export(), train, val)
    assert search.evaluate(search.export(), val)["val_acc"] == pytest.approx(accuracy)


def test_calibration_takes_as_many_batches_as_it_says(trained: Any, train: Any, val: Any) -> None:
    search = trained()
    architecture = {"first": "normed", "depth": 2}

    metrics = search.evaluate(architecture, val, calibration_batches=3)

    _, loss = by_hand(search, architecture, train, val, n=3)
    assert metrics["val_loss"] == pytest.approx(loss, rel=1e-4)
    assert metrics["val_loss"] != pytest.approx(by_hand(search, architecture, train, val)[1])


def test_without_calibration_the_supernets_statistics_are_used(
    trained: Any, train: Any, val: Any
) -> None:
    search = trained()
    architecture = {"first": "tanh", "depth": 1}
    network = oneshot.freeze(search, architecture).eval()
    x, y = (torch.cat(parts) for parts in zip(*val, strict=True))
    loss = nn.functional.cross_entropy(network(x), y).item()

    metrics = search.evaluate(architecture, val, calibration_batches=0)

    assert metrics["val_loss"] == pytest.approx(loss)


def test_other_training_batches_can_be_given(trained: Any, make_loader: Any, val: Any) -> None:
    search, other = trained(), make_loader(30, seed=9, batch_size=5)
    architecture = {"first": "normed", "depth": 2}

    metrics = search.evaluate(architecture, val, train_dataloader=other)

    _, loss = by_hand(search, architecture, other, val)
    assert metrics["val_loss"] == pytest.approx(loss, rel=1e-4)


def state(search: Any) -> dict[str, Any]:
    return {
        "tensors": {k: v.clone() for k, v in search.state_dict().items()},
        "training": [module.training for module in search.modules()],
        "momenta": [m.momentum for m in search.modules() if isinstance(m, nn.BatchNorm1d)],
        "pinned": [decision.pinned for decision in search.decisions],
        "trainer": search._trainer,
        "users_trainer": search.model._trainer,
        "metric": (search.model.acc.update_count, search.model.acc.tp.clone()),
        "random": (torch.get_rng_state(), random.getstate(), str(np.random.get_state())),
    }


def assert_equal(a: Any, b: Any) -> None:
    if isinstance(a, Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, tuple) and a and isinstance(a[0], (Tensor, int)):
        for one, other in zip(a, b, strict=True):
            assert_equal(one, other)
    else:
        assert a == b


@pytest.mark.parametrize("training", [True, False])
def test_search_is_as_before_after_a_ranking(training: bool, trained: Any, val: Any) -> None:
    search = trained().train(training)
    before = state(search)

    with search.at({"first": "linear", "depth": 1}):
        search.rank(5, val, metric="val_acc", progress=False)
        search.evaluate({"first": "tanh", "depth": 0}, val)
        assert search.decisions["first"].pinned == "linear"

    assert_equal(before, state(search))


class Leaves(Net):
    """Its validation draws random numbers and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.outputs: list[int] = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("noise", float(torch.rand(())) + random.random() + np.random.rand())
        self.count += 1
        self.outputs.append(batch_idx)


def test_validation_that_leaves_traces_leaves_none_after_a_ranking(trained: Any, val: Any) -> None:
    """Its random numbers are a function of the search's seed."""
    search = trained(Leaves())
    count, outputs = search.model.count, list(search.model.outputs)

    first = search.rank("all", val, metric="noise", progress=False)
    torch.manual_seed(5)
    random.seed(5)
    before = state(search)
    second = search.rank("all", val, metric="noise", progress=False)

    assert list(first) == list(second)
    assert (count, outputs) == (search.model.count, search.model.outputs)
    assert_equal(before, state(search))


class Breaks(Net):
    breaks = False

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if self.breaks and batch_idx == 2:
            raise ZeroDivisionError
        super().validation_step(batch, batch_idx)


def test_search_is_as_before_after_a_failed_ranking(trained: Any, val: Any) -> None:
    search = trained(Breaks())
    before = state(search)
    search.model.breaks = True

    with pytest.raises(ZeroDivisionError):
        search.rank("all", val, metric="val_acc", progress=False)

    assert_equal(before, state(search))


def test_training_goes_on_after_a_ranking_as_without_it(
    trained: Any, make_trainer: Any, train: Any, val: Any
) -> None:
    def result(ranked: bool) -> dict[str, Tensor]:
        torch.manual_seed(0)
        search = trained()
        if ranked:
            search.rank(3, val, metric="val_acc", progress=False)
        make_trainer(max_epochs=1).fit(search, train, val)
        return search.state_dict()

    assert_equal(dict(result(ranked=False)), dict(result(ranked=True)))


def test_ranking_is_repeatable_and_kept(trained: Any, val: Any) -> None:
    search = trained()

    first = search.rank("all", val, metric="val_acc", progress=False)
    torch.rand(5)
    second = search.rank("all", val, metric="val_acc", progress=False)

    assert list(first) == list(second)
    assert search.ranking is second
    assert search.export() == second.best == second[0].architecture
    assert search.top_k(3) == [entry.architecture for entry in list(second)[:3]]


def test_number_asks_for_that_many_different_architectures(trained: Any, val: Any) -> None:
    search = trained()

    for n in (1, 4, 9):
        ranking = search.rank(n, val, metric="val_acc", progress=False)

        assert len({entry.architecture for entry in ranking}) == len(ranking) == n


def test_given_architectures_are_scored_in_any_iterable(trained: Any, val: Any) -> None:
    search = trained()
    chosen = [{"first": "linear", "depth": d} for d in range(3)]

    as_list = search.rank(chosen, val, metric="val_acc", progress=False)
    as_generator = search.rank((a for a in chosen), val, metric="val_acc", progress=False)
    single = search.rank(chosen[1], val, metric="val_acc", progress=False)
    again = search.rank(
        [oneshot.Architecture(a) for a in chosen], val, metric="val_acc", progress=False
    )

    assert list(as_list) == list(as_generator) == list(again)
    assert {entry.architecture for entry in as_list} == {oneshot.Architecture(a) for a in chosen}
    assert single.best == chosen[1]


def test_searcher_is_told_scores_and_scores_its_budget(trained: Any, val: Any) -> None:
    search = trained()

    ranking = search.rank(
        "evolution",
        val,
        metric="val_acc",
        budget=7,
        population_size=3,
        tournament_size=2,
        progress=False,
    )

    assert len({entry.architecture for entry in ranking}) == 7
    everything = search.rank("evolution", val, metric="val_acc", budget=50, progress=False)
    assert len(everything) == 9


def test_smallest_comes_first_where_smaller_is_better(trained: Any, val: Any) -> None:
    ranking = trained().rank("all", val, metric="val_loss", mode="min", progress=False)

    losses = [entry.metrics["val_loss"] for entry in ranking]
    assert losses == sorted(losses)
    assert ranking[0].score == min(losses)


def greedy(space: Any, *, budget: int, seed: int) -> Any:
    """A searcher that records what it is told."""
    for architecture in list(space.architectures())[:budget]:
        TOLD.append((yield architecture))


TOLD: list[float] = []


def test_searcher_is_told_that_larger_is_better_in_both_modes(trained: Any, val: Any) -> None:
    registry = oneshot.Registry()
    registry.register("searcher", "greedy", greedy)
    search = trained(registry=registry)
    for mode, sign in (("max", 1), ("min", -1)):
        TOLD.clear()

        ranking = search.rank("greedy", val, metric="val_loss", mode=mode, budget=4, progress=False)

        scores = {entry.architecture: entry.score for entry in ranking}
        order = [oneshot.Architecture(a) for a in list(search.space.architectures())[:4]]
        assert [sign * scores[a] for a in order] == TOLD


def test_metric_can_be_a_function_of_all_metrics(trained: Any, val: Any) -> None:
    def regret(metrics: Any) -> float:
        return metrics["val_loss"] - metrics["val_acc"]

    ranking = trained().rank("all", val, metric=regret, mode="min", progress=False)

    assert ranking.metric == "regret"
    best = ranking[0]
    assert best.score == pytest.approx(best.metrics["val_loss"] - best.metrics["val_acc"])


class Data(LightningDataModule):
    def __init__(self, train: Any, val: Any) -> None:
        super().__init__()
        self.loaders = train, val

    def train_dataloader(self) -> Any:
        return self.loaders[0]

    def val_dataloader(self) -> Any:
        return self.loaders[1]


def test_data_can_come_from_a_datamodule(
    train: Any, val: Any, make_trainer: Any, trained: Any
) -> None:
    data = Data(train, val)
    torch.manual_seed(0)
    search = oneshot.search(Net())
    make_trainer().fit(search, datamodule=data)

    ranking = search.rank("all", data, metric="val_acc", progress=False)

    assert list(ranking) == list(search.rank("all", val, metric="val_acc", progress=False))


def test_users_trainer_can_score(trained: Any, val: Any, make_trainer: Any) -> None:
    """Whatever its inference mode; its own loop and the search's trainer are put back."""
    search, trainer = trained(), make_trainer(limit_val_batches=2)
    loop, before = trainer.validate_loop, search._trainer

    ranking = search.rank("all", val, metric="val_acc", trainer=trainer, progress=False)

    assert trainer.validate_loop is loop
    assert search._trainer is before
    assert all(float(entry.score * 16).is_integer() for entry in ranking)  # 2 batches of 8
    make_trainer(max_epochs=1).fit(search, val, val)  # no inference tensors were left behind


def test_evaluation_returns_what_is_logged(trained: Any, val: Any) -> None:
    search = trained()
    architecture = {"first": "normed", "depth": 2}

    metrics = search.evaluate(architecture, val)

    assert metrics.keys() == {"val_acc", "val_loss"}
    ranked = search.rank([architecture], val, metric="val_acc", progress=False)
    assert metrics == ranked[0].metrics


def test_search_that_was_never_fitted_can_be_ranked_with_training_batches(
    train: Any, val: Any
) -> None:
    search = oneshot.search(Net())

    ranking = search.rank("all", val, metric="val_acc", train_dataloader=train, progress=False)

    assert ranking[0].score == pytest.approx(by_hand(search, ranking.best, train, val)[0])


# --- what is refused -----------------------------------------------------------------------------


def test_unknown_metric_is_refused_with_those_that_were_logged(trained: Any, val: Any) -> None:
    with pytest.raises(RankingError, match=r"'nothing' was not logged[\s\S]*\['val_acc', 'val_los"):
        trained().rank("all", val, metric="nothing", progress=False)


def test_unknown_mode_is_refused(trained: Any, val: Any) -> None:
    with pytest.raises(RankingError, match="mode='best'"):
        trained().rank("all", val, metric="val_acc", mode="best")


def test_space_too_large_to_score_all_is_refused(
    trained: Any, val: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "ALL_LIMIT", 8)

    with pytest.raises(RankingError, match="holds 9 architectures"):
        trained().rank("all", val, metric="val_acc")


@pytest.mark.parametrize("budget", [None, 0])
def test_searcher_without_a_budget_is_refused(budget: Any, trained: Any, val: Any) -> None:
    with pytest.raises(RankingError, match="'evolution' got budget="):
        trained().rank("evolution", val, metric="val_acc", budget=budget)


def test_unknown_searcher_is_refused(trained: Any, val: Any) -> None:
    with pytest.raises(UnknownComponentError, match="telepathy"):
        trained().rank("telepathy", val, metric="val_acc", budget=3)


@pytest.mark.parametrize("options", [{"budget": 3}, {"population_size": 3}])
def test_options_of_a_searcher_are_refused_without_one(
    options: Any, trained: Any, val: Any
) -> None:
    with pytest.raises(RankingError, match="options of a searcher"):
        trained().rank("all", val, metric="val_acc", **options)


@pytest.mark.parametrize("n", [0, -1, 10])
def test_impossible_number_of_architectures_is_refused(n: int, trained: Any, val: Any) -> None:
    with pytest.raises(RankingError, match="expected: 1 to 9"):
        trained().rank(n, val, metric="val_acc")


def test_nothing_to_rank_is_refused(trained: Any, val: Any) -> None:
    with pytest.raises(RankingError, match="no architecture to rank"):
        trained().rank([], val, metric="val_acc")


def test_architecture_of_another_space_is_refused_before_any_is_scored(
    trained: Any, val: Any
) -> None:
    search = trained()
    for wrong in ({"first": "cubic", "depth": 1}, {"depth": 1}, {"other": 1}):
        with pytest.raises(ArchitectureError):
            search.rank([{"first": "linear", "depth": 1}, wrong], val, metric="val_acc")
        with pytest.raises(ArchitectureError):
            search.evaluate(wrong, val)


def test_batchnorm_without_training_batches_is_refused(val: Any) -> None:
    with pytest.raises(RankingError, match="no training batches are known"):
        oneshot.search(Net()).rank("all", val, metric="val_acc", progress=False)


class WithoutNorm(Net):
    def __init__(self) -> None:
        super().__init__()
        self.first = LayerChoice([nn.Linear(6, 8), nn.Linear(6, 8)], label="first")
        self.norm = nn.BatchNorm1d(8, track_running_stats=False)
        self.blocks = nn.Identity()


def test_model_without_running_statistics_needs_no_training_batches(val: Any) -> None:
    search = oneshot.search(WithoutNorm())

    assert len(search.rank("all", val, metric="val_acc", progress=False)) == 2


class Silent(WithoutNorm):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass


def test_validation_that_logs_nothing_is_refused(val: Any) -> None:
    with pytest.raises(RankingError, match="Silent logged nothing"):
        oneshot.search(Silent()).rank("all", val, metric="val_acc", progress=False)


class NotANumber(WithoutNorm):
    always = True

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        bad = self.always or self.first.decision.pinned == "0"
        self.log("val_acc", math.nan if bad else 0.5)


def test_metric_that_is_always_nan_is_refused(val: Any) -> None:
    with pytest.raises(RankingError, match="'val_acc' is NaN for all 2"):
        oneshot.search(NotANumber()).rank("all", val, metric="val_acc", progress=False)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_architecture_whose_metric_is_nan_comes_last(mode: str, val: Any) -> None:
    model = NotANumber()
    model.always = False

    ranking = oneshot.search(model).rank("all", val, metric="val_acc", mode=mode, progress=False)

    assert [entry.architecture["first"] for entry in ranking] == ["1", "0"]
    assert math.isnan(ranking[1].score)


class Manual(Net):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


def test_manual_optimization_cannot_be_recalibrated(train: Any, val: Any) -> None:
    with pytest.raises(RankingError, match="optimizes manually"):
        oneshot.search(Manual()).rank(
            "all", val, metric="val_acc", train_dataloader=train, progress=False
        )


# --- the result ----------------------------------------------------------------------------------


def entry(score: float) -> Ranked:
    return Ranked(oneshot.Architecture({"a": str(score)}), score, {"m": score})


def test_of_equals_the_first_scored_comes_first() -> None:
    entries = [entry(1.0), Ranked(oneshot.Architecture({"a": "second"}), 1.0, {}), entry(2.0)]

    for mode, order in (("max", [2, 0, 1]), ("min", [0, 1, 2])):
        assert list(Ranking(entries, metric="m", mode=mode)) == [entries[i] for i in order]


def test_a_ranking_is_written_best_first_as_csv_and_as_json_without_nan(tmp_path: Path) -> None:
    low, none = entry(0.25), entry(math.nan)
    best = replace(entry(0.5), costs={"macs": 12.0})
    ranking = Ranking([low, none, best], metric="m", mode="max")
    data = json.loads(
        ranking.to_json(tmp_path / "ranking.json").read_text(), parse_constant=pytest.fail
    )
    assert (data["schema"], data["metric"], data["mode"]) == ("oneshot.ranking/1", "m", "max")
    assert [e["score"] for e in data["entries"]] == [0.5, 0.25, None]
    assert [e["costs"] for e in data["entries"]] == [{"macs": 12.0}, {}, {}]
    rows = list(csv.DictReader(ranking.to_csv(tmp_path / "r.csv").read_text().splitlines()))
    assert [row["m"] for row in rows] == ["0.5", "0.25", "nan"]
    assert [row["macs"] for row in rows] == ["12.0", "", ""]
    assert json.loads(rows[0]["architecture"]) == dict(best.architecture)


def test_ranking_is_printed_with_its_best() -> None:
    ranking = Ranking([entry(float(n)) for n in range(12)], metric="val_acc", mode="max")

    assert repr(ranking) == "<Ranking of 12 architectures by val_acc, best 11.0000>"
    lines = str(ranking).splitlines()
    assert lines[0] == "12 architectures by val_acc (max)"
    assert lines[1].split() == ["1", "11.0000", "a=11.0"]
    assert lines[-1].strip() == "... and 2 more"


# --- costs ---------------------------------------------------------------------------------------


def test_costs_of_all_ranked_networks_are_those_of_the_frozen_ones(
    trained: Any, val: Any, train: Any
) -> None:
    search = trained(seed=0)
    x = torch.zeros(1, 6)

    def weights(network: nn.Module, *inputs: Tensor) -> float:
        return float(sum(p.numel() for p in network.parameters()))

    ranking = search.rank(
        5, val, metric="val_loss", mode="min", progress=False, costs=["macs", weights], inputs=[x]
    )
    macs = oneshot.registry.load("cost", "macs")
    for ranked in ranking:
        frozen = oneshot.freeze(search, ranked.architecture)
        assert ranked.costs == {"macs": macs(frozen, x), "weights": weights(frozen)}
        assert ranked.costs["macs"] > 0
    assert len({ranked.costs["weights"] for ranked in ranking}) > 1
    assert f"  macs {ranking[0].costs['macs']:,.6g}  weights " in str(ranking)


def test_costs_change_nothing_else_of_a_ranking(trained: Any, val: Any) -> None:
    search = trained(seed=0)
    found = []
    for options in ({}, {"costs": ["parameters"], "inputs": []}):
        torch.manual_seed(0)
        ranking = search.rank(4, val, metric="val_loss", mode="min", progress=False, **options)
        found.append(([(r.architecture, r.score) for r in ranking], torch.rand(1).item()))
    assert found[0] == found[1]


def test_costs_without_inputs_or_of_unknown_name_are_refused_before_scoring(val: Any) -> None:
    search = oneshot.search(Net(), "random")
    with pytest.raises(RankingError, match="no inputs to measure them with"):
        search.rank("all", val, metric="val_loss", costs=["macs"])
    with pytest.raises(UnknownComponentError, match="beauty"):
        search.rank("all", val, metric="val_loss", costs=["beauty"], inputs=[])


def test_agreement_with_a_ground_truth_is_told_for_what_it_is_about() -> None:
    """Of the pairs among 0, 1, 2, 3 one is in the wrong order: (5 - 1) / 6."""
    entries = [entry(float(n)) for n in range(4)]
    ranking = Ranking([*entries, entry(math.nan)], metric="m", mode="max")
    true = dict(zip((e.architecture for e in entries), (0.1, 0.3, 0.2, 0.9), strict=True))

    assert ranking.kendall_tau(true) == pytest.approx(4 / 6)
    assert ranking.kendall_tau(lambda a: -true.get(a, 0.0)) == pytest.approx(-4 / 6)
    with pytest.raises(RankingError, match="about 1 of 5"):
        ranking.kendall_tau({entries[0].architecture: 1.0, oneshot.Architecture({"a": "?"}): 2.0})
