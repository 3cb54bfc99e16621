"""What a cost promises: a number, and a network that does not notice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import nn

from ..case import Subject, checks, require
from ..isolation import noise, rng_state
from ..networks import networks
from ..tensors import trace_of


def is_a_number(subject: Subject) -> None:
    """It returns a finite float, not negative, for any plain network."""
    for network, arguments in _calls(subject):
        cost = subject.load()(network, *arguments[0], **arguments[1])
        require(
            isinstance(cost, float) and math.isfinite(cost) and cost >= 0,
            f"the cost of a {type(network).__name__} is {cost!r}",
            "a finite float from 0 on",
            "return float(...)",
        )


def leaves_network_alone(subject: Subject) -> None:
    """The network has the weights, gradients, modes and hooks that it had."""
    for network, arguments in _calls(subject):
        next(network.children()).train(False)  # modes differ inside a network, too
        before = trace_of(network)
        subject.load()(network, *arguments[0], **arguments[1])
        require(
            trace_of(network) == before,
            f"measuring a {type(network).__name__} changed it",
            "the same tensors, gradients, training modes and hooks as before",
            "put back what is changed in a finally, or measure a copy",
        )


def same_network_same_number(subject: Subject) -> None:
    """Equal networks cost the same, and measuring draws no random numbers.

    The cost of an architecture is compared with others', and is computed once. A cost that
    measures time declares here an expected failure.
    """
    for options in subject.options():
        for sample in networks():
            costs = []
            for seed in (1, 2):
                network, inputs = sample.make(), sample.inputs()
                noise(seed)
                before = rng_state()
                costs.append(subject.load()(network, *inputs, **options))
                require(
                    rng_state() == before,
                    f"measuring a {type(network).__name__} draws random numbers",
                    "the random state as before, for training goes on from it",
                    "draw from a generator of its own, or inside torch.random.fork_rng()",
                )
            both_nan = all(cost != cost for cost in costs)  # is-a-number says so
            require(
                costs[0] == costs[1] or both_nan,
                f"equal networks cost {costs[0]!r} and {costs[1]!r}",
                "one number for all networks with the same weights",
                "count instead of measuring, or declare why not in expected_failures",
            )


def _calls(subject: Subject) -> Iterator[tuple[nn.Module, tuple[tuple[Any, ...], Any]]]:
    for options in subject.options():
        for sample in networks():
            yield sample.make(), (sample.inputs(), options)


CHECKS = checks("cost", is_a_number, same_network_same_number, leaves_network_alone)
