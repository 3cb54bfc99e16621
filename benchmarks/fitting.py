"""Time the steps of a fit, with whichever Lightning is installed."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl

from .plain import Loader, mean_step


class _Clock(pl.Callback):
    """Notes when each batch ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.perf_counter())


def fitted(module: pl.LightningModule, loader: Loader) -> float:
    """Train for one epoch; return the mean seconds of a step, the first left out."""
    clock = _Clock()
    pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    ).fit(module, loader)
    return mean_step(clock.ends)
