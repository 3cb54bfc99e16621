"""What several decisions take together, for a module that depends on all of them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

from torch import Tensor

from oneshot_core.decision import Decision
from oneshot_core.space import Choice


def joint(decisions: Iterable[Decision]) -> list[tuple[dict[str, Choice], Tensor | None]]:
    """Return the combinations of choices that take part, each with its weight.

    For a module that depends on several decisions. Weights multiply, since decisions are
    independent; None where no decision weights anything. A decision that takes several candidates
    at once gives one choice, and must not superpose.
    """
    combinations: list[tuple[dict[str, Choice], Tensor | None]] = [({}, None)]
    for decision in decisions:
        combinations = [
            ({**chosen, decision.spec.label: choice}, times(weight, own))
            for chosen, weight in combinations
            for choice, own in _choices(decision)
        ]
    return combinations


def _choices(decision: Decision) -> list[tuple[Choice, Tensor | None]]:
    active = decision.active()
    if decision.spec.n_chosen == 1:
        return [(a.candidate, a.weight) for a in active]
    weight = reduce(times, (a.weight for a in active), None)
    return [(decision.spec.normalise([a.candidate for a in active]), weight)]


def times(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Multiply two weights; None is "as it is"."""
    if one is None or other is None:
        return other if one is None else one
    return one * other
