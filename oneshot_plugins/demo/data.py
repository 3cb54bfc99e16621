"""MNIST-1D, generated on the spot, and loaders that a resumed run reads in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import torch
from mnist1d.data import get_dataset_args, make_dataset
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, TensorDataset

Loader: TypeAlias = "DataLoader[tuple[Tensor, ...]]"
TRAIN, VALIDATION = 3200, 800


class Mnist1d:
    """The official data set: 4,000 signals for training, of which 800 validate, and 1,000 to test.

    Signals have 40 samples and belong to one of 10 classes.

    Source: Greydanus and Kobak, "Scaling down deep learning with MNIST-1D", arXiv:2011.14439;
    ``mnist1d.data.make_dataset`` with its default arguments.
    """

    def __init__(self) -> None:
        data = make_dataset(get_dataset_args())
        x, y = torch.tensor(data["x"]).float(), torch.tensor(data["y"]).long()
        self.train = x[:TRAIN], y[:TRAIN]
        self.validation = x[TRAIN:], y[TRAIN:]
        self.test = torch.tensor(data["x_test"]).float(), torch.tensor(data["y_test"]).long()


class EpochBatches(Sampler[list[int]]):
    """Shuffled batches of indices that depend on (seed, epoch) alone.

    Lightning calls :meth:`set_epoch`, also after a resume.

    Args:
        size: how many items there are.
        batch_size: items in a batch; a smaller last one is dropped.
        seed: of the shuffling.
    """

    def __init__(self, size: int, batch_size: int, seed: int) -> None:
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        # Runs at the first batch, not before: after a resume Lightning makes the iterator before
        # it calls set_epoch.
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(self.size, generator=generator).tolist()
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[start : start + self.batch_size]

    def __len__(self) -> int:
        return self.size // self.batch_size


def shuffled(tensors: tuple[Tensor, Tensor], batch_size: int, seed: int) -> Loader:
    """Return a loader that indexes whole batches: one copy for each instead of one per item."""
    batches = EpochBatches(len(tensors[0]), batch_size, seed)
    return DataLoader(TensorDataset(*tensors), sampler=batches, batch_size=None)


def in_order(tensors: tuple[Tensor, Tensor], batch_size: int = 1000) -> Loader:
    """Return a loader for evaluation."""
    return DataLoader(TensorDataset(*tensors), batch_size=batch_size)
