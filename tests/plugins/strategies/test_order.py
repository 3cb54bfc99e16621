"""Which choice is the largest, and which the smallest."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
from torch import nn

import oneshot_core as oneshot
from oneshot_core.errors import StrategyError
from oneshot_plugins.strategies.fair import FairSampling
from oneshot_plugins.strategies.order import by_size
from oneshot_plugins.strategies.sandwich import Sandwich


class Sizes(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = oneshot.LayerChoice(
            {"big": nn.Linear(9, 9), "none": nn.Identity(), "small": nn.Linear(2, 2)}, label="layer"
        )
        self.tie = oneshot.LayerChoice({"x": nn.ReLU(), "y": nn.Tanh()}, label="tie")
        self.depth = oneshot.Repeat(lambda i: nn.ReLU(), [3, 0, 1], label="depth")
        self.inputs = oneshot.InputChoice(3, None, label="inputs")


def test_sizes_are_parameters_then_number_taken_then_values_then_declaration() -> None:
    order = by_size(FairSampling(Sizes()))
    assert order["layer"] == ["none", "small", "big"]
    assert order["tie"] == ["x", "y"]
    assert order["depth"] == [0, 1, 3]
    assert order["inputs"] == [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]


def test_the_ends_are_the_smallest_and_the_largest_of_every_label() -> None:
    smallest, largest = Sandwich(Sizes()).ends()
    assert smallest == {"layer": "none", "tie": "x", "depth": 0, "inputs": (0,)}
    assert largest == {"layer": "big", "tie": "y", "depth": 3, "inputs": (0, 1, 2)}


def test_an_order_may_be_given_for_some_labels() -> None:
    search = Sandwich(Sizes(), order={"tie": ["y", "x"], "layer": ["small", "big"]})
    assert search.ends()[1] == {"layer": "big", "tie": "x", "depth": 3, "inputs": (0, 1, 2)}


@pytest.mark.parametrize("order", [{"tie": []}, {"tie": ["x", "x"]}, {"other": ["x"]}])
def test_an_order_that_does_not_fit_is_refused_before_training(
    order: Any, net: Any, fit: Any
) -> None:
    with pytest.raises(StrategyError, match="order"):
        by_size(FairSampling(Sizes()), order)
    with pytest.raises(StrategyError, match="order"):
        fit(Sandwich(net(), order={"third": ["a"]}))
