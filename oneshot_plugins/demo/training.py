"""How networks are trained here, the supernet as well as those that are trained from scratch."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from oneshot_core import AtomicCheckpointIO

CHECKPOINT_EVERY = 25
"""Epochs between two checkpoints of the supernet."""


class Classifier(LightningModule):
    """Train a network to classify; log ``val_acc`` and ``test_acc``.

    Args:
        net: signals -> logits.
        learning_rate: the largest of its one-cycle schedule.
        weight_decay: of AdamW.
    """

    def __init__(
        self, net: nn.Module, learning_rate: float = 1e-2, weight_decay: float = 1e-2
    ) -> None:
        super().__init__()
        self.net = net
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss: Tensor = nn.functional.cross_entropy(self(x), y)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val_acc", self._accuracy(batch))

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("test_acc", self._accuracy(batch))

    def _accuracy(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        correct: Tensor = self(x).argmax(1) == y
        return correct.float().mean()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(
            self.parameters(),
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            fused=True,  # one kernel for all parameters: these networks are small
        )
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


class Interrupt:
    """Remembers Ctrl-C, so that training ends with its epoch; a second one ends it at once."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle Ctrl-C inside the context."""

        def handle(number: int, frame: FrameType | None) -> None:
            if self.requested:
                raise KeyboardInterrupt
            self.requested = True

        before = signal.signal(signal.SIGINT, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


class EpochProgress(Callback):
    """One bar that counts the epochs of one or more trainings; ends a training on Ctrl-C.

    Args:
        title: shown before the bar.
        interrupt: asked at the end of every epoch.
        trainings: how many of them the bar counts.
    """

    def __init__(self, title: str, interrupt: Interrupt, trainings: int = 1) -> None:
        self.interrupt = interrupt
        self.trainings = trainings
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]}"),
        )
        self.task = self.bar.add_task(title, loss="-")
        self.losses: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.bar.update(self.task, total=self.trainings * (trainer.max_epochs or 0))
        if not self.bar.live.is_started:
            self.bar.update(self.task, completed=trainer.current_epoch)  # after a resume
            self.bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(outputs["loss"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = torch.stack(self.losses).mean().item()
        self.losses.clear()
        self.bar.update(self.task, advance=1, loss=f"{loss:.3f}")
        if self.interrupt.requested:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.bar.finished or self.interrupt.requested:
            self.bar.stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self.bar.stop()


class RegularCheckpoint(Checkpoint):
    """Write one checkpoint every few epochs and when training ends."""

    def __init__(self, path: Path, every: int = CHECKPOINT_EVERY) -> None:
        self.path = path
        self.every = every

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.every == 0 or epoch == trainer.max_epochs or trainer.should_stop:
            trainer.save_checkpoint(self.path)


def trainer(epochs: int, *callbacks: Callback) -> Trainer:
    """Return a Trainer that shows our progress bar only."""
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one core: nothing here is large enough to share.

    Results then do not depend on how many cores there are, and a busy machine does not make
    threads wait for each other, which can cost a factor of ten.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's advice about workers and devices from between our lines."""
    names = ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "lightning_fabric")
    loggers = [logging.getLogger(name) for name in names]
    levels = [log.level for log in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*have no `val_dataloader`.*")
        warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")
        warnings.filterwarnings("ignore", ".*treespec.*LeafSpec.*is deprecated.*")
        for log in loggers:
            log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for log, level in zip(loggers, levels, strict=True):
                log.setLevel(level)
