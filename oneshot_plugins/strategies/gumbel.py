"""Draw relaxed architectures by the Gumbel-softmax, hard or soft, and learn from which."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytorch_lightning import LightningModule
from torch import Tensor

from oneshot_core import Active, Decision, MutationHook, ParameterSpec
from oneshot_core.space import Choice

from .darts import SoftmaxDecision
from .differentiable import Differentiable, DifferentiableOptions
from .schedules import Schedule, schedule_of

if TYPE_CHECKING:
    from typing_extensions import Unpack


class GumbelDecision(SoftmaxDecision):
    """Weight the candidates by the softmax of learned scores with Gumbel noise.

    The noise stays until :meth:`resample` draws anew, from :attr:`rng`; before the first draw
    there is none. Where ``n`` candidates are taken, the weights are ``n`` times that softmax;
    where any subset may be taken, each candidate has a relaxed Bernoulli variable of its own.

    Args:
        spec: what can be chosen.
        seed: of the initial scores, together with the label.
        hard: whether the weights are 0 and 1, with the gradient of the soft ones
            (straight-through).

    Attributes:
        temperature: of the softmax; the noisy scores are divided by it.

    Source: Jang et al., "Categorical Reparameterization with Gumbel-Softmax",
    arXiv:1611.01144, equations 1 and 2.
    """

    def __init__(self, spec: ParameterSpec, *, seed: int = 0, hard: bool = False) -> None:
        super().__init__(spec, seed=seed)
        self.hard = hard
        self.temperature = 1.0
        self._noise: list[float] | None = None
        self._taken = spec.default

    def resample(self) -> Choice:
        draw = _gumbel if self.spec.n_chosen is not None else _logistic
        self._noise = [draw(self.rng) for _ in self.spec.candidates]
        self._taken = self._largest()
        return self._taken

    def adopt(self, choice: Choice) -> None:
        self._taken = choice

    @property
    def taken(self) -> Choice:
        """The choice that was drawn: the largest noisy scores."""
        return self._taken

    def scores(self) -> Tensor:
        """Return the learned scores with the present noise, shape ``(n_candidates,)``."""
        if self._noise is None:
            return self.alpha
        return self.alpha + self.alpha.new_tensor(self._noise)

    def soft(self) -> Tensor:
        """Return the relaxed draw, shape ``(n_candidates,)``."""
        scaled = self.scores() / self.temperature
        if self.spec.n_chosen is None:
            return scaled.sigmoid()
        return self.spec.n_chosen * scaled.softmax(0)

    def straight_through(self) -> Tensor:
        """Return exactly 1 for what is taken and 0 for the rest, with the gradient of the soft."""
        members = self.spec.members(self._taken)
        soft = self.soft()
        hard = soft.new_tensor([float(c in members) for c in self.spec.candidates])
        return hard + (soft - soft.detach())

    def mixture(self) -> list[Active]:
        if self.spec.size == 1:  # nothing to weight: compute it as it is
            return [Active(candidate) for candidate in self.spec.members(self.spec.default)]
        weights = self.straight_through() if self.hard else self.soft()
        return [Active(c, w) for c, w in zip(self.spec.candidates, weights.unbind(), strict=True)]

    def _largest(self) -> Choice:
        scores = self.scores().detach().tolist()
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        n = self.spec.n_chosen
        if n is None:  # those that are on; the nearest to it if none is
            n = max(1, sum(score > 0 for score in scores))
        return self.spec.normalise([self.spec.candidates[i] for i in order[:n]])


class GumbelDarts(Differentiable):
    """Learn the architecture from relaxed draws, on data of its own.

    Both steps of a batch draw anew. Validation batches are computed with draws of their own.

    Args:
        model: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        mutation_hooks: see there.
        temperature: of the softmax, fixed or scheduled.
        hard: whether weights are 0 and 1 in the forward pass; all candidates run anyway.
        **options: see :class:`.Differentiable`.

    Raises:
        StrategyError: there is no ``arch_dataloader``, or an option is out of range.

    Source: Jang et al., arXiv:1611.01144, with the alternating steps of "DARTS".

    Exact: the gradient through the relaxed draw, at the scheduled temperature.
    """

    def __init__(
        self,
        model: LightningModule,
        mutation_hooks: Sequence[MutationHook] | None = None,
        *,
        temperature: Schedule | float = Schedule(1.0, 0.1, "exponential"),  # noqa: B008
        hard: bool = False,
        **options: Unpack[DifferentiableOptions],
    ) -> None:
        super().__init__(model, mutation_hooks, **options)
        self.temperature = schedule_of(temperature, "temperature", positive=True)
        self.hard = hard

    def make_decision(self, spec: ParameterSpec) -> Decision:
        decision = GumbelDecision(spec, seed=self.seed, hard=self.hard)
        decision.temperature = self.temperature.start
        return decision

    def schedules(self) -> dict[str, Schedule]:
        return {**super().schedules(), "temperature": self.temperature}


class Snas(GumbelDarts):
    """Learn weights and architecture on the same batches, from relaxed draws.

    Each training batch first trains the architecture, then the weights; in the paper both
    follow one gradient at once. With an ``arch_dataloader`` the architecture gets batches of
    its own, as :class:`GumbelDarts`.

    Args: see :class:`GumbelDarts`.

    Source: Xie et al., "SNAS", arXiv:1812.09926, section 2.2: the concrete distribution, and
    one objective for weights and architecture.

    Exact: the gradient through the draw of the training batch. Weights and architecture are stepped
    one after the other, in the paper at once.
    """

    needs_arch_dataloader = False


def _uniform(rng: random.Random) -> float:
    """Return a number strictly between 0 and 1."""
    return (rng.getrandbits(52) + 0.5) / 2**52


def _gumbel(rng: random.Random) -> float:
    return -math.log(-math.log(_uniform(rng)))


def _logistic(rng: random.Random) -> float:
    u = _uniform(rng)
    return math.log(u) - math.log1p(-u)


__all__ = ["GumbelDarts", "GumbelDecision", "Snas"]
