"""The most probable architectures of a space whose labels decide independently."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from itertools import count

from oneshot_core import BaseOneShotLightningModule
from oneshot_core.decision import DecisionTable
from oneshot_core.model_space import ModelSpace
from oneshot_core.space import Choice

ALL_CHOICES = 1024
"""A label with more choices than this contributes its best only."""


def top_k(
    search: BaseOneShotLightningModule, k: int, fixed: Mapping[str, Choice] | None = None
) -> list[dict[str, Choice]]:
    """Return the ``k`` architectures that a search prefers; see its method ``top_k``.

    Args:
        search: its decisions say how probable each choice is.
        k: how many, at least 1.
        fixed: only architectures with these choices count, where those decide something.

    Raises:
        ValueError: ``k`` is less than 1.
    """
    return most_probable(search.space, search.decisions, k, relative=True, fixed=fixed)


def most_probable(
    space: ModelSpace,
    decisions: DecisionTable,
    k: int,
    *,
    relative: bool = False,
    fixed: Mapping[str, Choice] | None = None,
) -> list[dict[str, Choice]]:
    """Return the ``k`` architectures with the largest product of probabilities, best first.

    With ``relative``, each probability is divided by that of the best choice under its label. A
    candidate is then not worth less for holding choices that have to be made, too, and the
    first architecture is the one of which every label prefers its part.

    Best-first search over partial architectures: what a partial one can still reach is bounded
    by the best choice of every label that is active already, so the first that is complete is
    the best that is left. Exact; only the active labels of an architecture count.

    Only architectures with the choices of ``fixed`` count, where those decide something.

    Raises:
        ValueError: ``k`` is less than 1.
    """
    if k < 1:
        raise ValueError(f"top_k needs k >= 1, got {k}")
    ranked = {d.spec.label: d.top_k(min(d.spec.size, max(k, ALL_CHOICES))) for d in decisions}
    if relative:
        ranked = {
            label: [(choice, score - choices[0][1]) for choice, score in choices]
            for label, choices in ranked.items()
        }
    ranked |= {label: [(choice, 0.0)] for label, choice in (fixed or {}).items()}
    serial = count()

    def entry(
        chosen: dict[str, Choice], score: float
    ) -> tuple[float, int, int, float, Mapping[str, Choice]]:
        reachable = sum(
            ranked[s.label][0][1] for s in space.active(chosen) if s.label not in chosen
        )
        # Of equals the one that is nearest to completion goes first.
        return -(score + reachable), -len(chosen), next(serial), score, chosen

    queue = [entry({}, 0.0)]
    found: list[dict[str, Choice]] = []
    while queue and len(found) < k:
        _, _, _, score, chosen = heapq.heappop(queue)
        undecided = next((s for s in space.active(chosen) if s.label not in chosen), None)
        if undecided is None:
            found.append(dict(chosen))
            continue
        for choice, log_probability in ranked[undecided.label]:
            further = {**chosen, undecided.label: choice}
            if space.possible(further):
                heapq.heappush(queue, entry(further, score + log_probability))
    return found
