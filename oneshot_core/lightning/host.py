"""What the helpers of a search need of it, so that none of them imports the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from ..decision import DecisionTable
from ..discovery.registry import Registry
from ..hooks import MutationHook
from ..model_space import ModelSpace
from ..supernet import BaseSuperNetModule
from .batches import ArchitectureBatches


class Walked(Protocol):
    """A search whose choices have been replaced."""

    model: LightningModule
    needs_choices: bool

    @property
    def nas_modules(self) -> list[BaseSuperNetModule]: ...


class Host(Walked, Protocol):
    """A search, as its helpers see it; each member is described where the search defines it."""

    decisions: DecisionTable
    mutation_hooks: list[MutationHook]
    registry: Registry
    seed: int
    architecture_batches: ArchitectureBatches | None
    _current_fx_name: str | None

    @property
    def trainer(self) -> Trainer: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def current_epoch(self) -> int: ...
    @property
    def automatic_optimization(self) -> bool: ...
    def all_gather(self, data: Tensor) -> Any: ...
    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None: ...
    def manual_backward(self, loss: Tensor) -> None: ...
    def on_before_zero_grad(self, optimizer: Optimizer) -> None: ...
    def _on_before_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any: ...
    @property
    def space(self) -> ModelSpace: ...
    def reseed(self, *key: object) -> None: ...
    def architecture_optimizers(self) -> Optimizer | list[Optimizer] | None: ...
    def is_architecture_scheduler(self, scheduler: object) -> bool: ...
    def search_step(self, batch: Any, batch_idx: int) -> None: ...
    def prepare_evaluation(self, stage: str, batch_idx: int) -> None: ...
    def run_training_step(self, step: Any) -> Any: ...
    def architecture_gradient(
        self, batch: Any, batch_idx: int, parameters: Sequence[nn.Parameter], scale: float
    ) -> tuple[Tensor, Sequence[Tensor | None]] | None: ...
    def first_mutation_hooks(self) -> list[MutationHook]: ...
    def default_mutation_hooks(self) -> list[MutationHook]: ...
    def mutate(self) -> None: ...
    def mutate_kwargs(self) -> dict[str, object]: ...
    def require_loss_of_training_step(self) -> None: ...
    def strategy_state(self) -> dict[str, Any]: ...
    def load_strategy_state(self, state: Mapping[str, Any]) -> None: ...


def is_fitting(model: LightningModule) -> bool:
    """Say whether a user's module is being trained."""
    return model._trainer is not None and bool(model._trainer.training)


def is_defined_by_strategy(cls: type, name: str) -> bool:
    """Say whether a class of searches got its hook ``name`` from a strategy."""
    owner = _owner(cls, name)
    return owner != f"{__package__}.facade" and owner.partition(".")[0] not in (
        "pytorch_lightning",
        "lightning",
    )


def is_of_base(cls: type, name: str) -> bool:
    """Say whether a class of searches leaves ``name`` as the base class of strategies has it."""
    return _owner(cls, name) == f"{__package__}.module"


def owns_batch(cls: type) -> bool:
    """Say whether a strategy does with ``training_step`` what others do with ``search_step``."""
    return is_defined_by_strategy(cls, "training_step") and is_of_base(cls, "search_step")


def _owner(cls: type, name: str) -> str:
    return next(base.__module__ for base in cls.__mro__ if name in base.__dict__)
