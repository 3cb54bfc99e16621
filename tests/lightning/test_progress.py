"""What Lightning's progress bars show during a search."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar, TQDMProgressBar
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import Architecture
from oneshot_plugins.run import progress
from oneshot_plugins.run.progress import BarMetrics, short, status


class Net(pl.LightningModule):
    """One choice; the user's own metric in the bar."""

    def __init__(self, candidates: int = 2) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {f"net{i}": nn.Linear(6, 3) for i in range(candidates)}
        self.body = nn.Sequential(oneshot.LayerChoice(layers, label="body"))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self.body(batch[0]), batch[1])
        self.log("loss_now", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def fit(make_loader: Any, make_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Train with a bar: ``fit(module, *callbacks)``."""
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr(progress, "SHARE", 0)

    def run(module: pl.LightningModule, *callbacks: Callback, **options: Any) -> Trainer:
        trainer: Trainer = make_trainer(
            enable_progress_bar=True, callbacks=list(callbacks), **options
        )
        trainer.fit(module, make_loader())
        return trainer

    return run


def darts(make_loader: Any, model: Any = None, **options: Any) -> Any:
    options = {"arch_dataloader": make_loader(8, seed=1), "seed": 0} | options
    return oneshot.search(model or Net(), "darts", arc_learning_rate=0.5, **options)


def test_the_bar_of_tqdm_shows_phase_entropy_and_best(
    make_loader: Any, fit: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(darts(make_loader, warmup_epochs=1), TQDMProgressBar())
    shown = capsys.readouterr().out
    assert re.search(r"loss_now=\S+, phase=warm-up, entropy=1\.000, best=net0", shown)
    last = shown.strip().splitlines()[-1]
    found = re.search(r"phase=search, entropy=(0\.\d+), best=net\d", last)
    assert found
    assert float(found[1]) < 1


def test_the_bar_of_rich_shows_them_too(make_loader: Any, fit: Any) -> None:
    file = io.StringIO()
    terminal = {"file": file, "width": 200, "force_terminal": True}
    fit(darts(make_loader), RichProgressBar(console_kwargs=terminal))
    assert re.search(r"phase: search\s+entropy: 0\.\d+\s+best: net\d", file.getvalue())


def test_a_strategy_that_prefers_nothing_shows_its_phase_alone(fit: Any, capsys: Any) -> None:
    fit(oneshot.search(Net(), "random", seed=0), TQDMProgressBar())
    shown = capsys.readouterr().out
    assert "phase=supernet" in shown
    assert "entropy" not in shown
    assert "best" not in shown


def test_shrinking_says_how_much_is_open(make_loader: Any, fit: Any, capsys: Any) -> None:
    fit(oneshot.search(Net(2), "shrinking", seed=0), TQDMProgressBar())
    shown = capsys.readouterr().out
    assert shown.index("phase=open 1/2") < shown.index("phase=open 2/2")


@pytest.mark.parametrize("wrapped", [False, True])
def test_without_anything_to_choose_the_bar_is_that_of_the_bare_module(
    wrapped: bool, make_loader: Any, fit: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    class Look(Callback):
        def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
            assert "get_metrics" not in vars(trainer.progress_bar_callback)

    model = Net(1)
    fit(darts(make_loader, model) if wrapped else model, TQDMProgressBar(), Look())
    shown = capsys.readouterr().out
    assert "loss_now" in shown
    assert "phase" not in shown


class Bar(TQDMProgressBar):
    """A user's own bar."""

    def get_metrics(self, trainer: Trainer, pl_module: Any) -> Any:
        return {**super().get_metrics(trainer, pl_module), "phase": "mine"}


def test_what_the_users_bar_shows_stays(make_loader: Any, fit: Any, capsys: Any) -> None:
    trainer = fit(darts(make_loader), Bar())
    shown = capsys.readouterr().out
    assert "phase=mine" in shown
    assert "phase=search" not in shown
    assert "entropy=" in shown
    assert "get_metrics" not in vars(trainer.progress_bar_callback)


def test_nothing_is_logged_for_the_bar(make_loader: Any, fit: Any) -> None:
    trainer = fit(darts(make_loader), TQDMProgressBar())
    assert set(trainer.progress_bar_metrics) == set(trainer.callback_metrics) == {"loss_now"}


def test_a_failed_fit_leaves_nothing_that_another_fit_would_show(
    make_loader: Any, fit: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    class Fail(Callback):
        def on_train_start(self, *args: Any) -> None:
            raise RuntimeError("stop")

    bar = TQDMProgressBar()
    with pytest.raises(RuntimeError, match="stop"):
        fit(darts(make_loader), bar, Fail())
    assert isinstance(vars(bar)["get_metrics"], BarMetrics)
    fit(Net(1), bar)
    assert "phase" not in capsys.readouterr().out
    search = darts(make_loader)
    trainer = fit(search, bar)
    assert "get_metrics" not in vars(bar)
    assert "phase" not in bar.get_metrics(trainer, search)


def test_the_search_is_looked_at_once_a_second(make_loader: Any) -> None:
    search, looks = darts(make_loader), []
    export = search.export
    object.__setattr__(search, "export", lambda: looks.append(1) or export())

    class Plain(ProgressBar):
        def get_metrics(self, trainer: Any, pl_module: Any) -> Any:
            return {}

    metrics: Any = BarMetrics(Plain(), search)
    object.__setattr__(search, "_trainer", pl.Trainer(logger=False, accelerator="cpu"))
    for _ in range(50):
        assert metrics(None, search)["best"] == "net0"
    assert len(looks) == 1


def test_intervals_have_no_entropy() -> None:
    class Drops(Net):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(oneshot.nn.Dropout(oneshot.uniform(0.0, 0.5, label="p")))

    search = oneshot.search(Drops(), "random", seed=0)
    assert status(search) == {"phase": "supernet"}


def test_long_architectures_are_cut() -> None:
    found = short(Architecture({str(i): (f"op{i}", "b") for i in range(20)}))
    assert found == "op0+b op1+b op2+b op3+b op4+b..."
    assert short(Architecture({"a": 3, "b": None})) == "3 None"


def test_a_strategy_whose_export_fails_is_trained_all_the_same(
    make_loader: Any, fit: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    search = darts(make_loader)
    object.__setattr__(search, "export", lambda: 1 / 0)
    trainer = fit(search, TQDMProgressBar())
    assert trainer.current_epoch == 2
    assert "phase=search" in capsys.readouterr().out
