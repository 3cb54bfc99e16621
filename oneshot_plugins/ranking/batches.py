"""Batches that a ranking reads again for each architecture, kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.utils.data import DataLoader

from oneshot_core.lightning.kit import isolated_rng

CACHE_BYTES = 256 * 2**20
"""Batches of a data loader are kept in memory up to this size when it is read repeatedly."""


class CachedBatches:
    """The batches of a loader, kept in memory."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def cached(loader: Any, module: nn.Module, seed: int) -> Any:
    """Return the batches of a DataLoader, if they are few; anything else as it is.

    Every architecture is then scored on the very same batches, and no loader is started for
    each of them.
    """
    if not isinstance(loader, DataLoader):
        return loader
    batches, size = [], 0
    with isolated_rng(module, seed):
        for batch in loader:
            batches.append(batch)
            size += _bytes(batch)
            if size > CACHE_BYTES:
                return loader
    return CachedBatches(batches)


def _bytes(batch: Any) -> int:
    total = 0

    def add(tensor: Tensor) -> None:
        nonlocal total
        total += tensor.numel() * tensor.element_size()

    apply_to_collection(batch, Tensor, add)
    return total
