"""Conditions between choices: attached to a module, kept by whatever comes out of its space."""

from __future__ import annotations

import copy
import inspect
import itertools
import pickle
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import oneshot_core as oneshot
from oneshot_core import Architecture, ModelSpace, choice, constrain, freeze
from oneshot_core import nn as onn
from oneshot_core.errors import ArchitectureError, SpaceError
from oneshot_core.space import LayerChoice, constraints_of, loguniform, uniform

A, B, C = (choice([1, 2, 3], label=label) for label in "abc")


class Chain(nn.Module):
    """Three layers whose widths must not shrink."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            onn.Linear(4, A), nn.ReLU(), onn.Linear(A, B), nn.ReLU(), onn.Linear(B, C)
        )
        self.head = onn.Linear(C, 2)
        constrain(self, A <= B, B <= C)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x))


class Net(pl.LightningModule):
    def __init__(self, net: Callable[[], nn.Module] = Chain) -> None:
        super().__init__()
        self.net = net()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.net(batch).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("size", self.net(batch).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def data() -> DataLoader[Tensor]:
    return DataLoader(torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), 4)  # type: ignore[arg-type]


def rising() -> set[tuple[int, ...]]:
    return {c for c in itertools.product([1, 2, 3], repeat=3) if c[0] <= c[1] <= c[2]}


def widths(architecture: Any) -> tuple[int, ...]:
    return tuple(architecture[label] for label in "abc")


def two_layers(*conditions: Any) -> nn.Module:
    model = nn.Sequential(onn.Linear(2, A), onn.Linear(A, B), onn.Linear(B, 1))
    constrain(model, *conditions)
    return model


def test_a_space_holds_what_keeps_all_conditions_and_nothing_else() -> None:
    space = ModelSpace(Chain())
    assert {widths(a) for a in space.architectures()} == rising()
    assert space.size == len(rising()) == 10
    assert [repr(c) for c in space.constraints] == ["(a <= b)", "(b <= c)"]


def test_conditions_may_be_attached_to_any_part_and_add_up() -> None:
    model = nn.Sequential(two_layers(A <= B), nn.Sequential())
    constrain(model, A != 2)
    constrain(model, B != 3)
    constrain(model[1], A <= B)  # known already: it counts once
    assert [repr(c) for c in constraints_of(model)] == [
        "(a != 2)",
        "(b != 3)",
        "(a <= b)",
        "(a <= b)",
    ]
    space = ModelSpace(model)
    assert len(space.constraints) == 3
    assert {(x["a"], x["b"]) for x in space.architectures()} == {(1, 1), (1, 2)}


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param(True, id="plain-truth"),
        pytest.param(3 >= 2, id="compared-numbers"),
        pytest.param("a <= b", id="text"),
        pytest.param(lambda chosen: True, id="function"),
    ],
)
def test_what_is_no_condition_is_refused_and_nothing_is_attached(condition: Any) -> None:
    model = nn.Sequential(onn.Linear(2, A), onn.Linear(A, B))
    with pytest.raises(SpaceError, match="a constraint is") as caught:
        constrain(model, A <= B, condition)
    assert "\n  expected: " in str(caught.value)
    assert list(constraints_of(model)) == []


def test_conditions_on_labels_that_the_model_does_not_have_are_refused() -> None:
    with pytest.raises(SpaceError, match=r"about 'c', which is no choice of the model"):
        ModelSpace(two_layers(A <= C))
    with pytest.raises(SpaceError, match=r"about 'b', which is one of \[1, 2, 3\]"):
        ModelSpace(two_layers(choice([1, 2], label="b") == 1))


def test_conditions_that_nothing_keeps_are_refused() -> None:
    with pytest.raises(SpaceError, match="nothing keeps the constraints") as caught:
        ModelSpace(two_layers(A > B, B > A))
    assert "(a > b), (b > a)" in str(caught.value)


def test_a_condition_on_a_branch_that_is_not_taken_holds() -> None:
    inner = LayerChoice([nn.ReLU(), nn.Tanh()], label="inner")
    model = nn.Sequential(LayerChoice({"deep": inner, "flat": nn.ReLU()}, label="outer"))
    constrain(model, choice(["0", "1"], label="inner") == "1")
    listed = list(ModelSpace(model).architectures())
    assert listed == [{"outer": "deep", "inner": "1"}, {"outer": "flat"}]
    assert ModelSpace(model).size == 2
    assert ModelSpace(model).default() == {"outer": "deep", "inner": "1"}


def test_the_default_is_the_first_that_keeps_them_with_later_choices_changed_first() -> None:
    assert ModelSpace(two_layers(A <= B)).default() == {"a": 3, "b": 3}
    assert ModelSpace(two_layers(A > B)).default() == {"a": 3, "b": 1}
    assert ModelSpace(two_layers(A < B)).default() == {"a": 1, "b": 3}


def test_a_broken_condition_is_named_when_an_architecture_is_refused() -> None:
    with pytest.raises(ArchitectureError, match=r"it breaks the constraint \(a <= b\)"):
        Architecture({"a": 3, "b": 1}, ModelSpace(two_layers(A <= B)))
    with pytest.raises(ArchitectureError, match=r"\(b <= c\)"):
        freeze(Chain(), {"a": 1, "b": 3, "c": 2})


def test_copies_and_pickles_of_a_model_keep_them() -> None:
    model = two_layers(A <= B)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert ModelSpace(other).fingerprint == ModelSpace(model).fingerprint
        constrain(other, A == B)
        assert ModelSpace(other).size == 3
    assert ModelSpace(model).size == 6, "a copy's further conditions are its own"


def test_a_frozen_network_has_none_left() -> None:
    frozen = freeze(Chain(), {"a": 1, "b": 2, "c": 2})
    assert list(constraints_of(frozen)) == []
    assert not any("oneshot" in name for m in frozen.modules() for name in vars(m))
    assert ModelSpace(frozen).size == 1


def test_fingerprints_tell_spaces_apart_by_their_conditions_in_any_order() -> None:
    plain, one, two, turned = (
        ModelSpace(two_layers(*conditions)).fingerprint
        for conditions in [(), (A <= B,), (A <= B, B != 2), (B != 2, A <= B)]
    )
    assert len({plain, one, two}) == 3
    assert two == turned
    with pytest.raises(ArchitectureError, match="another model space"):
        Architecture({"a": 1, "b": 2}, ModelSpace(two_layers(A <= B))).validate(
            ModelSpace(two_layers(A < B))
        )


@pytest.mark.parametrize("depth", [1, 2], ids=["on-a-choice", "on-a-layer"])
def test_conditions_on_what_a_search_replaces_stay(depth: int) -> None:
    """They were attached to the choice itself, and went with it."""

    def net() -> nn.Module:
        linear = onn.Linear(4, B)
        model = nn.Sequential(onn.Linear(4, A), onn.Linear(A, 4), LayerChoice([linear], label="x"))
        constrain(model[2] if depth == 1 else linear, A < B)
        return model

    search = oneshot.search(Net(net), "random", seed=0)
    assert search.space.size == 3
    assert ModelSpace(net()).fingerprint == search.space.fingerprint


def test_constraints_given_beside_the_model_count_as_well() -> None:
    model = nn.Sequential(onn.Linear(2, A), onn.Linear(A, B))
    assert ModelSpace(model, [A == B]).size == 3
    assert ModelSpace(model).size == 9


def test_every_draw_of_a_search_keeps_them_and_depends_on_the_seed_alone() -> None:
    def draws(seed: int) -> Iterator[tuple[int, ...]]:
        search = oneshot.search(Net(), "random", seed=seed)
        for batch in range(60):
            search.reseed("train", 0, batch)
            torch.rand(batch)  # whatever else draws
            yield widths(search.resample())

    first, second = list(draws(0)), list(draws(0))
    assert first == second != list(draws(1))
    assert set(first) == rising()


def test_draws_are_uniform_over_what_is_allowed() -> None:
    space, rng = ModelSpace(two_layers(A <= B)), random.Random(0)
    drawn = [tuple(space.sample(rng).values()) for _ in range(3000)]
    for pair in set(drawn):
        assert drawn.count(pair) / 3000 == pytest.approx(1 / 6, abs=0.03)
    assert len(set(drawn)) == 6


def test_a_needle_is_found_where_nearly_no_draw_keeps_the_conditions() -> None:
    labels = [choice(list(range(10)), label=f"n{i}") for i in range(8)]
    model = nn.Sequential(*(onn.Linear(1, 1 + n) for n in labels))
    constrain(model, *(n == 7 for n in labels))
    space = ModelSpace(model)
    assert space.size == 1
    assert set(space.sample(random.Random(0)).values()) == {7}


def test_long_chains_of_conditions_are_counted_quickly() -> None:
    """Twenty widths that never shrink, of ten each: 28 over 9, too many to list."""
    labels = [choice(list(range(10)), label=f"n{i}") for i in range(19)]
    model = nn.Sequential(*(nn.Dropout() for _ in labels), *(onn.Linear(1, 1 + n) for n in labels))
    constrain(model, *(one <= other for one, other in itertools.pairwise(labels)))
    assert ModelSpace(model).size == 6_906_900  # math.comb(28, 9)


def test_differentiable_search_exports_and_ranks_what_keeps_them() -> None:
    search = oneshot.search(Net(), "darts", arch_dataloader=data(), seed=0)
    with torch.no_grad():
        for label, preferred in {"a": 2, "b": 0, "c": 1}.items():
            search.decisions[label].alpha[preferred] = 2  # type: ignore[operator]
    assert widths(search.export()) in rising()
    best = search.top_k(100)
    assert [widths(a) for a in best[:1]] == [widths(search.export())]
    assert {widths(a) for a in best} == rising()
    assert len(best) == 10


def test_ranking_proposes_only_what_keeps_them() -> None:
    search = oneshot.search(Net(), "random", seed=0)
    options: Any = {"metric": "size", "mode": "min", "progress": False}
    assert {widths(e.architecture) for e in search.rank("all", data(), **options)} == rising()
    assert {widths(e.architecture) for e in search.rank(4, data(), **options)} < rising()
    evolved = search.rank("evolution", data(), budget=8, **options)
    assert {widths(e.architecture) for e in evolved} < rising()


def test_intervals_can_be_constrained() -> None:
    rate = uniform(0, 0.5, label="rate")
    model = nn.Sequential(onn.Linear(2, A), onn.Dropout(rate))
    constrain(model, (A > 1) | (rate <= 0.1))
    space, rng = ModelSpace(model), random.Random(0)
    drawn = [space.sample(rng) for _ in range(200)]
    assert all(d["a"] > 1 or d["rate"] <= 0.1 for d in drawn)  # type: ignore[operator]
    assert {d["a"] for d in drawn} == {1, 2, 3}
    assert space.size == float("inf")


@pytest.mark.parametrize("make", [uniform, loguniform])
def test_the_default_of_an_interval_gives_way_to_a_condition(make: Any) -> None:
    """It was called impossible, for only the middle of the interval was tried."""
    rate = make(0.01, 0.5, label="rate")
    model = nn.Sequential(onn.Linear(2, A), onn.Dropout(rate))
    constrain(model, rate <= 0.02)
    space = ModelSpace(model)
    assert space.default()["rate"] <= 0.02  # type: ignore[operator]
    assert space.sample(random.Random(0))["rate"] <= 0.02  # type: ignore[operator]


def test_spaces_may_have_more_labels_than_python_can_recurse() -> None:
    """Many choices and one condition that the defaults break."""
    layers = [LayerChoice([nn.ReLU(), nn.Tanh()]) for _ in range(300)]
    model = nn.Sequential(*layers, onn.Linear(2, A))
    constrain(model, A < 3)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 200)
    try:
        space = ModelSpace(model)
        assert space.default()["a"] == 1
        assert next(space.architectures())["a"] == 1
    finally:
        sys.setrecursionlimit(limit)
