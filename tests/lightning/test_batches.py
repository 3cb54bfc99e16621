"""Batches beside the user's: repeatable, resumable, unnoticed by the global generators."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler, TensorDataset

from oneshot_core.errors import StrategyError
from oneshot_core.lightning.batches import ArchitectureBatches, first_batches, to_device
from oneshot_plugins.ranking import batches as batches_module
from oneshot_plugins.ranking.batches import CachedBatches, cached

MODULE = nn.ReLU()


class Augmented(Dataset[Tensor]):
    """Draws from every global generator, as augmentations do."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> Tensor:
        return index + torch.rand(1) + random.random() + np.random.rand()


def loader(**options: Any) -> DataLoader[Tensor]:
    return DataLoader(Augmented(), **{"batch_size": 2, "shuffle": True} | options)


def take(batches: ArchitectureBatches, n: int) -> list[Tensor]:
    return [batches.next() for _ in range(n)]


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


def test_batches_are_a_function_of_the_seed() -> None:
    def drawn(seed: int) -> list[Tensor]:
        torch.rand(seed + 1)  # the global state does not matter
        return take(ArchitectureBatches(loader(), seed, MODULE), 10)

    assert equal(drawn(0), drawn(0))
    assert not equal(drawn(0), drawn(1))


def test_global_generators_are_not_noticed_to_be_used() -> None:
    batches = ArchitectureBatches(loader(), 0, MODULE)
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    expected = torch.rand(1), random.random(), np.random.rand()
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)

    take(batches, 9)

    assert (torch.rand(1), random.random(), np.random.rand()) == expected


def test_stream_starts_again_in_another_order_when_it_is_exhausted() -> None:
    data = DataLoader(TensorDataset(torch.arange(32)), batch_size=32, shuffle=True)
    batches = ArchitectureBatches(data, 0, MODULE)

    first, second = (batches.next()[0] for _ in range(2))

    assert not torch.equal(first, second)
    assert torch.equal(first.sort().values, second.sort().values)


@pytest.mark.parametrize("drawn", [0, 1, 4, 11])
def test_stream_goes_on_after_a_resume_where_it_stopped(drawn: int) -> None:
    whole = take(ArchitectureBatches(loader(), 5, MODULE), 15)
    resumed = ArchitectureBatches(loader(), 5, MODULE)

    resumed.rewind(drawn)

    assert resumed.drawn == drawn
    assert equal(take(resumed, 15 - drawn), whole[drawn:])


def test_rewinding_a_running_stream_draws_the_same_again() -> None:
    batches = ArchitectureBatches(loader(), 5, MODULE)
    first = take(batches, 6)

    batches.rewind(2)

    assert equal(take(batches, 4), first[2:])


def test_stream_is_copied_without_its_iterator() -> None:
    batches = ArchitectureBatches(loader(), 5, MODULE)
    take(batches, 3)

    copied = copy.deepcopy(batches)

    assert copied.drawn == 3
    assert torch.equal(copied.next(), batches.next())


def test_any_iterable_that_can_be_repeated_is_a_loader() -> None:
    batches = ArchitectureBatches(["a", "b"], 0, MODULE)

    assert take(batches, 5) == ["a", "b", "a", "b", "a"]


class Once:
    """A loader of one's own that has nothing left after the first pass."""

    def __init__(self, batches: Any) -> None:
        self.batches = iter(batches)

    def __iter__(self) -> Any:
        return self.batches


@pytest.mark.parametrize("empty", [[], Once(())], ids=["list", "once"])
def test_loader_without_a_batch_is_refused_before_one_is_needed(empty: Any) -> None:
    with pytest.raises(StrategyError, match="yields no batch"):
        ArchitectureBatches(empty, 0, MODULE).require()


def test_looking_for_a_first_batch_takes_none_away() -> None:
    batches, looked = (ArchitectureBatches(loader(), 0, MODULE) for _ in range(2))
    for drawn in (0, 3, 5):
        for stream in (batches, looked):
            stream.rewind(drawn)
        looked.require()
        looked.require()
        assert looked.drawn == drawn
        assert equal(take(looked, 6), take(batches, 6))
        assert looked.drawn == batches.drawn == drawn + 6


def test_loader_that_is_used_up_is_refused() -> None:
    batches = ArchitectureBatches(Once([1, 2]), 0, MODULE)
    assert [batches.next(), batches.next()] == [1, 2]
    with pytest.raises(StrategyError, match="iterated again and again"):
        batches.next()


@pytest.mark.parametrize("loader", [iter([1]), (n for n in [1]), itertools.cycle([1]), zip([1])])
def test_what_can_be_read_once_only_is_refused_at_once(loader: Any) -> None:
    with pytest.raises(StrategyError, match="can be read once"):
        ArchitectureBatches(loader, 0, MODULE)


def test_distributed_sampler_is_told_the_pass() -> None:
    data = TensorDataset(torch.arange(8))
    sampler: DistributedSampler[Any] = DistributedSampler(data, num_replicas=2, rank=0)
    batches = ArchitectureBatches(DataLoader(data, 4, sampler=sampler), 0, MODULE)

    take(batches, 3)

    assert sampler.epoch == 2


def test_few_batches_of_a_data_loader_are_kept_in_memory() -> None:
    kept = cached(loader(), MODULE, seed=1)

    assert isinstance(kept, CachedBatches)
    assert len(kept) == 4
    assert equal(list(kept), list(kept))
    assert equal(list(kept), list(cached(loader(), MODULE, seed=1)))


def test_many_batches_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "CACHE_BYTES", 20)
    data = loader()

    assert cached(data, MODULE, seed=1) is data


def test_what_is_no_data_loader_is_not_read() -> None:
    def never() -> Iterator[int]:
        raise AssertionError("read")
        yield 0

    generator = never()

    assert cached(generator, MODULE, seed=1) is generator
    assert cached([1, 2], MODULE, seed=1) == [1, 2]


def test_first_batches_are_repeatable_and_unnoticed() -> None:
    before = torch.get_rng_state()

    first = first_batches(loader(), 3, MODULE, seed=2)

    assert torch.equal(torch.get_rng_state(), before)
    assert len(first) == 3
    assert equal(first, first_batches(loader(), 3, MODULE, seed=2))
    assert len(first_batches(loader(), 99, MODULE, seed=2)) == 4


class Transfers(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [*batch, "before"]

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        return [*super().transfer_batch_to_device(batch, device, dataloader_idx), str(device)]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [*batch, "after"]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        assert batch[2:] == ["before", "cpu", "after"]
        self.moved = to_device([torch.ones(2, dtype=torch.double)], self, self.trainer)
        return self.layer(batch[0][:, :1]).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("32-true", torch.float64), ("16-true", torch.float16)]
)
def test_batches_are_moved_through_the_users_hooks_and_the_precision(
    precision: Any, dtype: torch.dtype, make_trainer: Any, make_loader: Any
) -> None:
    module = Transfers()

    make_trainer(max_epochs=1, precision=precision).fit(module, make_loader(4))

    assert module.moved[1:] == ["before", "cpu", "after"]
    assert module.moved[0].dtype == dtype
