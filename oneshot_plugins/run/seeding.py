"""Global randomness that a resumed training repeats."""

from __future__ import annotations

import hashlib
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from oneshot_core.lightning.kit import seed_generators


class SeedEachBatch(Callback):
    """Seeds the global generators from (seed, epoch, batch, rank) before each training batch.

    For dropout and whatever else draws from Python's, NumPy's or torch's global generators: a
    checkpoint does not hold their states, so a resumed training would draw anew. What a search
    draws itself needs no callback.

    Args:
        seed: makes the draws reproducible.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed what the batch will draw."""
        key = f"{self.seed}/{trainer.current_epoch}/{batch_idx}/{trainer.global_rank}"
        digest = hashlib.sha256(key.encode()).digest()
        seed_generators(int.from_bytes(digest[:8], "big") >> 1)  # fits a signed integer


__all__ = ["SeedEachBatch"]
