"""Samples of the choices in :mod:`oneshot_core.space`, for whatever supernet handles them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oneshot_core import nn as onn
from oneshot_core.space import InputChoice, LayerChoice, Repeat, choice, constrain, uniform

from .case import Sample

WIDTH = 4


def samples(handled: str) -> list[Sample]:
    """Return the samples for a choice, named as in ``Component.handles``; none for others."""
    return {
        "oneshot_core.space:LayerChoice": layer_choices,
        "oneshot_core.space:InputChoice": input_choices,
        "oneshot_core.space:Repeat": repeats,
    }.get(handled, list)()


def together() -> list[Sample]:
    """Return modules in which choices have to do with each other, or are no list of values."""

    def inputs() -> tuple[Tensor]:
        return (batch(),)

    def shared() -> nn.Module:
        twice = [
            LayerChoice({"linear": linear(seed), "tanh": nn.Tanh()}, label="twice")
            for seed in (0, 1)
        ]
        return nn.Sequential(*twice)

    def constrained() -> nn.Module:
        first, second = (choice([1, 2, 3], label=label) for label in ("first", "second"))
        body = nn.Sequential(Repeat(linear, first), Repeat(linear, second))
        constrain(body, second > first)
        return body

    def interval() -> nn.Module:
        return nn.Sequential(linear(0), onn.Dropout(uniform(0.0, 0.5, label="rate")))

    return [
        Sample(shared, inputs, "a label in two places"),
        Sample(constrained, inputs, "a constraint between choices"),
        Sample(interval, inputs, "a number of an interval"),
    ]


def batch() -> Tensor:
    """Return the same numbers for every call, shape ``(3, WIDTH)``."""
    return torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(0))


def linear(seed: int) -> nn.Linear:
    """Return a layer with weights that depend on ``seed`` alone."""
    layer = nn.Linear(WIDTH, WIDTH)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return layer


def layer_choices() -> list[Sample]:
    def inputs() -> tuple[Tensor]:
        return (batch(),)

    def flat() -> LayerChoice:
        return LayerChoice({"a": linear(0), "b": nn.Sequential(linear(1), nn.Tanh())}, label="flat")

    def nested() -> LayerChoice:
        inner = LayerChoice([linear(2), nn.Identity(), linear(3)], label="inner")
        return LayerChoice({"plain": linear(4), "deep": nn.Sequential(inner)}, label="outer")

    return [Sample(flat, inputs), Sample(nested, inputs, "nested")]


def input_choices() -> list[Sample]:
    def inputs() -> tuple[list[Tensor]]:
        return ([batch(), batch() + 1, 3 * batch()],)

    return [
        Sample(lambda: InputChoice(3, label="one"), inputs, "one"),
        Sample(lambda: InputChoice(3, 2, reduction="mean", label="two"), inputs, "two of three"),
        Sample(lambda: InputChoice(3, None, label="some"), inputs, "any subset"),
        Sample(
            lambda: InputChoice(3, 2, reduction="concat", label="joined"), inputs, "concatenated"
        ),
    ]


def repeats() -> list[Sample]:
    def inputs() -> tuple[Tensor]:
        return (batch(),)

    return [
        Sample(lambda: Repeat(linear, (1, 3), label="depth"), inputs),
        Sample(lambda: Repeat(linear, [0, 2], label="or-none"), inputs),
    ]
