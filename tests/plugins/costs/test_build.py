"""Tables against the cost of frozen networks, for every kind of choice."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import ModelSpace, freeze
from oneshot_core import nn as mnn
from oneshot_plugins.cells.cell import Cell
from oneshot_plugins.costs.build import cost_table
from oneshot_plugins.costs.counts import macs, parameters
from oneshot_plugins.costs.table import CostError


def conv(width: int, kernel: int) -> nn.Module:
    return nn.Conv2d(width, width, kernel, padding=kernel // 2)


class Layers(nn.Module):
    """Layer choices that share a label, and one under no label."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.one = oneshot.LayerChoice({"a": conv(4, 1), "b": conv(4, 3)}, label="shared")
        self.two = oneshot.LayerChoice({"a": conv(4, 5), "b": nn.Identity()}, label="shared")
        self.three = oneshot.LayerChoice([conv(4, 3), nn.MaxPool2d(3, 1, 1)])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.three(self.two(self.one(self.stem(x))))
        return out


class Nested(nn.Module):
    """Choices in candidates of choices in blocks of a Repeat, without labels of their own."""

    def __init__(self) -> None:
        super().__init__()
        inner = oneshot.LayerChoice({"small": conv(2, 1), "large": conv(2, 3)})
        outer = oneshot.LayerChoice(
            {"deep": nn.Sequential(conv(2, 3), inner), "flat": conv(2, 5)}, label="outer"
        )
        self.stem = conv(2, 1)
        self.outer = outer
        self.blocks = oneshot.Repeat(
            lambda i: oneshot.LayerChoice({"x": conv(2, 1), "y": conv(2, 3 + 2 * i)}), (0, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(self.outer(self.stem(x)))
        return out


class Elastic(nn.Module):
    """Widths that follow from each other, kernels, and a depth that is computed."""

    def __init__(self) -> None:
        super().__init__()
        first = oneshot.choice([2, 4, 6], label="first")
        ratio = oneshot.choice([1, 2], label="ratio")
        kernel = oneshot.choice([1, 3], label="kernel")
        depth = oneshot.choice([1, 2], label="depth")
        middle = first * ratio
        self.a = mnn.Conv2d(1, first, kernel, padding=kernel // 2)
        self.b = mnn.Conv2d(first, middle, kernel, padding=kernel // 2)
        self.norm = mnn.BatchNorm2d(middle)
        self.blocks = oneshot.Repeat(
            lambda i: mnn.Conv2d(middle, middle, 3, padding=1), depth * ratio
        )
        self.head = mnn.Linear(middle, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.norm(self.b(self.a(x))).relu())
        out: Tensor = self.head(x.mean((2, 3)))
        return out


class Wired(nn.Module):
    """Cells of both kinds, and a choice of inputs."""

    def __init__(self) -> None:
        super().__init__()
        ops: Any = {"one": lambda *_: conv(2, 1), "three": lambda *_: conv(2, 3)}
        self.free = Cell(ops, 2, 1, 1, label="free")
        self.reduce = conv(4, 1)
        self.distinct = Cell(ops, 2, 2, 2, inputs="distinct", label="distinct")
        self.inputs = oneshot.InputChoice(3, 2, label="inputs")

    def forward(self, x: Tensor) -> Tensor:
        y = self.reduce(self.free(x))[:, :2]
        z = self.distinct(x, y)
        out: Tensor = self.inputs([z, z + 1, z * 2])
        return out


class Strided(nn.Module):
    """What the second choice costs depends on the first: no sum can say that."""

    def __init__(self) -> None:
        super().__init__()
        self.first = oneshot.LayerChoice(
            {"full": nn.Identity(), "halved": nn.MaxPool2d(2)}, label="first"
        )
        self.second = oneshot.LayerChoice(
            {"conv": conv(1, 3), "skip": nn.Identity()}, label="second"
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x)).mean((2, 3))
        return out


MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "layers": (Layers, torch.zeros(1, 1, 6, 6)),
    "nested": (Nested, torch.zeros(1, 2, 6, 6)),
    "elastic": (Elastic, torch.zeros(1, 1, 6, 6)),
    "wired": (Wired, torch.zeros(1, 2, 6, 6)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("cost", [macs, parameters])
def test_sums_of_additive_costs_are_those_of_frozen_networks(name: str, cost: Any) -> None:
    make, x = MODELS[name]
    model = make()
    table = cost_table(model, cost, inputs=[x], verify=4)
    space, rng = ModelSpace(model), random.Random(1)
    found = [space.sample(rng) for _ in range(25)]
    costs = {cost(freeze(model, a), x) for a in found}
    assert len(costs) >= 4
    assert [table.of(a) for a in found] == [cost(freeze(model, a), x) for a in found]
    assert table.exact


def test_it_is_counted_without_data_and_the_model_stays_as_it_is() -> None:
    model = Layers()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    table = cost_table(model, "macs", inputs=[torch.zeros(1, 1, 6, 6)])
    assert table.origin["device"] == "meta"
    assert isinstance(model.one, oneshot.LayerChoice)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_model_that_looks_at_its_data_is_measured_with_data() -> None:
    class Looks(Layers):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if float(x.sum()) == 0 else x / x.sum())

    table = cost_table(Looks(), "macs", inputs=[torch.zeros(1, 1, 6, 6)])
    assert table.origin["device"] == "cpu"
    assert table.exact


def test_where_choices_change_shapes_the_table_says_how_far_it_is_off() -> None:
    x = torch.zeros(1, 1, 8, 8)
    table = cost_table(Strided(), "macs", inputs=[x])
    # The second is measured with the first at its default, the full size.
    assert table.of({"first": "halved", "second": "conv"}) == 64 * 9
    assert not table.exact
    assert table.deviation.everything
    assert table.deviation.absolute == 64 * 9 - 16 * 9
    assert table.deviation.relative == 3.0
    assert "estimate, off by at most 432 (300.00%) on all architectures" in str(table)


def test_without_comparison_nothing_is_claimed() -> None:
    table = cost_table(Layers(), "macs", inputs=[torch.zeros(1, 1, 6, 6)], verify=0)
    assert not table.exact
    assert "not compared" in str(table)


def test_impossible_combinations_are_not_measured() -> None:
    class Grouped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width = oneshot.choice([4, 6], label="width")
            groups = oneshot.choice([2, 3], label="groups")
            self.a = mnn.Conv1d(1, width, 1)
            self.b = mnn.Conv1d(width, width, 1, groups=groups)
            oneshot.constrain(self, width % groups == 0)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.b(self.a(x))
            return out

    table = cost_table(Grouped(), "macs", inputs=[torch.zeros(1, 1, 5)])
    assert table.exact
    assert {"width": 4, "groups": 3} not in [dict(row.taken) for row in table.rows]


def test_a_layer_that_is_called_twice_counts_twice_but_has_its_parameters_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = oneshot.LayerChoice({"a": conv(1, 1), "b": conv(1, 3)}, label="l")

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(self.layer(x))
            return out

    x = torch.zeros(1, 1, 4, 4)
    assert cost_table(Twice(), "macs", inputs=[x]).of({"l": "b"}) == 2 * 16 * 9
    assert cost_table(Twice(), "parameters", inputs=[x]).of({"l": "b"}) == 10


def test_inputs_that_do_not_fit_are_refused_by_name() -> None:
    with pytest.raises(CostError, match="cannot be run") as error:
        cost_table(Layers(), "macs", inputs=[torch.zeros(1, 3, 6, 6)])
    assert "expected:" in str(error.value)


def test_latency_is_measured_part_by_part() -> None:
    seen = []
    table = cost_table(
        Strided(),
        "latency",
        inputs=[torch.zeros(1, 1, 4, 4)],
        verify=2,
        progress=lambda done, total: seen.append((done, total)),
        min_run_time=0.001,
    )
    assert table.origin["device"] == "cpu"
    assert seen == [(n, 4) for n in range(1, 5)]
    assert table.deviation.checked == 2
    assert not table.exact
