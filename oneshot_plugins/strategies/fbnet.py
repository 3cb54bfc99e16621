"""Put the cost of the architecture into its loss: FBNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytorch_lightning import LightningModule
from torch import Tensor

from oneshot_core import MutationHook
from oneshot_core.errors import StrategyError
from oneshot_core.space import Candidate

from ..costs.named import NamedCost, prepare_costs
from ..costs.table import CostTable
from .differentiable import OtherOptions
from .gumbel import GumbelDarts
from .penalties import AdditiveCost, Penalty, check_penalties, cost_function
from .schedules import Schedule

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Fbnet(GumbelDarts):
    """Learn from relaxed draws, with a loss that is multiplied by a power of the log of a cost.

    The architecture's loss is ``loss * alpha * log(cost) ** beta`` with the cost of the current
    draw. For a term that is added instead, use ``penalties`` with any differentiable strategy.

    Args:
        model: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        mutation_hooks: see there.
        cost: label -> candidate -> cost, such as a measured latency; the name of an installed
            cost, the file of a table, a :class:`.NamedCost` or :class:`.CostTable`, of which the
            current draw counts; or a function of the decisions. The cost of every draw must be
            greater than 1 in the unit that is used, or its logarithm is not positive.
        alpha: factor.
        beta: exponent.
        temperature: see :class:`.GumbelDarts`.
        arc_learning_rate: of the architecture parameters' Adam.
        betas: of that Adam.
        weight_decay: of that Adam.
        **options: see :class:`.Differentiable`.

    Raises:
        StrategyError: there is no ``arch_dataloader``, or an option is out of range.

    Source: Wu et al., "FBNet", arXiv:1812.03443: the loss of section 3 (constants 0.2 and 0.6),
    the latency of section 3.2 and the sampling of section 3.3.

    Exact: the loss with the cost of the current draw, and its gradient.
    """

    def __init__(
        self,
        model: LightningModule,
        mutation_hooks: Sequence[MutationHook] | None = None,
        *,
        cost: NamedCost | Mapping[str, Mapping[Candidate, float]] | Penalty | str,
        alpha: float = 0.2,
        beta: float = 0.6,
        temperature: Schedule | float = Schedule(5.0, 0.1, "exponential"),  # noqa: B008
        arc_learning_rate: float = 0.01,
        betas: tuple[float, float] = (0.5, 0.999),
        weight_decay: float = 5e-4,
        **options: Unpack[OtherOptions],
    ) -> None:
        super().__init__(
            model,
            mutation_hooks,
            temperature=temperature,
            arc_learning_rate=arc_learning_rate,
            betas=betas,
            weight_decay=weight_decay,
            **options,
        )
        if alpha <= 0 or beta < 0:
            raise StrategyError(
                f"alpha={alpha}, beta={beta}",
                expected="alpha greater than 0, beta 0 or more",
                fix="correct them",
            )
        self.cost = _of_the_draw(cost)
        self.cost_factor = alpha
        self.cost_exponent = beta

    def weigh_loss(self, loss: Tensor) -> Tensor:
        cost = self.cost(self.decisions)
        if not (cost > 1).all():
            raise StrategyError(
                f"the cost of a draw is {float(cost.detach())}; its logarithm is not positive",
                expected="costs greater than 1",
                fix="use a smaller unit, such as microseconds",
            )
        return loss * self.cost_factor * cost.log() ** self.cost_exponent

    def prepare_costs(self) -> None:
        super().prepare_costs()
        prepare_costs([self.cost], self)

    def check_fit(self) -> None:
        super().check_fit()
        check_penalties([self.cost], self.space)


def _of_the_draw(cost: Mapping[str, Mapping[Candidate, float]] | Penalty | str) -> Penalty:
    """Return a function of the decisions: the cost of what they have drawn, where it is known."""
    if isinstance(cost, Mapping):
        return AdditiveCost(cost, of="sample")
    function = cost_function(cost)
    return function.sampled if isinstance(function, (CostTable, NamedCost)) else function
