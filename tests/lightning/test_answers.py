"""Answers that mean nothing are refused, or say so: exports, rankings and fronts."""

from __future__ import annotations

import copy
import json
import logging
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import Architecture
from oneshot_core.architecture import Lead
from oneshot_core.errors import ArchitectureError, StrategyError
from oneshot_core.lightning.module import BaseOneShotLightningModule
from oneshot_plugins.ranking.baselines import Baseline, Baselines
from oneshot_plugins.ranking.evaluation import Ranked, Ranking
from oneshot_plugins.ranking.front import ParetoFront, Scored

LOGGER = "oneshot_core.lightning.module"


class Net(LightningModule):
    """A choice of a layer, and of two of three inputs."""

    def __init__(self, prior: Any = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = {"thin": nn.Linear(6, 6, bias=False), "full": nn.Linear(6, 6), "no": nn.Identity()}
        self.layer = oneshot.LayerChoice(layers, label="layer", prior=prior)
        self.pair = oneshot.InputChoice(3, n_chosen=2, label="pair")
        self.head = nn.Linear(6, 3)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x = self.layer(batch[0])
        return nn.functional.cross_entropy(self.head(self.pair([x, x**2, x.tanh()])), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def search_of(make_loader: Any, strategy: str = "darts", **options: Any) -> Any:
    if strategy != "random":
        options["arch_dataloader"] = make_loader(24)
    return oneshot.search(Net(), strategy, seed=0, **options)


@pytest.mark.parametrize("strategy", ["darts", "gdas", "proxyless", "drnas", "enas"])
def test_a_strategy_that_has_learned_nothing_exports_nothing(
    strategy: str, make_loader: Any, make_trainer: Any
) -> None:
    search = search_of(make_loader, strategy)
    for ask in (search.export, lambda: search.top_k(2), copy.deepcopy(search).export):
        with pytest.raises(StrategyError, match=r"prefers no architecture(.|\n)*expected: a fit"):
            ask()
    make_trainer(max_epochs=1).fit(search, make_loader(24), make_loader(8))
    assert search.export() == search.top_k(1)[0]
    assert copy.deepcopy(search).export() == search.export()
    assert pickle.loads(pickle.dumps(search)).export() == search.export()


def test_a_warm_up_teaches_nothing_which_is_said(
    make_loader: Any, make_trainer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not raised: a callback that asks for the architecture must not end a training."""
    search = search_of(make_loader, warmup_epochs=1)
    make_trainer(max_epochs=1).fit(search, make_loader(24), make_loader(8))
    assert "2 of 2 choices are hardly ahead" in search.export().undecided
    assert "2 of 2 choices are hardly ahead" in caplog.text


def test_what_a_checkpoint_brings_counts_as_learned(
    make_loader: Any, make_trainer: Any, tmp_path: Path
) -> None:
    search = search_of(make_loader)
    trainer = make_trainer(max_epochs=1)
    trainer.fit(search, make_loader(24), make_loader(8))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    loaded = type(search).load_from_checkpoint(
        tmp_path / "last.ckpt", model=Net(), arch_dataloader=make_loader(24)
    )
    assert loaded.export() == search.export()
    assert loaded.trained


def test_a_prior_is_an_opinion_that_can_be_exported(make_loader: Any) -> None:
    model = Net(prior=[0.1, 0.8, 0.1])
    search = oneshot.search(model, "darts", arch_dataloader=make_loader(24), seed=0)
    assert search.export()["layer"] == "full"


def set_logits(search: Any, **logits: list[float]) -> None:
    with torch.no_grad():
        for label, values in logits.items():
            search.decisions[label].alpha.copy_(torch.tensor(values))


def test_an_export_carries_how_far_each_choice_is_ahead(make_loader: Any) -> None:
    search = search_of(make_loader)
    set_logits(search, layer=[2.0, 0.5, -1.0], pair=[0.0, 1.0, 0.4])
    first, second = torch.tensor([2.0, 0.5, -1.0]).softmax(0).tolist()[:2]
    pair = (2 * torch.tensor([0.0, 1.0, 0.4]).softmax(0)).tolist()
    found = search.export()
    assert found.margins == pytest.approx({"layer": first - second, "pair": pair[2] - pair[0]})
    assert found.undecided == ""


@pytest.mark.parametrize(
    ("logits", "says"),
    [
        ([0.02, 0.0, 0.0], "layer=thin (0.338, the next 0.331)"),
        ([0.0, 3.0, 2.92], "layer=full (0.5"),
        ([0.0, 0.0, 0.0], "layer=thin (0.333, the next 0.333)"),
    ],
)
def test_what_is_hardly_ahead_is_said_when_it_is_exported(
    logits: list[float], says: str, make_loader: Any, caplog: pytest.LogCaptureFixture
) -> None:
    search = search_of(make_loader)
    set_logits(search, layer=logits, pair=[0.0, 4.0, 4.0])
    with caplog.at_level(logging.WARNING, LOGGER):
        found = search.export()
    assert "Darts exports what it hardly prefers: 1 of 2 choices is hardly ahead" in caplog.text
    assert says in caplog.text
    assert says in found.undecided


def test_what_is_well_ahead_is_exported_without_a_word(
    make_loader: Any, caplog: pytest.LogCaptureFixture
) -> None:
    search = search_of(make_loader)
    set_logits(search, layer=[0.0, 0.2, 0.0], pair=[0.0, 4.0, 4.0])
    search.export()
    assert caplog.text == ""


def test_callbacks_that_export_during_a_fit_log_nothing(
    make_loader: Any, make_trainer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Asks(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            assert pl_module.export().undecided

    search = search_of(make_loader)
    make_trainer(max_epochs=1, callbacks=[Asks()]).fit(search, make_loader(24), make_loader(8))
    assert "hardly" not in caplog.text
    search.export()
    assert "hardly" in caplog.text


def test_margins_are_saved_with_the_architecture_and_do_not_make_it_another(tmp_path: Path) -> None:
    found = Architecture({"a": "x", "b": 2}, leads={"a": Lead(0.6, 0.4), "b": Lead(math.nan, 0.5)})
    again = Architecture.load(found.save(tmp_path / "a.json"))
    json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert again == found == Architecture({"a": "x", "b": 2})
    assert again.margins is not None
    assert again.margins["a"] == pytest.approx(0.2)
    assert math.isnan(again.margins["b"])
    assert pickle.loads(pickle.dumps(found)).margins["a"] == pytest.approx(0.2)
    assert Architecture({"a": "x"}).margins is None
    assert "b=2 (nan" in found.undecided


@pytest.mark.parametrize("leads", [{}, {"a": [0.5]}, {"a": "xy"}, {"a": [[], 1]}, [1], 3])
def test_damaged_margins_are_told_with_the_file(leads: Any, tmp_path: Path) -> None:
    data = {"schema": "oneshot.architecture/1", "choices": {"a": "x"}, "leads": leads}
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(ArchitectureError, match=r"a\.json' cannot be read(.|\n)*leads"):
        Architecture.load(tmp_path / "a.json")


def test_a_constraint_against_what_a_label_prefers_is_a_negative_margin() -> None:
    one, two = oneshot.choice([4, 8], label="one"), oneshot.choice([4, 8], label="two")

    class Tied(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(oneshot.nn.Linear(6, one), oneshot.nn.Linear(one, two))
            oneshot.constrain(self, two > one)

    search = oneshot.search(Tied(), "darts", arch_dataloader=[0], seed=0)
    set_logits(search, one=[0.0, 1.0], two=[0.0, 3.0])
    found = search.export()
    assert found == {"one": 4, "two": 8}
    assert found.margins is not None
    assert found.margins["one"] == pytest.approx(-math.tanh(0.5))
    assert "one=4" in found.undecided


class Plain(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)


def test_a_model_without_choices_has_no_answer(
    make_loader: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(BaseOneShotLightningModule, "needs_choices", True)
    search = oneshot.search(Plain(), "darts", arch_dataloader=make_loader(8), seed=0)
    assert "there is no choice in Plain" in caplog.text
    asked: Any = {
        "export": search.export,
        "top_k": lambda: search.top_k(1),
        "rank": lambda: search.rank("all", make_loader(8), metric="val_loss", progress=False),
        "pareto": lambda: search.pareto({"val_loss": "min"}, make_loader(8), budget=1),
    }
    for ask in asked.values():
        with pytest.raises(StrategyError, match="there is no choice in Plain"):
            ask()
    search.needs_choices = False
    assert search.export() == {}


def test_choices_that_come_with_setup_are_not_missed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Later(Plain):
        def setup(self, stage: str) -> None:
            self.layer = oneshot.LayerChoice([nn.ReLU(), nn.Tanh()], label="layer")

    monkeypatch.setattr(BaseOneShotLightningModule, "needs_choices", True)
    oneshot.search(Later(), seed=0)
    assert caplog.text == ""


def test_a_ranking_of_an_untrained_supernet_says_so(
    make_loader: Any, make_trainer: Any, tmp_path: Path
) -> None:
    search = search_of(make_loader, "random")
    options: Any = {"metric": "val_loss", "mode": "min", "progress": False}
    ranking = search.rank("all", make_loader(8), **options)
    front = search.pareto({"val_loss": "min"}, make_loader(8), budget=2, progress=False)
    for result in (ranking, front):
        assert not result.trained
        assert "the supernet is untrained" in str(result)
        assert "the supernet is untrained" in result._repr_html_()
        assert json.loads(result.to_json(tmp_path / "r.json").read_text())["trained"] is False
    make_trainer(max_epochs=1).fit(search, make_loader(24), make_loader(8))
    again = search.rank("all", make_loader(8), **options)
    assert again.trained
    assert "untrained" not in str(again)


def test_weights_from_anywhere_count_as_trained(make_loader: Any) -> None:
    loaded, by_hand, copied = (search_of(make_loader, "random") for _ in range(3))
    assert not loaded.trained
    other = {name: tensor + 1 for name, tensor in loaded.state_dict().items()}
    loaded.load_state_dict(other)
    by_hand.model.load_state_dict(other)
    assert loaded.trained
    assert by_hand.trained
    assert copy.deepcopy(loaded).trained
    assert not copy.deepcopy(copied).trained


def ranking_of(mode: str, found: float, random: float, largest: float) -> Ranking:
    names = {"found": found, "random": random, "largest": largest}
    architectures = {name: Architecture({"a": name}) for name in names}
    rows = [
        Baseline("best found", {"m": found}, architectures["found"]),
        Baseline("mean of 1 random", {"m": 9.0}),
        Baseline("best of 1 random", {"m": random}, architectures["random"]),
        Baseline("largest", {"m": largest}, architectures["largest"]),
    ]
    baselines = Baselines(rows, {architectures["random"]: {"m": random}})
    entries = [Ranked(architectures["found"], found, {})]
    return Ranking(entries, metric="m", mode=mode, baselines=baselines)


@pytest.mark.parametrize(
    ("mode", "numbers", "better", "says"),
    [
        ("max", (0.5, 0.6, 0.55), 2, "a random one was better: ranking.baselines.rows[2]"),
        ("min", (0.5, 0.6, 0.4), 3, "the largest was better: ranking.baselines.rows[3]"),
        ("max", (0.6, 0.6, 0.5), None, ""),
        ("min", (0.6, math.nan, 0.7), None, ""),
        ("max", (math.nan, 0.1, 0.2), None, ""),
    ],
)
def test_a_baseline_that_is_better_is_said_and_can_be_reached(
    mode: str, numbers: tuple[float, float, float], better: int | None, says: str, tmp_path: Path
) -> None:
    ranking = ranking_of(mode, *numbers)
    assert says in str(ranking)
    assert ("was better" in str(ranking)) == (better is not None)
    assert ranking.baselines is not None
    expected = None if better is None else ranking.baselines.rows[better]
    assert ranking.better is expected
    assert json.loads(ranking.to_json(tmp_path / "r.json").read_text())["better"] == better
    assert Architecture.load(tmp_path / "r.json") == ranking.best
    assert (says in ranking._repr_html_()) or not says


def test_what_belongs_on_a_front_and_is_beside_it_is_said_and_can_be_reached() -> None:
    def values(m: float, size: float) -> dict[str, float]:
        return {"m": m, "size": size}

    made = {n: Architecture({"a": n}) for n in range(7)}
    scored = [Scored(made[0], values(0.5, 10.0), {}), Scored(made[1], values(0.7, 20.0), {})]
    sample = {
        made[0]: values(0.5, 10.0),  # on the front itself
        made[2]: values(0.8, 20.0),  # dominates
        made[3]: values(0.4, 10.0),  # is dominated
        made[4]: values(0.9, 99.0),  # breaks the constraint
        made[5]: values(math.nan, 1.0),
    }
    rows = [
        Baseline("each best found", values(0.7, 10.0)),
        Baseline("largest", values(0.85, 30.0), made[6]),  # another trade-off
    ]
    front = ParetoFront(
        scored, {"m": "max", "size": "min"}, {"size": (None, 50.0)}, Baselines(rows, sample)
    )
    assert [row.architecture for row in front.better] == [made[2], made[6]]
    assert "2 of what was scored beside it belong on it: front.better" in str(front)
    front.baselines = None
    assert front.better == []
    assert "front.better" not in str(front)
