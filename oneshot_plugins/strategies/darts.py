"""Differentiable architecture search: weight all candidates, learn the weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from oneshot_core import Active, Decision, MutationHook, ParameterSpec
from oneshot_core.errors import StrategyError
from oneshot_core.space import Candidate

from .differentiable import Differentiable, DifferentiableOptions
from .schedules import Schedule, schedule_of

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
        alpha: the architecture parameters, shape ``(n_candidates,)``, drawn from N(0, 1e-3²);
            around the logarithm of the prior where there is one. A prior of 0 counts as 1e-6 of
            the whole: what has no weight at all would learn nothing.
        perturbation: how far :meth:`perturb` moves a weight at most.
        auxiliary_skip: how much the candidates of :attr:`skip` count beside their own weights.
        skip: names of the candidates that pass their input on.
        removed: a candidate that takes no part; the others keep their weights.
    """

    def __init__(self, spec: ParameterSpec, *, seed: int = 0) -> None:
        super().__init__(spec)
        self.perturbation = 0.0
        self.auxiliary_skip = 0.0
        self.skip: tuple[Candidate, ...] = ()
        self.removed: Candidate | None = None
        self._moved: list[float] | None = None
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
        weights = self._weights().unbind()
        pairs = zip(self.spec.candidates, weights, strict=True)
        return [Active(c, w) for c, w in pairs if self.removed is None or c != self.removed]

    def perturb(self, on: bool = True) -> None:
        """Move each weight by a draw from ``U(-ε, ε)``, ``ε`` the perturbation, until switched off.

        Moved weights are kept in [0, 1] and normalised again.

        Source: Chen and Hsieh, "Stabilizing Differentiable Architecture Search via
        Perturbation-based Regularization", arXiv:2002.05283, section 3.2.1, random smoothing.
        """
        self._moved = None
        if on and self.perturbation:
            self._moved = [2 * self.rng.random() - 1 for _ in self.spec.candidates]

    def _weights(self) -> Tensor:
        weights = self.probabilities()
        if self._moved is not None:
            n = self.spec.n_chosen or 1
            moved = (weights / n + self.perturbation * weights.new_tensor(self._moved)).clamp(0, 1)
            if self.spec.n_chosen is None:
                weights = moved
            elif moved.sum() > 0:
                weights = n * moved / moved.sum()
        if self.auxiliary_skip:
            skips = [self.auxiliary_skip * (c in self.skip) for c in self.spec.candidates]
            weights = weights + weights.new_tensor(skips)
        return weights

    def probabilities(self) -> Tensor:
        if self.spec.n_chosen is None:
            return self.alpha.sigmoid()
        return self.spec.n_chosen * self.alpha.softmax(0)


def _log_prior(spec: ParameterSpec) -> Tensor:
    if spec.prior is None:
        return torch.zeros(len(spec.candidates))
    prior = torch.tensor(spec.prior)
    return (prior / prior.sum()).clamp_min(1e-6).log()


class Darts(Differentiable):
    """Weight all candidates by a softmax that is learned, in turn with the weights.

    Args:
        model: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        mutation_hooks: see there.
        perturbation: how far the weights of candidates are moved at random in the weight step,
            fixed or scheduled, so that the weights do well near the architecture, too.
        auxiliary_skip: how much skips count beside their own weights, so that they are not
            chosen for making training easy; scheduled, and 0 in the end. It stands for a second
            skip connection beside the choice.
        skip: names of the candidates that pass their input on, for ``auxiliary_skip``.
        **options: see :class:`.Differentiable`; ``order=2`` for the second order.

    Raises:
        StrategyError: there is no ``arch_dataloader``, or an option is out of range.

    Source: Liu et al., "DARTS", arXiv:1806.09055, algorithm 1; constants from its section 3.
    Chu et al., "DARTS-", arXiv:2009.01027, section 3.3, for ``auxiliary_skip``; Chen and Hsieh,
    arXiv:2002.05283, section 3.2.1, for ``perturbation``.

    Exact: both orders; the second through one step of SGD, Adam or AdamW with their state, without
    clipping and accumulation.
    """

    def __init__(
        self,
        model: LightningModule,
        mutation_hooks: Sequence[MutationHook] | None = None,
        *,
        perturbation: Schedule | float = 0.0,
        auxiliary_skip: Schedule | float = 0.0,
        skip: Sequence[Candidate] = ("skip",),
        **options: Unpack[DifferentiableOptions],
    ) -> None:
        super().__init__(model, mutation_hooks, **options)
        self.perturbation = schedule_of(perturbation, "perturbation")
        self.auxiliary_skip = schedule_of(auxiliary_skip, "auxiliary_skip")
        if self.auxiliary_skip.last:
            raise StrategyError(
                f"auxiliary_skip ends at {self.auxiliary_skip.last}",
                expected="0 in the end, or the supernet is none of its networks",
                fix="auxiliary_skip=Schedule(1.0, 0.0, 'cosine')",
            )
        self.skip = tuple(skip)

    def make_decision(self, spec: ParameterSpec) -> Decision:
        decision = SoftmaxDecision(spec, seed=self.seed)
        decision.skip = self.skip
        return decision

    def schedules(self) -> dict[str, Schedule]:
        found = {"perturbation": self.perturbation, "auxiliary_skip": self.auxiliary_skip}
        return {**super().schedules(), **found}

    def draw(self, stage: str, batch_idx: int) -> None:
        super().draw(stage, batch_idx)
        for decision in self.decisions:
            if isinstance(decision, SoftmaxDecision):
                decision.perturb(stage == "train")

    def check_fit(self) -> None:
        super().check_fit()
        offered = any(c in self.skip for d in self.decisions for c in d.spec.candidates)
        if self.auxiliary_skip.changes and not offered:
            raise StrategyError(
                f"auxiliary_skip is given, and no choice has a candidate {list(self.skip)}",
                expected="the names of the candidates that pass their input on",
                fix="skip=['...'], or leave auxiliary_skip out",
            )
