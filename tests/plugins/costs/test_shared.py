"""Tables of models whose parts share tensors, against really frozen networks."""

from __future__ import annotations

import itertools
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

TOKENS = torch.zeros(1, 3, dtype=torch.long)
NUMBERS = torch.zeros(2, 8)


class Chain(nn.Module):
    """Runs its children one after the other."""

    def forward(self, x: Tensor) -> Tensor:
        for child in self.children():
            x = child(x)
        return x


class ElasticAndElastic(Chain):
    def __init__(self) -> None:
        super().__init__()
        width = oneshot.choice([4, 8], label="d")
        self.e = mnn.Embedding(50, width)
        self.h = mnn.Linear(width, 50)
        self.h.weight = self.e.weight


class ElasticAndPlain(Chain):
    """The elastic layer is the plain one where it takes all of its weight."""

    def __init__(self) -> None:
        super().__init__()
        width = oneshot.choice([4, 8], label="d")
        self.p = nn.Linear(8, 8)
        self.i = mnn.Linear(8, width)
        self.h = mnn.Linear(width, 8)
        self.h.weight = self.p.weight


class PlainAndPlain(Chain):
    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 8)
        self.h = nn.Linear(8, 50)
        self.h.weight = self.e.weight
        self.c = oneshot.LayerChoice(
            {"a": nn.Linear(50, 4), "b": nn.Linear(50, 4, False)}, label="c"
        )


class TiedToACandidate(Chain):
    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(50, 8)
        tied = nn.Linear(8, 50)
        tied.weight = self.e.weight
        self.c = oneshot.LayerChoice({"tied": tied, "free": nn.Linear(8, 50)}, label="op")


class TiedInsideACandidate(Chain):
    def __init__(self) -> None:
        super().__init__()
        both = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
        both[1].weight = both[0].weight
        self.c = oneshot.LayerChoice({"tied": both, "skip": nn.Identity()}, label="op")


class ElasticInsideCandidates(Chain):
    """Tied elastic layers of two widths, one of them in a candidate of a nested choice."""

    def __init__(self) -> None:
        super().__init__()
        width = oneshot.choice([2, 4, 8], label="w")
        self.first = nn.Sequential(mnn.Linear(8, width), mnn.Linear(width, 8))
        inside = nn.Sequential(mnn.Linear(8, width), mnn.Linear(width, 8))
        inside[0].weight = self.first[0].weight
        inner = oneshot.LayerChoice({"tied": inside, "plain": nn.Linear(8, 8)}, label="inner")
        self.c = oneshot.LayerChoice({"in": inner, "skip": nn.Identity()}, label="outer")


