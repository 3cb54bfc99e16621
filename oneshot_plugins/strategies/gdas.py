"""Evaluate one drawn path only, and learn from it by the Gumbel-softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytorch_lightning import LightningModule

from oneshot_core import Active, Decision, MutationHook, ParameterSpec

from .differentiable import Differentiable, DifferentiableOptions
from .gumbel import GumbelDecision
from .schedules import Schedule, schedule_of

if TYPE_CHECKING:
    from typing_extensions import Unpack


class GdasDecision(GumbelDecision):
    """Run what was drawn, with a weight of exactly 1 and the gradient of the relaxed draw.

    Other candidates are not run, so the gradient lacks their part, as in the paper.

    Args: see :class:`.GumbelDecision`.

    Source: Dong and Yang, "Searching for a Robust Neural Architecture in Four GPU Hours",
    arXiv:1910.04465, section 3.2: forward by the arg max, backward by the softmax.
    """

    @property
    def superposes(self) -> bool:
        return False

    def mixture(self) -> list[Active]:
        members = self.spec.members(self.taken)
        if not self.alpha.requires_grad or self.spec.size == 1:
            return [Active(candidate) for candidate in members]
        weights = dict(zip(self.spec.candidates, self.straight_through().unbind(), strict=True))
        return [Active(candidate, weights[candidate]) for candidate in members]


class Gdas(Differentiable):
    """Train and learn from one drawn path at a time.

    Args:
        model: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        mutation_hooks: see there.
        temperature: of the softmax that gives the gradient; the paper goes from 10 to 0.1.
        **options: see :class:`.Differentiable`.

    Raises:
        StrategyError: there is no ``arch_dataloader``, or an option is out of range.

    Source: Dong and Yang, arXiv:1910.04465, section 3.2; temperatures of its section 4.

    Exact: weights of 1, and the gradient of the relaxed draw at the drawn index; those at other
    indices are left out, as in the paper.
    """

    def __init__(
        self,
        model: LightningModule,
        mutation_hooks: Sequence[MutationHook] | None = None,
        *,
        temperature: Schedule | float = Schedule(10.0, 0.1, "linear"),  # noqa: B008
        **options: Unpack[DifferentiableOptions],
    ) -> None:
        super().__init__(model, mutation_hooks, **options)
        self.temperature = schedule_of(temperature, "temperature", positive=True)

    def make_decision(self, spec: ParameterSpec) -> Decision:
        decision = GdasDecision(spec, seed=self.seed)
        decision.temperature = self.temperature.start
        return decision

    def schedules(self) -> dict[str, Schedule]:
        return {**super().schedules(), "temperature": self.temperature}
