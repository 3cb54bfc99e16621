"""Batches for the architecture: a data module's own, or a part of its training data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    random_split,
)

from .folder import RunError

ALTERNATIVE = "write arch_dataloader(), which returns a DataLoader, beside train_dataloader()"


class LaterLoader:
    """A loader that is made when it is first iterated: after the data module was set up.

    Args:
        make: returns the loader.
    """

    def __init__(self, make: Callable[[], Iterable[Any]]) -> None:
        self.make = make
        self._loader: Iterable[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        if self._loader is None:
            self._loader = self.make()
        return iter(self._loader)


def architecture_loader(source: Any, fraction: float | None, seed: int) -> LaterLoader | None:
    """Return batches to train an architecture on; None if nobody says where from.

    With a fraction, ``source.train_dataloader()`` yields from now on what is left of the training
    data; which samples that are depends on ``seed`` alone.

    Args:
        source: the data module, or the model that has the loaders.
        fraction: which part of the training data trains the architecture and not the weights.
        seed: of the split.

    Raises:
        RunError: there are two sources, or the fraction is none.
    """
    own = getattr(source, "arch_dataloader", None)
    if own is not None and fraction is not None:
        raise RunError(
            f"{type(source).__name__} has arch_dataloader(), and search.arch_fraction is "
            f"{fraction}",
            expected="one of them",
            fix="leave search.arch_fraction out",
        )
    if own is not None:
        return LaterLoader(own)
    if fraction is None:
        return None
    if not 0 < fraction < 1:
        raise RunError(
            f"search.arch_fraction={fraction}",
            expected="the part of the training data that trains the architecture, between 0 and 1",
            fix="--search.arch_fraction 0.5",
        )
    split = _Split(source, source.train_dataloader, fraction, seed)
    source.train_dataloader = lambda: split.loader(0)
    return LaterLoader(lambda: split.loader(1))


class _Split:
    """Two parts of the data of one loader.

    Args:
        owner: of the loader, for messages.
        make: returns the loader.
        fraction: size of the second part.
        seed: of the split.
    """

    def __init__(self, owner: object, make: Callable[[], Any], fraction: float, seed: int) -> None:
        self.owner = type(owner).__name__
        self.make = make
        self.fraction = fraction
        self.seed = seed

    def loader(self, part: int) -> DataLoader[Any]:
        """Return a loader like the original, of one part."""
        loader = self.make()
        dataset = self._dataset_of(loader)
        n = int(self.fraction * len(dataset))  # type: ignore[arg-type]
        sizes = [len(dataset) - n, n]  # type: ignore[arg-type]
        if not all(sizes):
            raise self._error(f"has {sum(sizes)} samples, of which {n} are the architecture's")
        generator = torch.Generator().manual_seed(self.seed)
        return DataLoader(
            random_split(dataset, sizes, generator)[part],
            batch_size=loader.batch_size,
            shuffle=isinstance(loader.sampler, RandomSampler),
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            drop_last=loader.drop_last,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=loader.generator,
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=loader.persistent_workers,
        )

    def _dataset_of(self, loader: Any) -> Dataset[Any]:
        if not isinstance(loader, DataLoader):
            raise self._error(f"returns a {type(loader).__name__}")
        if isinstance(loader.dataset, IterableDataset):
            raise self._error("has an IterableDataset")
        if loader.batch_size is None or not isinstance(
            loader.sampler, (RandomSampler, SequentialSampler)
        ):
            raise self._error(f"has a {type(loader.sampler).__name__} or batches of its own")
        dataset: Dataset[Any] = loader.dataset
        return dataset

    def _error(self, what: str) -> RunError:
        return RunError(
            f"train_dataloader() of {self.owner} cannot be split: it {what}",
            expected="one DataLoader of samples that can be counted, shuffled or in order",
            fix=f"{ALTERNATIVE}; leave search.arch_fraction out",
        )
