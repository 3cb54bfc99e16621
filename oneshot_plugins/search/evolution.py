"""Regularised evolution over a model space too large to enumerate."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Generator, Mapping

from oneshot_core import Architecture, ModelSpace, ParameterSpec
from oneshot_core.errors import ArchitectureError, RankingError
from oneshot_core.space import Choice

TRIES = 100
"""Mutations in a row that may give nothing new before a random architecture is drawn."""


def evolution(
    space: ModelSpace,
    *,
    budget: int,
    seed: int,
    population_size: int = 50,
    tournament_size: int = 10,
) -> Generator[Mapping[str, Choice], float, None]:
    """Propose random architectures, then mutations of the best of random tournaments.

    A mutation changes one choice. Each architecture is proposed once; the oldest member of
    the population dies, however good it is.

    Args:
        space: what architectures can be proposed.
        budget: how many are proposed; fewer if the space holds fewer.
        seed: of all draws.
        population_size: how many live at a time; as many random ones come first.
        tournament_size: how many of them compete to be mutated.

    Raises:
        RankingError: a size is less than 1.

    Source: Real et al., "Regularized Evolution for Image Classifier Architecture Search",
    arXiv:1802.01548, algorithm 1.
    """
    if population_size < 1 or tournament_size < 1:
        raise RankingError(
            f"evolution got population_size={population_size}, tournament_size={tournament_size}",
            expected="1 or more of each",
            fix="correct them",
        )
    rng = random.Random(f"{seed}/evolution")
    population: deque[tuple[float, dict[str, Choice]]] = deque(maxlen=population_size)
    seen: set[Architecture] = set()
    for _ in range(min(budget, space.size)):
        parent = None
        if len(seen) >= population_size:
            size = min(tournament_size, len(population))
            parent = max(rng.sample(list(population), size), key=lambda member: member[0])[1]
        child = _new(space, parent, seen, rng)
        score = yield child
        population.append((score, child))


def _new(
    space: ModelSpace, parent: dict[str, Choice] | None, seen: set[Architecture], rng: random.Random
) -> dict[str, Choice]:
    """Return an architecture that was not seen: a mutation of ``parent``, else a random one."""
    for attempt in range(2 * TRIES):
        if parent is not None and attempt < TRIES:
            child = mutate(space, parent, rng)
        else:
            child = space.sample(rng)
        if Architecture(child) not in seen:
            break
    else:  # nearly everything is seen
        child = next(a for a in space.architectures() if Architecture(a) not in seen)
    seen.add(Architecture(child))
    return child


def mutate(
    space: ModelSpace, parent: Mapping[str, Choice], rng: random.Random
) -> dict[str, Choice]:
    """Return ``parent`` with one choice changed to another, and what that leaves open drawn.

    Where the change breaks a constraint, the other choices of that constraint are drawn anew.
    The parent itself if there is nothing to change.
    """
    changeable = [spec for spec in space.active(parent) if spec.size > 1]
    if not changeable:
        return dict(parent)
    spec = rng.choice(changeable)
    changed = {**parent, spec.label: _other(spec, parent[spec.label], rng)}
    if not space.possible(changed):
        bound = {
            label
            for constraint in space.constraints
            if spec.label in constraint.specs
            for label in constraint.specs
        }
        changed = {k: v for k, v in changed.items() if k == spec.label or k not in bound}
    try:
        return space.complete(changed, rng)
    except ArchitectureError:  # too much hangs together
        return dict(parent)


def _other(spec: ParameterSpec, current: Choice, rng: random.Random) -> Choice:
    if spec.interval is not None:
        return spec.draw(rng)
    return rng.choice([choice for choice in spec.choices() if choice != current])
