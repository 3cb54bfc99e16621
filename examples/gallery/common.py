"""What the three searches share: data in three parts, batches, and a Trainer that says nothing."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

Examples: TypeAlias = "tuple[Tensor, Tensor]"
"""Inputs and targets; the first dimension counts the examples."""
Batches: TypeAlias = "DataLoader[tuple[Tensor, ...]]"


class Data(NamedTuple):
    """Examples in three parts. Choices are made by ``validation``; ``test`` is for reporting."""

    train: Examples
    validation: Examples
    test: Examples


def halves(examples: Examples) -> tuple[Examples, Examples]:
    """Return the first half for the weights and the second for the architecture."""
    x, y = examples
    half = len(x) // 2
    return (x[:half], y[:half]), (x[half:], y[half:])


def shuffled(examples: Examples, size: int, seed: int) -> Batches:
    """Return whole batches in an order that depends on the seed."""
    data = TensorDataset(*examples)
    order = RandomSampler(data, generator=torch.Generator().manual_seed(seed))
    # Indices of a whole batch at once: one copy instead of one for each example.
    return DataLoader(data, sampler=BatchSampler(order, size, drop_last=True), batch_size=None)


def in_order(examples: Examples) -> Batches:
    """Return batches for evaluation."""
    return DataLoader(TensorDataset(*examples), batch_size=500)


def trainer(epochs: int) -> pl.Trainer:
    """Return a Trainer without bars, logs and files."""
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
