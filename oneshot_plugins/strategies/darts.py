"""Differentiable architecture search: weight all candidates, learn the weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from oneshot_core import (
    Active,
    BaseOneShotLightningModule,
    Decision,
    MutationHook,
    ParameterSpec,
    Registry,
)
from oneshot_core.errors import StrategyError


class SoftmaxDecision(Decision):
    """Weight every candidate by the softmax of a learned vector.

    Where ``n`` candidates are taken, the weights are ``n`` times the softmax; where any subset
    may be taken, each candidate has a sigmoid of its own.

    Args:
        spec: what can be chosen.
        seed: of the initial values, together with the label.

    Attributes:
        alpha: the architecture parameters, shape ``(n_candidates,)``, drawn from N(0, 1e-3²);
            around the logarithm of the prior where there is one. A prior of 0 counts as 1e-6 of
            the whole: what has no weight at all would learn nothing.
    """

    def __init__(self, spec: ParameterSpec, *, seed: int = 0) -> None:
        super().__init__(spec)
        # A generator of its own: neither the user's draws nor the order of the walk matter.
        key = hashlib.sha256(f"{seed}/{spec.label}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "big") >> 1)
        noise = 1e-3 * torch.randn(len(spec.candidates), generator=generator)
        self.alpha = nn.Parameter(noise + _log_prior(spec))

    @property
    def superposes(self) -> bool:
        return True

    def mixture(self) -> list[Active]:
        if self.spec.size == 1:  # nothing to weight: compute it as it is
            return [Active(candidate) for candidate in self.spec.members(self.spec.default)]
        weights = self.probabilities().unbind()
        return [Active(c, w) for c, w in zip(self.spec.candidates, weights, strict=True)]

    def probabilities(self) -> Tensor:
        if self.spec.n_chosen is None:
            return self.alpha.sigmoid()
        return self.spec.n_chosen * self.alpha.softmax(0)


def _log_prior(spec: ParameterSpec) -> Tensor:
    if spec.prior is None:
        return torch.zeros(len(spec.candidates))
    prior = torch.tensor(spec.prior)
    return (prior / prior.sum()).clamp_min(1e-6).log()


class Darts(BaseOneShotLightningModule):
    """Train weights and architecture in turn, each on data of its own (first order).

    For every training batch, first one step of the architecture parameters on a batch of
    ``arch_dataloader``, then the user's weight step. The architecture step computes no weight
    gradient, and the weight step no architecture gradient.

    Args:
        model: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        mutation_hooks: see there.
        arch_dataloader: batches for the architecture step; they should not train the weights.
        arc_learning_rate: of the architecture parameters' Adam.
        betas: of that Adam.
        weight_decay: of that Adam.
        arc_scheduler: builds a learning-rate scheduler for that Adam, stepped every epoch.
        warmup_epochs: so long only weights are trained.
        seed: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        registry: see there.

    Raises:
        StrategyError: there is no ``arch_dataloader``.

    Source: Liu et al., "DARTS", arXiv:1806.09055, algorithm 1 with xi = 0; constants from its
    section 3.
    """

    def __init__(
        self,
        model: LightningModule,
        mutation_hooks: Sequence[MutationHook] | None = None,
        *,
        arch_dataloader: Iterable[Any] | None = None,
        arc_learning_rate: float = 3e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        weight_decay: float = 1e-3,
        arc_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        warmup_epochs: int = 0,
        seed: int | None = None,
        registry: Registry | None = None,
    ) -> None:
        super().__init__(
            model, mutation_hooks, arch_dataloader=arch_dataloader, seed=seed, registry=registry
        )
        if arch_dataloader is None:
            raise self.no_arch_dataloader()
        if warmup_epochs < 0:
            raise StrategyError(
                f"warmup_epochs={warmup_epochs}.\n  expected: 0 or more\n  fix: correct it"
            )
        self.arc_learning_rate = arc_learning_rate
        self.betas = betas
        self.weight_decay = weight_decay
        self.arc_scheduler = arc_scheduler
        self.warmup_epochs = warmup_epochs

    def make_decision(self, spec: ParameterSpec) -> Decision:
        return SoftmaxDecision(spec, seed=self.seed)

    def configure_architecture_optimizers(self) -> Any:
        # Where nothing can be chosen there is nothing to learn, and nothing for callbacks to see.
        parameters = [p for d in self.decisions if d.spec.size > 1 for p in d.parameters()]
        if not parameters:
            return None
        optimizer = torch.optim.Adam(
            parameters, lr=self.arc_learning_rate, betas=self.betas, weight_decay=self.weight_decay
        )
        if self.arc_scheduler is None:
            return optimizer
        return [optimizer], [self.arc_scheduler(optimizer)]

    def search_step(self, batch: Any, batch_idx: int) -> None:
        if self.current_epoch >= self.warmup_epochs:
            self.architecture_step()
        self.advance_optimization()
