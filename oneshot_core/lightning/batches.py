"""Batches that a search draws beside the user's training: their order and their randomness.

A DataLoader draws from the global generators when it is iterated. Here every batch is drawn
under a generator state that is a function of (seed, pass, index) alone, so the user's training
does not notice, and a resumed search goes on with exactly the batches it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Protocol

import torch
from pytorch_lightning import Trainer
from torch import nn

from ..errors import StrategyError
from .isolation import isolated_rng


class ArchitectureBatches:
    """An endless stream of batches for the architecture step.

    Args:
        loader: any re-iterable of batches; starts again when it is exhausted.
        seed: makes the order reproducible.
        module: whose device's generator is kept, too.

    Attributes:
        drawn: how many batches were handed out; set it to go on after a resume.

    Raises:
        StrategyError: ``loader`` can be read only once.
    """

    def __init__(self, loader: Iterable[Any], seed: int, module: nn.Module) -> None:
        # A class of one's own may begin anew in __iter__; generators and iter(...) cannot.
        home = type(loader).__module__.partition(".")[0]
        if isinstance(loader, Iterator) and home in ("builtins", "itertools", "torch"):
            raise StrategyError(
                f"the architecture loader is a {type(loader).__name__}, which can be read once",
                expected="a loader that can be iterated again and again",
                fix="pass the DataLoader itself; it is started again when it is exhausted",
            )
        self.loader = loader
        self.seed = seed
        self.module = module
        self.drawn = 0
        self._stream: Iterator[Any] | None = None

    def next(self) -> Any:
        """Return the next batch, on the CPU.

        Raises:
            StrategyError: the loader yields nothing.
        """
        if self._stream is None:
            # Batches are drawn anew, not computed: each depends on the ones before it.
            self._stream = self._endless()
            for _ in islice(self._stream, self.drawn):
                pass
        batch = next(self._stream)
        self.drawn += 1
        return batch

    def require(self) -> None:
        """Look, before training, whether there is a next batch; :meth:`next` returns it.

        Raises:
            StrategyError: the loader yields nothing.
        """
        first = self.next()
        self.drawn -= 1
        assert self._stream is not None
        self._stream = chain([first], self._stream)

    def rewind(self, drawn: int) -> None:
        """Go on after the first ``drawn`` batches."""
        self.drawn = drawn
        self._stream = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stream": None}  # an iterator cannot be copied

    def _endless(self) -> Iterator[Any]:
        turn = 0
        while True:
            set_epoch = getattr(getattr(self.loader, "sampler", None), "set_epoch", None)
            if callable(set_epoch):
                set_epoch(turn)
            index = -1
            for index, batch in enumerate(self._one_pass(turn)):  # noqa: B007
                yield batch
            if index < 0:
                raise StrategyError(
                    f"the architecture loader ({type(self.loader).__name__}) yields no batch",
                    expected="a loader that can be iterated again and again",
                    fix="pass a DataLoader of a non-empty dataset, not a generator",
                )
            turn += 1

    def _one_pass(self, turn: int) -> Iterator[Any]:
        base = (self.seed * 1_000_003 + turn) * 1_000_003
        with isolated_rng(self.module, base % 2**63):
            batches = iter(self.loader)
        index = 0
        while True:
            index += 1
            with isolated_rng(self.module, (base + index) % 2**63):
                try:
                    batch = next(batches)
                except StopIteration:
                    return
            yield batch


class Transfers(Protocol):
    """A LightningModule, as far as it moves batches."""

    def _on_before_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any: ...


def to_device(batch: Any, module: Transfers, trainer: Trainer) -> Any:
    """Move a batch to the module's device, through the user's transfer hooks, as loops do."""
    batch = trainer.precision_plugin.convert_input(batch)
    batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=0)


def first_batches(loader: Iterable[Any], n: int, module: nn.Module, seed: int) -> list[Any]:
    """Return the first ``n`` batches of a loader without touching the global generators."""
    with isolated_rng(module, seed), torch.no_grad():
        return list(islice(loader, n))
