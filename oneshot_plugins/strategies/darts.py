"""Differentiable architecture search: weight all candidates, learn the weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from oneshot_core import Active, Decision, MutationHook, ParameterSpec

from .differentiable import Differentiable, DifferentiableOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


class SoftmaxDecision(Decision):
    """Weight every candidate by the softmax of a learned vector.

    Where ``n`` candidates are taken, the weights are ``n`` times the softmax; where any subset
    may be taken, each candidate has a sigmoid of its own.

    Args:
        spec: what can be chosen.
        seed: of the initial values, together with the label.

    Attributes:
        alpha: the architecture parameters, shape ``(n_candidates,)``, drawn from N(0, 1e-3²).
    """

    def __init__(self, spec: ParameterSpec, *, seed: int = 0) -> None:
        super().__init__(spec)
        # A generator of its own: neither the user's draws nor the order of the walk matter.
        key = hashlib.sha256(f"{seed}/{spec.label}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "big") >> 1)
        self.alpha = nn.Parameter(1e-3 * torch.randn(len(spec.candidates), generator=generator))

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


class Darts(Differentiable):
    """Weight all candidates by a softmax that is learned, in turn with the weights.

    Args:
        model: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        mutation_hooks: see there.
        **options: see :class:`.Differentiable`; ``order=2`` for the second order.

    Raises:
        StrategyError: there is no ``arch_dataloader``, or an option is out of range.

    Source: Liu et al., "DARTS", arXiv:1806.09055, algorithm 1; constants from its section 3.
    """

    def __init__(
        self,
        model: LightningModule,
        mutation_hooks: Sequence[MutationHook] | None = None,
        **options: Unpack[DifferentiableOptions],
    ) -> None:
        super().__init__(model, mutation_hooks, **options)

    def make_decision(self, spec: ParameterSpec) -> Decision:
        return SoftmaxDecision(spec, seed=self.seed)
