"""How a part of a model is drawn whose wiring or operations are chosen: as a graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Protocol, runtime_checkable

from torch import nn

from oneshot_core.errors import SpaceError


@dataclass(frozen=True, slots=True)
class Node:
    """What is computed: an input, a sum, or an operation.

    Args:
        text: what is written in it.
        operation: label of the operation in it; then what is chosen is written instead.
    """

    text: str
    operation: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """An edge from a node to a later one.

    Args:
        source: number of the node that it comes from.
        target: number of the node that it leads to.
        operation: label of the operation on it; None if there is none.
        taken_by: label that decides whether it is there: it is if the choice is ``source``, or a
            tuple that holds it. None if it always is.
    """

    source: int
    target: int
    operation: str | None = None
    taken_by: str | None = None


@dataclass(frozen=True, slots=True)
class Diagram:
    """A graph from left to right, of which labels decide what is there.

    A node that no link leads to is an input, unless links could lead to it: then it is not in use.

    Args:
        name: stands above.
        nodes: numbered from 0 on, inputs first.
        links: all that could be there.

    Raises:
        SpaceError: a link leads to a node that is not there, or not to a later one.
    """

    name: str
    nodes: Sequence[Node]
    links: Sequence[Link]

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(self.nodes))
        object.__setattr__(self, "links", tuple(self.links))
        for link in self.links:
            if not 0 <= link.source < link.target < len(self.nodes):
                raise SpaceError(
                    f"the diagram {self.name!r} has {len(self.nodes)} nodes and a link from "
                    f"{link.source} to {link.target}",
                    expected="links to later nodes",
                    fix="number the nodes in an order in which they can be computed",
                )

    @property
    def labels(self) -> list[str]:
        """All labels that decide in it, each once."""
        asked = chain(
            (node.operation for node in self.nodes),
            *((link.taken_by, link.operation) for link in self.links),
        )
        return list(dict.fromkeys(label for label in asked if label is not None))

    def to_dict(self) -> dict[str, object]:
        """Return it as plain data."""
        return {
            "name": self.name,
            "nodes": [asdict(node) for node in self.nodes],
            "links": [asdict(link) for link in self.links],
        }


@runtime_checkable
class HasDiagram(Protocol):
    """Any module of a model, with choices inside or a choice itself, that says how it is drawn.

    All choices and supernet modules have the method; by default they are drawn as a row of
    their candidates.
    """

    def diagram_at(self, path: str) -> Diagram | None:
        """Return how it is drawn; None for no graph.

        Args:
            path: its dotted path in the model, after which choices without a label are named.
        """


def diagrams_in(root: nn.Module) -> Iterator[tuple[str, Diagram]]:
    """Yield path and diagram of all modules that have one; of equal diagrams the first."""
    seen = set()
    for path, module in root.named_modules():
        diagram = module.diagram_at(path) if isinstance(module, HasDiagram) else None
        if diagram is not None and diagram not in seen:
            seen.add(diagram)
            yield path, diagram