class SharedModule(Chain):
    """A layer that always runs, and is a candidate as well."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, 8)
        self.c = oneshot.LayerChoice({"again": self.a, "skip": nn.Identity()}, label="op")


class SharedByThree(Chain):
    """A candidate of three choices: there once if any takes it."""

    def __init__(self) -> None:
        super().__init__()
        a = nn.Linear(8, 8)
        for label in ("one", "two", "three"):
            own = {"a": a, "own": nn.Linear(8, 8), "skip": nn.Identity()}
            setattr(self, label, oneshot.LayerChoice(own, label=label))


class SharedElastic(Chain):
    """An elastic layer that is at two places, one of them in a candidate."""

    def __init__(self) -> None:
        super().__init__()
        width = oneshot.choice([2, 4], label="w")
        down, up = mnn.Linear(8, width), mnn.Linear(width, 8)
        self.c = oneshot.LayerChoice(
            {"pair": nn.Sequential(down, up), "skip": nn.Identity()}, label="op"
        )
        self.down, self.up = down, up


class TwoTies(Chain):
    """Three layers of which each two share something else."""

    def __init__(self) -> None:
        super().__init__()
        widths = [oneshot.choice([4, 8], label=f"w{i}") for i in range(3)]
        for i, width in enumerate(widths):
            setattr(self, f"down{i}", mnn.Linear(8, width))
            setattr(self, f"up{i}", mnn.Linear(width, 8))
        self.down1.weight = self.down0.weight
        self.up2.weight = self.up1.weight
        self.up2.bias = self.up0.bias


class Blocks(Chain):
    """Blocks of a Repeat with one weight."""

    def __init__(self) -> None:
        super().__init__()
        weight = nn.Parameter(torch.zeros(8, 8))

        def block(index: int) -> nn.Module:
            layer = nn.Linear(8, 8)
            layer.weight = weight
            return oneshot.LayerChoice({"tied": layer, "skip": nn.Identity()}, label=f"l{index}")

        self.blocks = oneshot.Repeat(block, (1, 3), label="depth")


MODELS: dict[Callable[[], nn.Module], Tensor] = {
    ElasticAndElastic: TOKENS,
    ElasticAndPlain: NUMBERS,
    PlainAndPlain: TOKENS,
    TiedToACandidate: TOKENS,
    TiedInsideACandidate: NUMBERS,
    ElasticInsideCandidates: NUMBERS,
    SharedModule: NUMBERS,
    SharedByThree: NUMBERS,
    SharedElastic: NUMBERS,
    TwoTies: NUMBERS,
    Blocks: NUMBERS,
}


def by_hand(network: nn.Module, *inputs: Tensor) -> float:
    """A cost of a user, which says nothing about itself."""
    return float(sum(p.numel() for p in network.parameters()))


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("device", [None, "cpu", "meta"])
@pytest.mark.parametrize("cost", [parameters, by_hand, macs])
def test_a_tensor_that_is_shared_counts_as_often_as_in_the_frozen_network(
    make: Callable[[], nn.Module], device: str | None, cost: Callable[..., float]
) -> None:
    x, model = MODELS[make], make()
    table = cost_table(model, cost, inputs=[x], device=device)
    found = list(ModelSpace(model).architectures())
    assert [table.of(a) for a in found] == [cost(freeze(model, a), x) for a in found]
    assert table.exact


@pytest.mark.parametrize("make", [ElasticAndElastic, SharedByThree, Blocks])
def test_the_same_holds_for_a_search_whose_model_is_mutated_already(
    make: Callable[[], nn.Module],
) -> None:
    import pytorch_lightning as pl

    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = make()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.net(x)
            return out

        def training_step(self, batch: Tensor) -> Tensor:
            return self(batch).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    search = oneshot.search(Model(), "random")
    table = cost_table(search, "parameters", inputs=[MODELS[make]])
    found = list(search.space.architectures())
    assert [table.of(a) for a in found] == [parameters(freeze(search, a)) for a in found]
    assert table.exact


def test_the_expectation_is_the_mean_of_all_architectures_by_their_probability() -> None:
    model = SharedByThree()
    table = cost_table(model, "parameters", inputs=[NUMBERS])
    search = oneshot.DecisionTable(Uneven)
    for spec in table.specs.values():
        search.decide(spec, path="")
    expected = 0.0
    for taken in itertools.product(*(spec.candidates for spec in table.specs.values())):
        p = 1.0
        for spec, candidate in zip(table.specs.values(), taken, strict=True):
            p *= float(search[spec.label].probabilities()[spec.candidates.index(candidate)])
        expected += p * table.of(dict(zip(table.specs, taken, strict=True)))
    assert float(table.expected(search)) == pytest.approx(expected)


class Uneven(oneshot.Decision):
    def mixture(self) -> list[oneshot.Active]:
        return [oneshot.Active(self.spec.default)]

    def probabilities(self) -> Tensor:
        weights = torch.arange(1.0, len(self.spec.candidates) + 1, dtype=torch.float64)
        return weights / weights.sum()


def test_where_too_many_choices_share_a_tensor_the_table_says_that_it_is_off() -> None:
    class Many(Chain):
        def __init__(self) -> None:
            super().__init__()
            a = nn.Linear(8, 8)
            for i in range(12):
                choice = oneshot.LayerChoice({"a": a, "skip": nn.Identity()}, label=f"l{i}")
                setattr(self, f"l{i}", choice)

    table = cost_table(Many(), "parameters", inputs=[NUMBERS])
    assert not table.exact
    assert table.deviation.absolute >= 72


def test_weights_tied_across_choices_of_a_cell_are_right_or_called_an_estimate() -> None:
    shared = nn.Conv2d(2, 2, 1)

    class Cells(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.always = shared
            ops: Any = {"s": lambda *_: shared, "c": lambda *_: nn.Conv2d(2, 2, 3, padding=1)}
            self.cell = Cell(ops, 2, 1, 1, label="cell")

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.cell(self.always(x))
            return out

    model, x = Cells(), torch.zeros(1, 2, 4, 4)
    table = cost_table(model, "parameters", inputs=[x], verify=100)
    found = list(ModelSpace(model).architectures())
    right = [table.of(a) for a in found] == [parameters(freeze(model, a)) for a in found]
    assert table.deviation.everything
    assert table.exact is right


def test_the_comparison_runs_the_model_itself_and_not_only_shapes() -> None:
    class Refuses(Chain):
        """Runs on the meta device, and nowhere else."""

        def __init__(self) -> None:
            super().__init__()
            self.c = oneshot.LayerChoice({"a": nn.Linear(8, 8), "b": nn.Identity()}, label="c")

        def forward(self, x: Tensor) -> Tensor:
            if not x.is_meta:
                raise RuntimeError("no data, please")
            return super().forward(x)

    with pytest.raises(oneshot.errors.OneShotError, match="no data, please"):
        cost_table(Refuses(), "macs", inputs=[NUMBERS])
