"""The most probable architectures, against enumerating and sorting all of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from oneshot_core.decision import DecisionTable
from oneshot_core.model_space import ModelSpace
from oneshot_core.space import InputChoice, LayerChoice, ParameterSpec, Repeat
from oneshot_plugins.ranking.top_k import most_probable
from oneshot_plugins.strategies.darts import SoftmaxDecision


def layers(label: str, *candidates: nn.Module) -> LayerChoice:
    return LayerChoice(list(candidates), label=label)


def independent() -> nn.Module:
    def choice(label: str) -> LayerChoice:
        return layers(label, nn.ReLU(), nn.Tanh(), nn.Identity())

    return nn.Sequential(choice("a"), choice("b"), choice("c"))


def conditional() -> nn.Module:
    """What is below a candidate decides nothing unless it is taken."""
    deep = layers("deep", layers("deepest", nn.ReLU(), nn.Tanh()), nn.Identity())
    return nn.Sequential(
        layers("top", nn.Sequential(deep, layers("beside", nn.ReLU(), nn.Tanh())), nn.Identity()),
        layers("other", nn.ReLU(), nn.Tanh(), nn.Identity()),
    )


def shared_below() -> nn.Module:
    """One label below two candidates, and by itself elsewhere."""

    def inner() -> LayerChoice:
        return layers("inner", nn.ReLU(), nn.Tanh())

    return nn.Sequential(
        layers("outer", inner(), inner(), nn.Identity()), Repeat(lambda index: inner(), (0, 2))
    )


def inputs() -> nn.Module:
    return nn.ModuleList(
        [
            InputChoice(4, n_chosen=2, label="two"),
            InputChoice(3, n_chosen=None, label="any"),
            layers("a", nn.ReLU(), nn.Tanh()),
        ]
    )


def table_of(space: ModelSpace, seed: int, scale: float) -> DecisionTable:
    table = DecisionTable(SoftmaxDecision)
    generator = torch.Generator().manual_seed(seed)
    for spec in space.specs.values():
        decision = table.decide(spec, path=spec.label)
        with torch.no_grad():
            size = (len(spec.candidates),)
            decision.alpha.copy_(scale * torch.randn(size, generator=generator))
    return table


def log_probability(chosen: dict[str, Any], table: DecisionTable, space: ModelSpace) -> float:
    """The sum over active labels, from the definition."""
    total = 0.0
    for spec in space.active(chosen):
        p = table[spec.label].probabilities().double()
        taken = [c in spec.members(chosen[spec.label]) for c in spec.candidates]
        for one, is_taken in zip(p.tolist(), taken, strict=True):
            if is_taken:
                total += math.log(one)
            elif spec.n_chosen is None:
                total += math.log(1 - one)
    return total


SPACES = [independent, conditional, shared_below, inputs]


@settings(deadline=None, max_examples=25)
@given(
    space=st.sampled_from(SPACES),
    seed=st.integers(0, 10_000),
    k=st.integers(1, 40),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
)
def test_the_best_are_those_of_all(space: Any, seed: int, k: int, scale: float) -> None:
    model = space()
    space = ModelSpace(model)
    table = table_of(space, seed, scale)
    everything = list(space.architectures())
    scores = sorted((log_probability(a, table, space) for a in everything), reverse=True)

    best = most_probable(space, table, k)

    assert len(best) == min(k, len(everything))
    found = [log_probability(a, table, space) for a in best]
    assert found == pytest.approx(scores[:k], abs=1e-5)
    assert len({tuple(sorted(a.items())) for a in best}) == len(best)
    assert all(space.validate(a) == a for a in best)


@settings(deadline=None, max_examples=25)
@given(space=st.sampled_from(SPACES), seed=st.integers(0, 10_000))
def test_relative_to_each_labels_best_the_first_is_what_every_label_prefers(
    space: Any, seed: int
) -> None:
    """A candidate that holds an undecided choice is not worth less for it."""
    model = space()
    space = ModelSpace(model)
    table = table_of(space, seed, 1.0)

    def relative(chosen: dict[str, Any]) -> float:
        best = {s.label: table[s.label].best() for s in space.active(chosen)}
        scores = [
            log_probability_of(table[label], chosen[label])
            - log_probability_of(table[label], best[label])
            for label in best
        ]
        return math.fsum(scores)

    ranked = most_probable(space, table, 40, relative=True)

    assert ranked[0] == space.reduce({d.spec.label: d.best() for d in table})
    expected = sorted((relative(a) for a in space.architectures()), reverse=True)[:40]
    assert [relative(a) for a in ranked] == pytest.approx(expected, abs=1e-5)


def log_probability_of(decision: Any, choice: Any) -> float:
    return dict(decision.top_k(decision.spec.size))[choice]


def test_asking_for_all_gives_all() -> None:
    space = ModelSpace(conditional())

    best = most_probable(space, table_of(space, 0, 1.0), 10_000)

    assert len(best) == len(space)


def test_of_equals_the_first_choices_come_first() -> None:
    space = ModelSpace(independent())

    (best,) = most_probable(space, table_of(space, 0, 0.0), 1)

    assert best == {"a": "0", "b": "0", "c": "0"}


def test_large_space_is_searched_without_listing_it() -> None:
    """3 to the power of 40 architectures."""
    model = nn.Sequential(
        *[layers(f"{i:02}", nn.ReLU(), nn.Tanh(), nn.Identity()) for i in range(40)]
    )
    space = ModelSpace(model)
    table = table_of(space, 1, 1.0)

    best = most_probable(space, table, 20)

    scores = [log_probability(a, table, space) for a in best]
    assert scores == sorted(scores, reverse=True)
    assert best[0] == {d.spec.label: d.best() for d in table}


def test_model_without_choices_has_one_architecture() -> None:
    assert most_probable(ModelSpace(nn.ReLU()), DecisionTable(SoftmaxDecision), 3) == [{}]


@pytest.mark.parametrize("k", [0, -1])
def test_less_than_one_is_refused(k: int) -> None:
    space = ModelSpace(independent())

    with pytest.raises(ValueError, match="k >= 1"):
        most_probable(space, table_of(space, 0, 1.0), k)


def test_spec_of_one_candidate_adds_nothing() -> None:
    space = ModelSpace(nn.Sequential(layers("one", nn.ReLU()), layers("a", nn.ReLU(), nn.Tanh())))

    best = most_probable(space, table_of(space, 3, 1.0), 5)

    assert len(best) == 2
    assert space.specs["one"] == ParameterSpec("one", ("0",))
