"""Draw the weights of candidates from a Dirichlet distribution that is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.distributions import Dirichlet, kl_divergence

from oneshot_core import Active, Decision, DecisionTable, MutationHook, ParameterSpec
from oneshot_core.errors import StrategyError

from .darts import SoftmaxDecision
from .differentiable import Differentiable, OtherOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


class DirichletDecision(SoftmaxDecision):
    """Weight the candidates by a draw from a Dirichlet distribution with learned concentrations.

    The gradient goes through the draw (pathwise derivatives). The draw stays until
    :meth:`resample`; before the first the mean is used. Where ``n`` candidates are taken the
    weights are ``n`` times the draw; where any subset may be taken, each candidate has a
    distribution of its own, over taking it and leaving it.

    Args: see :class:`.SoftmaxDecision`.

    Source: Chen et al., "DrNAS", arXiv:2006.10355, section 2.2.
    """

    def __init__(self, spec: ParameterSpec, *, seed: int = 0) -> None:
        super().__init__(spec, seed=seed)
        if spec.n_chosen is None:  # second column: leaving it out
            self.alpha = nn.Parameter(torch.stack([self.alpha.detach(), -self.alpha.detach()], 1))
        self._key: int | None = None

    def resample(self) -> None:
        """Draw anew; the mixture takes part as a whole, so there is no choice to report."""
        self._key = self.rng.getrandbits(63)

    def concentrations(self) -> Tensor:
        """Return the concentrations, ``elu(alpha) + 1``, all positive."""
        # Written out: adding 1 to an elu near -1 would lose all digits.
        return torch.where(self.alpha > 0, self.alpha + 1, self.alpha.clamp(max=0).exp())

    def sample(self) -> Tensor:
        """Return the present draw, shaped as the concentrations; the last axis sums to 1."""
        beta = self.concentrations()
        if self._key is None:
            return beta / beta.sum(-1, keepdim=True)
        # On the CPU from a key: the same on every process and device, and in every forward pass.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self._key)
            draw: Tensor = Dirichlet(beta.cpu()).rsample()
        return draw.to(beta.device)

    def mixture(self) -> list[Active]:
        if self.spec.size == 1:
            return super().mixture()
        weights = self._taken(self.sample()).unbind()
        return [Active(c, w) for c, w in zip(self.spec.candidates, weights, strict=True)]

    def probabilities(self) -> Tensor:
        beta = self.concentrations()
        return self._taken(beta / beta.sum(-1, keepdim=True))

    def _taken(self, shares: Tensor) -> Tensor:
        return shares[:, 0] if self.spec.n_chosen is None else self.spec.n_chosen * shares


class DistanceToUniform:
    """A penalty on how far the learned distributions are from the uniform one.

    Args:
        scale: factor.
        kind: ``"kl"``, the divergence from the Dirichlet distribution whose concentrations are
            all 1, or ``"l2"``, the squared distance of the concentrations from 1.
    """

    def __init__(self, scale: float, kind: Literal["kl", "l2"]) -> None:
        self.scale = scale
        self.kind = kind

    def __call__(self, decisions: DecisionTable) -> Tensor:
        """Return the term, a scalar."""
        learned = [d for d in decisions if isinstance(d, DirichletDecision) and d.spec.size > 1]
        terms = [self._distance(decision.concentrations()) for decision in learned]
        return self.scale * torch.stack(terms).sum() if terms else torch.zeros(())

    def _distance(self, beta: Tensor) -> Tensor:
        if self.kind == "l2":
            return (beta - 1).square().sum()
        distance: Tensor = kl_divergence(Dirichlet(beta), Dirichlet(torch.ones_like(beta)))
        return distance.sum()


class DrNas(Differentiable):
    """Learn distributions over the weights of candidates, kept near the uniform one.

    Args:
        model: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        mutation_hooks: see there.
        anchor: scale of the penalty on the distance from the uniform distribution.
        distance: ``"kl"`` or ``"l2"``; see :class:`DistanceToUniform`.
        arc_learning_rate: of the architecture parameters' Adam.
        betas: of that Adam.
        weight_decay: of that Adam.
        **options: see :class:`.Differentiable`.

    Raises:
        StrategyError: there is no ``arch_dataloader``, or an option is out of range.

    Source: Chen et al., "DrNAS", arXiv:2006.10355, section 2.2; without the progressive
    learning of its section 2.4.

    Exact: pathwise gradients of the draws, and the distance from the uniform distribution.
    """

    def __init__(
        self,
        model: LightningModule,
        mutation_hooks: Sequence[MutationHook] | None = None,
        *,
        anchor: float = 1e-3,
        distance: Literal["kl", "l2"] = "kl",
        arc_learning_rate: float = 6e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        weight_decay: float = 0.0,
        **options: Unpack[OtherOptions],
    ) -> None:
        if anchor < 0 or distance not in ("kl", "l2"):
            raise StrategyError(
                f"anchor={anchor}, distance={distance!r}",
                expected="0 or more, and 'kl' or 'l2'",
                fix="correct them",
            )
        super().__init__(
            model,
            mutation_hooks,
            arc_learning_rate=arc_learning_rate,
            betas=betas,
            weight_decay=weight_decay,
            **options,
        )
        if anchor:
            self.penalties.append(DistanceToUniform(anchor, distance))

    def make_decision(self, spec: ParameterSpec) -> Decision:
        return DirichletDecision(spec, seed=self.seed)
