"""NSGA-II and TPE: valid, repeatable, better than chance, and shared through a storage."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import oneshot_core as oneshot
from oneshot_core import Architecture, InputChoice, LayerChoice, ModelSpace, Repeat
from oneshot_core.errors import PluginLoadError, RankingError
from oneshot_core.searching import Outcome
from oneshot_plugins.search import with_optuna
from oneshot_plugins.search.with_optuna import nsga2, tpe

both = pytest.mark.parametrize("searcher", [nsga2, tpe], ids=lambda s: s.__name__)


def layers(n: int, label: str) -> LayerChoice:
    return LayerChoice([nn.Identity() for _ in range(n)], label=label)


def chain(length: int, width: int = 4) -> ModelSpace:
    return ModelSpace(nn.Sequential(*(layers(width, f"l{i}") for i in range(length))))


def nested() -> ModelSpace:
    inner = nn.Sequential(
        layers(2, "inner"),
        InputChoice(2, n_chosen=None, label="any"),
        InputChoice(3, n_chosen=2, label="two"),
    )
    outer = LayerChoice({"plain": nn.Identity(), "deep": inner}, label="outer")
    return ModelSpace(nn.Sequential(outer, Repeat(nn.Identity(), (0, 2), label="depth")))


def run(
    searcher: Any, space: ModelSpace, tell: Callable[[Architecture], Any], **options: Any
) -> list[tuple[Architecture, Any]]:
    search = searcher(space, **options)
    found: list[tuple[Architecture, Any]] = []
    try:
        proposal = Architecture(next(search), space)  # validates it
        while True:
            found.append((proposal, tell(proposal)))
            proposal = Architecture(search.send(found[-1][1]), space)
    except StopIteration:
        return found


def count(architecture: Architecture, choice: str) -> float:
    return float(sum(c == choice for c in architecture.values()))


def two(architecture: Architecture) -> Outcome:
    """As many zeros and as many ones as possible: the more of these, the fewer of those."""
    return Outcome((count(architecture, "0"), count(architecture, "1")), ())


@both
def test_a_small_space_is_proposed_completely_and_each_architecture_once(searcher: Any) -> None:
    space = nested()
    found = [a for a, _ in run(searcher, space, lambda a: 0.0, budget=10_000, seed=0)]
    assert len(found) == space.size
    assert set(found) == {Architecture(a) for a in space.architectures()}


@both
def test_without_a_storage_the_seed_and_the_scores_decide(searcher: Any) -> None:
    first, second, other = (
        run(searcher, chain(5), two, budget=40, seed=s, objectives=2) for s in (1, 1, 2)
    )
    assert first == second != other


@pytest.mark.slow
@both
def test_one_score_is_made_larger_than_by_chance(searcher: Any) -> None:
    space = chain(12)
    sizes = {"population_size": 15} if searcher is nsga2 else {}
    for seed in range(2):
        found = run(searcher, space, lambda a: count(a, "0"), budget=150, seed=seed, **sizes)
        rng = random.Random(seed)
        chance = max(count(Architecture(space.sample(rng)), "0") for _ in range(150))
        assert max(score for _, score in found) > chance


def test_nsga2_dominates_more_than_random_search_of_equal_budget() -> None:
    """The area below the front, for each of three seeds."""
    space = chain(16)
    for seed in range(3):
        found = [a for a, _ in run(nsga2, space, two, budget=300, seed=seed, objectives=2, **SMALL)]
        rng = random.Random(seed)
        drawn = [Architecture(space.sample(rng)) for _ in range(300)]
        assert area(found) > area(drawn)


SMALL: Any = {"population_size": 20}


def area(architectures: list[Architecture]) -> float:
    """Return the hypervolume of zeros and ones, by counting unit squares."""
    points = [two(a).values for a in architectures]
    squares = [(x, y) for x in range(1, 17) for y in range(1, 17)]
    return sum(any(p[0] >= x and p[1] >= y for p in points) for x, y in squares)


@pytest.mark.slow
@both
def test_architectures_that_keep_constraints_are_preferred(searcher: Any) -> None:
    """At most 2 zeros, though zeros are wanted: more than by chance of the last keep to it."""

    def tell(architecture: Architecture) -> Outcome:
        zeros = count(architecture, "0")
        return Outcome((zeros,), (max(0.0, zeros - 2),))

    def late(tell: Any) -> float:
        found = run(searcher, chain(10), tell, budget=160, seed=0, objectives=1, **sizes)
        return sum(count(a, "0") <= 2 for a, _ in found[-60:]) / 60

    sizes = {"population_size": 20} if searcher is nsga2 else {}
    assert late(tell) > late(lambda a: Outcome((count(a, "0"),), ())) + 0.3


@both
def test_constraints_of_the_space_hold_in_every_proposal(searcher: Any) -> None:
    a, b = oneshot.choice([1, 2, 3, 4], label="a"), oneshot.choice([1, 2, 3, 4], label="b")
    free = oneshot.uniform(0.0, 1.0, label="free")
    model = nn.Sequential(
        oneshot.nn.Linear(4, a), oneshot.nn.Linear(a, b), oneshot.nn.Dropout(free)
    )
    oneshot.constrain(model, a + b == 5)
    space = ModelSpace(model)
    found = [x for x, _ in run(searcher, space, lambda x: float(x["a"]), budget=30, seed=0)]
    assert len(set(found)) == 30
    assert all(x["a"] + x["b"] == 5 and 0 <= x["free"] <= 1 for x in found)


@both
@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_scores_that_are_no_numbers_teach_nothing_and_stop_nothing(
    searcher: Any, bad: float
) -> None:
    def tell(architecture: Architecture) -> float:
        return bad if architecture["l0"] == "0" else 1.0

    assert len(run(searcher, chain(4), tell, budget=30, seed=0)) == 30


@both
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_storage_is_shared_and_gone_on_with(searcher: Any, kind: str, tmp_path: Path) -> None:
    """Two searches in turns stay within one budget; a third learns what there is."""
    path = tmp_path / "study"
    storage = f"sqlite:///{path}.db" if kind == "sqlite" else f"{path}.journal"
    options: Any = {"budget": 12, "seed": 0, "objectives": 2, "storage": storage}
    space = chain(4)
    one, other = searcher(space, **options), searcher(space, **options)
    asked = [Architecture(next(one)), Architecture(next(other))]
    for search in (one, other) * 3:
        asked.append(Architecture(search.send(two(asked[-2]))))
    one.close()  # killed with a question open
    rest = run(searcher, space, two, **options)
    told = asked[:-2]
    assert [a for a, _ in rest][: len(set(told))] == list(dict.fromkeys(told))
    assert len({a for a, _ in rest}) == len(rest) == 12


def test_a_storage_of_another_number_of_objectives_is_refused(tmp_path: Path) -> None:
    options: Any = {"budget": 3, "seed": 0, "storage": str(tmp_path / "study.journal")}
    run(nsga2, chain(4), two, objectives=2, **options)
    with pytest.raises(RankingError, match="about 2 objectives"):
        run(nsga2, chain(4), lambda a: 0.0, **options)


@pytest.mark.parametrize(
    ("searcher", "option"), [(nsga2, {"population_size": 1}), (tpe, {"n_startup": 0})]
)
def test_sizes_that_are_too_small_are_refused_at_once(searcher: Any, option: Any) -> None:
    with pytest.raises(RankingError, match=f"{next(iter(option))}="):
        searcher(chain(2), budget=3, seed=0, **option)


@both
def test_without_optuna_the_extra_is_named_at_once(
    searcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(with_optuna, "find_spec", lambda name: None)
    with pytest.raises(PluginLoadError, match=r"oneshot-core\[search\]"):
        searcher(chain(2), budget=3, seed=0)
