"""Regularised evolution: what it proposes and what it learns from scores."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from torch import nn

from oneshot_core import Architecture, InputChoice, LayerChoice, ModelSpace, Repeat
from oneshot_core.errors import RankingError
from oneshot_plugins.search.evolution import evolution, mutate


def layers(n: int, label: str) -> LayerChoice:
    return LayerChoice([nn.Identity() for _ in range(n)], label=label)


def chain(length: int, width: int = 4) -> ModelSpace:
    return ModelSpace(nn.Sequential(*(layers(width, f"l{i}") for i in range(length))))


def nested() -> ModelSpace:
    inner = nn.Sequential(layers(3, "inner"), InputChoice(3, n_chosen=None, label="inputs"))
    outer = LayerChoice({"plain": nn.Identity(), "deep": inner}, label="outer")
    return ModelSpace(nn.Sequential(outer, Repeat(nn.Identity(), (0, 2), label="depth")))


def run(
    space: ModelSpace, score: Callable[[Architecture], float], **options: int
) -> list[tuple[Architecture, float]]:
    search = evolution(space, **options)  # type: ignore[arg-type]
    found: list[tuple[Architecture, float]] = []
    try:
        proposal = Architecture(next(search), space)
        while True:
            found.append((proposal, score(proposal)))
            proposal = Architecture(search.send(found[-1][1]), space)
    except StopIteration:
        return found


def zeros(architecture: Architecture) -> float:
    return float(sum(choice == "0" for choice in architecture.values()))


def test_no_architecture_is_proposed_twice_and_the_budget_is_kept() -> None:
    found = run(chain(5), zeros, budget=200, seed=0, population_size=20)
    assert len(found) == 200
    assert len({architecture for architecture, _ in found}) == 200


@pytest.mark.parametrize("space", [chain(2, 3), nested()], ids=["chain", "nested"])
def test_a_small_space_is_proposed_completely(space: ModelSpace) -> None:
    found = run(space, zeros, budget=10_000, seed=0, population_size=4)
    assert {a for a, _ in found} == {Architecture(a) for a in space.architectures()}


def test_it_finds_more_than_random_search_does_at_the_same_budget() -> None:
    """A smooth score over 4**12 networks, five seeds."""
    space = chain(12)
    for seed in range(5):
        best = max(score for _, score in run(space, zeros, budget=300, seed=seed))
        rng = random.Random(seed)
        best_random = max(zeros(Architecture(space.sample(rng))) for _ in range(300))
        assert best > best_random


def test_the_same_seed_proposes_the_same() -> None:
    first, second, other = (run(chain(4), zeros, budget=90, seed=s) for s in (1, 1, 2))
    assert first == second != other


def test_a_mutation_changes_one_choice_and_stays_in_the_space() -> None:
    space, rng = nested(), random.Random(0)
    for _ in range(200):
        parent = space.sample(rng)
        child = mutate(space, parent, rng)
        assert space.validate(child) == child != parent
        changed = [label for label in parent.keys() & child.keys() if parent[label] != child[label]]
        assert len(changed) == 1


def test_where_nothing_can_change_the_parent_is_returned() -> None:
    space = chain(2, width=1)
    parent = space.default()
    assert mutate(space, parent, random.Random(0)) == parent


@pytest.mark.parametrize("option", ["population_size", "tournament_size"])
def test_sizes_below_one_are_refused(option: str) -> None:
    with pytest.raises(RankingError, match=f"{option}=0"):
        run(chain(2), zeros, budget=3, seed=0, **{option: 0})
