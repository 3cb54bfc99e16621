"""Differentiable terms that are added to the architecture's loss.

A penalty is any function of the search's decisions that returns a scalar with a gradient to the
architecture parameters: ask ``decision.probabilities()``, never ``export_probs()``, whose
numbers have none. Where it has attributes that are :class:`.NamedCost`, their tables are built
before training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor

from oneshot_core import Decision, DecisionTable, ModelSpace, registry
from oneshot_core.errors import StrategyError
from oneshot_core.space import Candidate

from ..costs.named import NamedCost

Penalty: TypeAlias = Callable[[DecisionTable], Tensor]
Form: TypeAlias = Callable[[Tensor, float], Tensor]


def linear(cost: Tensor, target: float) -> Tensor:
    """Return ``cost / target - 1``: always smaller is better."""
    return cost / target - 1


def hinge(cost: Tensor, target: float) -> Tensor:
    """Return ``max(0, cost / target - 1)``: below the target nothing is gained."""
    return torch.relu(cost / target - 1)


def log_ratio(cost: Tensor, target: float) -> Tensor:
    """Return ``log(cost / target)``: halving counts the same everywhere."""
    return (cost / target).log()


FORMS: Final[Mapping[str, Form]] = {"linear": linear, "hinge": hinge, "log_ratio": log_ratio}


@dataclass(frozen=True)
class AdditiveCost:
    """The cost of an architecture as the sum of what its candidates cost.

    Called with decisions it returns the expectation, differentiable in the architecture
    parameters: the sum of costs, each times how much its candidate counts.

    Args:
        table: label -> candidate -> cost, in any unit. Labels left out cost nothing.
        of: what counts: ``"probabilities"``, or ``"sample"`` for the weights of the current
            draw, whose expectation it then is.

    Raises:
        StrategyError: ``of`` is neither.

    Source: Wu et al., "FBNet", arXiv:1812.03443, section 3.2, the latency as a sum over layers
    and blocks.
    """

    table: Mapping[str, Mapping[Candidate, float]]
    of: Literal["probabilities", "sample"] = "probabilities"

    def __post_init__(self) -> None:
        if self.of not in ("probabilities", "sample"):
            raise StrategyError(
                f"AdditiveCost got of={self.of!r}",
                expected="'probabilities' or 'sample'",
                fix="correct it",
            )

    def __call__(self, decisions: DecisionTable) -> Tensor:
        """Return the expected cost, a scalar in the unit of the table."""
        terms = [
            weight * float(self.table[label][candidate])
            for label in self.table
            for candidate, weight in self._weights(decisions[label])
        ]
        return torch.stack(terms).sum()

    def _weights(self, decision: Decision) -> Iterable[tuple[Candidate, Tensor]]:
        if self.of == "probabilities":
            return zip(decision.spec.candidates, decision.probabilities(), strict=True)
        like = decision.probabilities()
        return [
            (active.candidate, like.new_ones(()) if active.weight is None else active.weight)
            for active in decision.mixture()
        ]

    def check(self, space: ModelSpace) -> None:
        """Refuse a table that does not fit a model space.

        Raises:
            StrategyError: a label or candidate is not known, or a label decides something only
                where another is chosen, which a sum cannot say.
        """
        always = {spec.label for spec in space.active({})}
        for label, costs in self.table.items():
            spec = space.specs.get(label)
            known = {name: list(space.specs[name].candidates) for name in sorted(always)}
            if spec is None or set(costs) != set(spec.candidates) or label not in always:
                raise StrategyError(
                    f"the cost table has {label!r} with the candidates {list(costs)}",
                    expected="labels that count whatever else is chosen, with all their "
                    f"candidates: {known}",
                    fix="correct the table; for nested choices write a penalty of your own",
                )
        if not self.table:
            raise StrategyError(
                "the cost table is empty",
                expected="{label: {candidate: cost}}",
                fix="fill it, or leave the penalty out",
            )


@dataclass(frozen=True)
class CostPenalty:
    """A cost that is compared with a target.

    Args:
        cost: what is kept near the target: the name of an installed cost such as ``"macs"``, the
            file of a table (``"macs.json"``), a :class:`.NamedCost` where that needs inputs or a
            device, or a differentiable function of the decisions.
        target: what the cost should be, in its unit.
        scale: factor of the term.
        form: ``"linear"``, ``"hinge"`` or ``"log_ratio"``; see the functions of these names.

    Raises:
        StrategyError: an argument is out of range.
    """

    cost: NamedCost | Penalty | str
    target: float
    scale: float = 1.0
    form: Literal["linear", "hinge", "log_ratio"] = "linear"
    function: Penalty = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", cost_function(self.cost))
        if self.form not in FORMS or self.target <= 0:
            raise StrategyError(
                f"CostPenalty got target={self.target}, form={self.form!r}",
                expected=f"a target greater than 0, and one of {list(FORMS)}",
                fix="correct them",
            )

    def __call__(self, decisions: DecisionTable) -> Tensor:
        """Return the term, a scalar."""
        return self.scale * FORMS[self.form](self.function(decisions), self.target)

    def check(self, space: ModelSpace) -> None:
        """Check the cost, if it can be checked.

        Raises:
            StrategyError: it does not fit the model space.
        """
        check_penalties([self.function], space)


def cost_function(cost: Penalty | str) -> Penalty:
    """Return ``cost``, or the :class:`.NamedCost` that it is the name of.

    Raises:
        StrategyError: it is the name of no cost, and no file of a table.
    """
    if not isinstance(cost, str):
        return cost
    if not cost.endswith(".json") and f"cost:{cost}" not in registry:
        raise StrategyError(
            f"the cost is {cost!r}",
            expected=f"one of {', '.join(registry.names('cost'))}; the file of a table, such as "
            "macs.json; or a function of the decisions that can be imported",
            fix="correct the name; see `oneshot plugins list --kind cost`",
        )
    return NamedCost(cost)


def check_penalties(penalties: Iterable[Penalty], space: ModelSpace) -> None:
    """Call ``check(space)`` of all penalties that have it, or that are methods of what has it.

    Raises:
        StrategyError: one does not fit the model space.
    """
    for penalty in penalties:
        check = getattr(getattr(penalty, "__self__", penalty), "check", None)
        if callable(check):
            check(space)


__all__ = [
    "AdditiveCost",
    "CostPenalty",
    "Penalty",
    "check_penalties",
    "cost_function",
    "hinge",
    "linear",
    "log_ratio",
]
