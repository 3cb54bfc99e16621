"""Every architecture has parameters, and every parameter values mean an architecture."""

from __future__ import annotations

import random
from typing import Any

import pytest
from torch import nn

import oneshot_core as oneshot
from oneshot_core import Architecture, InputChoice, LayerChoice, ModelSpace, ParameterSpec
from oneshot_plugins.search.encoding import decode, encode


def layers(n: int, label: str) -> LayerChoice:
    return LayerChoice([nn.Identity() for _ in range(n)], label=label)


def nested() -> ModelSpace:
    inner = nn.Sequential(
        layers(3, "inner"),
        InputChoice(3, n_chosen=None, label="any"),
        InputChoice(4, n_chosen=2, label="two"),
    )
    return ModelSpace(LayerChoice({"plain": nn.Identity(), "deep": inner}, label="outer"))


def bound() -> ModelSpace:
    a, b = oneshot.choice([1, 2, 3, 4], label="a"), oneshot.choice([1, 2, 3, 4], label="b")
    free = oneshot.loguniform(1e-3, 0.5, label="free")
    model = nn.Sequential(
        oneshot.nn.Linear(4, a), oneshot.nn.Linear(a, b), oneshot.nn.Dropout(free)
    )
    oneshot.constrain(model, a + b == 5)
    return ModelSpace(model)


@pytest.mark.parametrize("space", [nested(), bound()], ids=["nested", "bound"])
def test_parameters_of_an_architecture_mean_that_architecture(space: ModelSpace) -> None:
    rng = random.Random(0)
    for _ in range(100):
        architecture = space.sample(rng)
        parameters = encode(space, architecture)
        assert decode(space, lambda name, spec, p=parameters: p[name]) == architecture  # type: ignore[misc]


@pytest.mark.parametrize("space", [nested(), bound()], ids=["nested", "bound"])
def test_any_values_mean_an_architecture_and_always_the_same(space: ModelSpace) -> None:
    """Also empty subsets, subsets of a wrong size, and broken constraints."""
    rng = random.Random(1)

    def any_value(name: str, spec: ParameterSpec) -> Any:
        if spec.interval is not None:
            return spec.interval.draw(rng)
        return rng.randrange(len(spec.candidates)) if spec.n_chosen == 1 else rng.random() < 0.5

    for _ in range(100):
        asked: dict[str, Any] = {}
        found = decode(space, lambda n, s, a=asked: a.setdefault(n, any_value(n, s)))  # type: ignore[misc]
        assert Architecture(found, space) == found
        assert decode(space, lambda n, s, a=asked: a[n]) == found  # type: ignore[misc]


def test_only_what_decides_something_is_asked_for() -> None:
    asked: list[str] = []

    def first(name: str, spec: ParameterSpec) -> int:
        asked.append(name)
        return 0

    assert decode(nested(), first) == {"outer": "plain"}
    assert asked == ["outer"]
