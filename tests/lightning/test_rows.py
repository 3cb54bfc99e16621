"""The row that Lightning logs after a checkpoint is not lost with the process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.loops.fit_loop import _FitLoop
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import LayerChoice, LogCheckpointRow

pytestmark = [
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
]

inside_epochs = pytest.mark.skipif(
    not hasattr(_FitLoop, "restarted_mid_epoch"),
    reason="this Lightning does not resume inside an epoch as if it had not stopped",
)

Row = tuple[int | None, tuple[tuple[str, float], ...]]


class Net(LightningModule):
    """Logs each batch's loss, and their mean at the end of an epoch."""

    own_step = False

    def __init__(self) -> None:
        super().__init__()
        self.layer = LayerChoice([nn.Linear(6, 3), nn.Linear(6, 3, bias=False)], label="layer")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
        self.log("loss", loss, on_step=True, on_epoch=True)
        if self.own_step:
            self.log("step", float(100 * self.trainer.global_step))
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Batches:
    """Five batches that a checkpoint knows the place in."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches, self.place = list(batches), 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for index in range(self.place, len(self)):
            self.place = (index + 1) % len(self)
            yield self.batches[index]

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = state["place"]


class Killed(Exception):
    """Stands for the end of the process."""


class Rows(Logger):
    """Keeps rows; with ``dies_at`` the process ends before row number ``dies_at`` is there."""

    name = "rows"
    version = 0

    def __init__(self, dies_at: int | None = None) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.dies_at = dies_at

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if len(self.rows) == self.dies_at:
            raise Killed
        self.rows.append((step, tuple(sorted(metrics.items()))))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the model has none."""


@pytest.fixture
def fit(make_loader: Any, make_trainer: Any, tmp_path: Path) -> Any:
    """Train for two epochs of five batches, from the last checkpoint if there is one."""

    def run(
        folder: str,
        *,
        every: int | None,
        keep: bool = True,
        dies_at: int | None = None,
        own_step: bool = False,
        **options: Any,
    ) -> list[Row]:
        torch.manual_seed(0)
        model = Net()
        model.own_step = own_step
        rows = Rows(dies_at)
        keeper = ModelCheckpoint(tmp_path / folder, save_last=True, every_n_train_steps=every)
        last = tmp_path / folder / "last.ckpt"
        trainer = make_trainer(
            max_epochs=2,
            logger=rows,
            callbacks=[keeper, *([LogCheckpointRow()] if keep else [])],
            enable_checkpointing=True,
            **{"log_every_n_steps": 1, **options},
        )
        train = Batches(make_loader(20))
        search = oneshot.search(model, seed=1)
        try:
            trainer.fit(search, train, ckpt_path=last if last.exists() else None)
        except Killed:
            assert dies_at is not None
        return rows.rows

    return run


def of_batches(rows: list[Row]) -> set[Row]:
    """Return the rows of batches: a mean over an epoch does not survive a resume inside it."""
    return {row for row in rows if "loss_step" in dict(row[1])}


# Rows are five batches, an epoch, five batches, an epoch; each case dies after a checkpoint.
@pytest.mark.parametrize(
    ("every", "dies_at", "those"),
    [(None, 5, set), pytest.param(4, 3, of_batches, marks=inside_epochs)],
)
@pytest.mark.parametrize("keep", [True, False])
def test_a_row_that_was_lost_after_its_checkpoint_is_logged_by_the_resumed_training(
    every: int | None, dies_at: int, those: Any, keep: bool, fit: Any
) -> None:
    """And is missing without the callback: the control."""
    whole = fit("whole", every=every)
    assert len(whole) == 12
    before = fit("killed", every=every, keep=keep, dies_at=dies_at)
    after = fit("killed", every=every, keep=keep)

    assert len(before) == dies_at
    lost = those(whole) - those(before) - those(after)
    assert not those(after) - those(whole)
    assert lost == (set() if keep else {whole[dies_at]})


def test_a_row_that_was_not_lost_is_logged_again_the_same(fit: Any) -> None:
    whole = fit("whole", every=None)
    before = fit("killed", every=None, dies_at=8)  # the checkpoint is that of the first epoch
    after = fit("killed", every=None)

    assert before == whole[:8]
    assert after == whole[5:]


@inside_epochs
def test_no_row_is_logged_where_lightning_would_have_logged_none(fit: Any) -> None:
    whole = fit("whole", every=3, log_every_n_steps=2)
    fit("killed", every=3, log_every_n_steps=2, dies_at=2)  # after the checkpoint of step 3
    assert len(whole) == 7  # five of batches, two of epochs
    assert fit("killed", every=3, log_every_n_steps=2)[0] == whole[1]


@inside_epochs
def test_a_logged_step_is_the_step_of_the_row(fit: Any) -> None:
    whole = fit("whole", every=4, own_step=True)
    before = fit("killed", every=4, own_step=True, dies_at=3)
    after = fit("killed", every=4, own_step=True)
    assert after[0] == whole[3]
    assert after[0][0] == 300
    assert of_batches(before + after) == of_batches(whole)


@inside_epochs
def test_gradients_that_accumulate_give_no_row(fit: Any) -> None:
    whole = fit("whole", every=1, accumulate_grad_batches=2)
    before = fit("killed", every=1, accumulate_grad_batches=2, dies_at=1)
    after = fit("killed", every=1, accumulate_grad_batches=2)
    assert of_batches(before + after) == of_batches(whole)
