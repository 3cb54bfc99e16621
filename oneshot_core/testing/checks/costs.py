"""What a cost promises: a number, and a network that does not notice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import nn

from ..case import Subject, checks, require
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


def _calls(subject: Subject) -> Iterator[tuple[nn.Module, tuple[tuple[Any, ...], Any]]]:
    for options in subject.options():
        for sample in networks():
            yield sample.make(), (sample.inputs(), options)


CHECKS = checks("cost", is_a_number, leaves_network_alone)
