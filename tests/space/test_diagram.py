"""What says how a part of a model is drawn."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, cast

import pytest
from torch import nn

import oneshot_core as oneshot
from oneshot_core import Architecture, ModelSpace
from oneshot_core.errors import SpaceError
from oneshot_core.space import Diagram, HasDiagram, LayerChoice, Link, Node, diagrams_in
from oneshot_plugins.cells.cell import Cell


class TwoBranches(nn.Module):
    """A module of somebody else: two choices beside each other, added up."""

    def __init__(self) -> None:
        super().__init__()
        self.left = LayerChoice({"tanh": nn.Tanh(), "relu": nn.ReLU()}, label="left")
        self.right = LayerChoice({"tanh": nn.Tanh(), "relu": nn.ReLU()}, label="right")

    def diagram_at(self, path: str) -> Diagram:
        nodes = [Node("in"), Node("l", "left"), Node("r", "right"), Node("+")]
        return Diagram(path, nodes, [Link(0, 1), Link(0, 2), Link(1, 3), Link(2, 3)])

    def forward(self, x: Any) -> Any:
        return self.left(x) + self.right(x)


def cell(**options: Any) -> Cell:
    return Cell({"a": nn.Identity(), "b": nn.Tanh()}, 2, 1, **options)


@pytest.mark.parametrize("link", [(1, 1), (1, 0), (0, 2), (-1, 1)])
def test_links_lead_to_later_nodes(link: tuple[int, int]) -> None:
    with pytest.raises(SpaceError, match=r"the diagram 'c' has 2 nodes and a link from"):
        Diagram("c", [Node("in"), Node("1")], [Link(*link)])


def test_a_diagram_is_plain_data_with_its_labels_once() -> None:
    found = Diagram("c", [Node("in"), Node("1", "op")], [Link(0, 1, "edge", "op")])
    assert found.labels == ["op", "edge"]
    assert found.to_dict() == {
        "name": "c",
        "nodes": [{"text": "in", "operation": None}, {"text": "1", "operation": "op"}],
        "links": [{"source": 0, "target": 1, "operation": "edge", "taken_by": "op"}],
    }


def test_cells_and_modules_of_others_are_found_and_equal_ones_once() -> None:
    model = nn.Sequential(cell(label="one"), cell(label="one"), cell(), TwoBranches(), nn.ReLU())
    assert [(path, d.name) for path, d in diagrams_in(model)] == [
        ("0", "one"), ("2", "2"), ("3", "3"),
    ]  # fmt: skip
    assert isinstance(TwoBranches(), HasDiagram)
    assert LayerChoice([nn.ReLU()]).diagram_at("") is None


def wrapped(choice: LayerChoice, *place: Any) -> nn.Module:
    return nn.Sequential(nn.Dropout(0.1), choice)


@pytest.mark.parametrize("label", [None, "c"])
@pytest.mark.parametrize(
    "options",
    [{"inputs": "free"}, {"inputs": "distinct"}, {"inputs": "free", "edge": wrapped}],
    ids=["free", "distinct", "with an edge around the choice"],
)
def test_the_diagram_of_a_cell_is_about_all_its_labels(options: Any, label: str | None) -> None:
    """Before the mutation and after it; in each, every operation that is asked is on a link."""
    model = nn.Sequential(cell(num_predecessors=2, label=label, **options))
    space = ModelSpace(model)
    ((path, before),) = diagrams_in(model)
    assert path == "0"
    assert sorted(before.labels) == sorted(space.specs)

    search = oneshot.search(lightning(model), "random", seed=0)
    ((_, after),) = diagrams_in(search.model)
    assert len(after.links) == len(before.links)
    assert len(search.space.specs) == len(after.labels)

    for seed in range(10):
        chosen = Architecture(space.sample(random.Random(seed)), space)
        taken = {link for link in before.links if holds(chosen, link)}
        assert {link.operation for link in taken} == {n for n in chosen if "/op_" in n}


def holds(chosen: Mapping[str, Any], link: Link) -> bool:
    taken = chosen[cast(str, link.taken_by)]
    return link.source in (taken if isinstance(taken, tuple) else (taken,))


def lightning(model: nn.Module) -> Any:
    import pytorch_lightning as pl
    import torch

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = model
            self.head = nn.Linear(2, 2)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.head(batch).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Module()
