"""Batches for the architecture that do not train the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from oneshot_plugins.run.data import architecture_loader
from oneshot_plugins.run.folder import RunError

NUMBERS = torch.arange(50)


class Source:
    """Has a loader for training, made anew each time."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.train_dataloader = make


class Stream(IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(range(8))


def numbers(loader: Any) -> list[int]:
    return [int(n) for batch in loader for n in batch]


def test_every_sample_trains_the_weights_or_the_architecture_and_never_both() -> None:
    source = Source(lambda: DataLoader(NUMBERS, batch_size=8, shuffle=True, drop_last=True))
    loader = architecture_loader(source, 0.3, seed=1)
    weights = source.train_dataloader()
    assert (weights.batch_size, weights.drop_last) == (8, True)
    assert len(weights.dataset) == 35
    assert loader is not None
    architecture = set(loader.make().dataset)  # type: ignore[attr-defined]
    assert sorted({*map(int, weights.dataset), *map(int, architecture)}) == NUMBERS.tolist()
    assert numbers(loader) != numbers(loader)  # shuffled, as the original is


def test_the_split_depends_on_the_seed_alone() -> None:
    def of(seed: int) -> list[int]:
        source = Source(lambda: DataLoader(NUMBERS, batch_size=8))
        return numbers(architecture_loader(source, 0.5, seed))

    assert of(0) == of(0)
    assert of(0) != of(1)


def test_nobody_who_says_where_from_is_no_loader() -> None:
    assert architecture_loader(Source(lambda: None), None, 0) is None


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: [1, 2], "returns a list"),
        (lambda: DataLoader(Stream()), "IterableDataset"),
        (
            lambda: DataLoader(
                NUMBERS, batch_sampler=BatchSampler(SequentialSampler(NUMBERS), 3, False)
            ),
            "batches of its own",
        ),
        (lambda: DataLoader(NUMBERS[:1]), "has 1 samples"),
    ],
)
def test_what_cannot_be_split_raises_with_the_way_out(make: Callable[[], Any], says: str) -> None:
    source = Source(make)
    architecture_loader(source, 0.5, 0)
    with pytest.raises(RunError, match=says) as error:
        source.train_dataloader()
    assert "fix: write arch_dataloader()" in str(error.value)
