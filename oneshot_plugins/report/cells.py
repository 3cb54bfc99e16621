"""Cells as graphs: states in a row, operations as arcs between them.

A cell is recognised by its labels: those of :class:`oneshot_core.Cell`, with free or distinct
inputs, and those of cells that have an operation on each edge (NAS-Bench-201).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .curves import Curve
from .folder import Choices
from .text import choice, cut

STEP, MARGIN, RISE, RADIUS = 148.0, 40.0, 28.0, 15.0
LINE = 13.0
"""Height of a line of text."""
LABEL = re.compile(r"(.+)/(input|op)_(\d+)(?:_(\d+))?")
EDGE = re.compile(r"(.+)/(\d+)_(\d+)")


@dataclass(frozen=True)
class Edge:
    """An operation that is chosen, from a state to a node."""

    source: int
    target: int
    text: str


@dataclass(frozen=True)
class Arc:
    """An edge where it is drawn.

    Attributes:
        curve: from state to node.
        texts: the operations on it, each with its place; none if it is not taken.
    """

    curve: Curve
    texts: tuple[tuple[str, float, float], ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Whether the operation passes nothing on."""
        return all(text in ("none", "zero") for text, _, _ in self.texts)


@dataclass(frozen=True)
class State:
    """A state where it is drawn."""

    text: str
    x: float
    is_input: bool


@dataclass(frozen=True)
class CellGraph:
    """A cell where it is drawn, in px.

    Attributes:
        name: first part of its labels.
        labels: all of them.
        states: from left to right.
        arcs: what is chosen.
        others: what could have been.
        base: height at which the states are.
        width: of all.
        height: of all.
    """

    name: str
    labels: frozenset[str]
    states: list[State]
    arcs: list[Arc]
    others: list[Arc]
    base: float
    width: float
    height: float


def cells(parameters: Mapping[str, Any], chosen: Choices) -> list[CellGraph]:
    """Return the cells among labels, in order."""
    groups: dict[str, list[str]] = {}
    for label in parameters:
        match = LABEL.fullmatch(label) or EDGE.fullmatch(label)
        if match:
            groups.setdefault(match[1], []).append(label)
    found = [_cell(name, labels, parameters, chosen) for name, labels in groups.items()]
    return [cell for cell in found if cell is not None]


def _cell(
    name: str, labels: list[str], parameters: Mapping[str, Any], chosen: Choices
) -> CellGraph | None:
    if all(EDGE.fullmatch(label) for label in labels):
        edges, possible, n_inputs = _edges_with_operations(labels, chosen)
    elif all(LABEL.fullmatch(label) for label in labels):
        edges, possible, n_inputs = _edges_with_inputs(name, labels, parameters, chosen)
    else:
        return None
    if not edges or any(source >= target for source, target in possible):
        return None
    return _drawn(name, frozenset(labels), edges, possible, n_inputs)


def _edges_with_operations(
    labels: Iterable[str], chosen: Choices
) -> tuple[list[Edge], set[tuple[int, int]], int]:
    edges, possible = [], set()
    for label in labels:
        _, source, target = EDGE.fullmatch(label).groups()  # type: ignore[union-attr]
        possible.add((int(source), int(target)))
        if label in chosen:
            edges.append(Edge(int(source), int(target), choice(chosen[label])))
    return edges, possible, 1


def _edges_with_inputs(
    name: str, labels: Iterable[str], parameters: Mapping[str, Any], chosen: Choices
) -> tuple[list[Edge], set[tuple[int, int]], int]:
    edges, possible, nodes = [], set(), []
    for label in labels:
        _, kind, node, slot = LABEL.fullmatch(label).groups()  # type: ignore[union-attr]
        if kind != "input":
            continue
        nodes.append(int(node))
        possible |= {(int(s), int(node)) for s in parameters[label]["candidates"]}
        taken = chosen.get(label, [])
        for state in taken if isinstance(taken, list) else [taken]:
            operation = f"{name}/op_{node}_{state if slot is None else slot}"
            edges.append(Edge(int(state), int(node), choice(chosen.get(operation, ""))))
    return edges, possible, min(nodes, default=0)


def _drawn(
    name: str,
    labels: frozenset[str],
    edges: list[Edge],
    possible: set[tuple[int, int]],
    n_inputs: int,
) -> CellGraph:
    last = max(target for _, target in possible)
    longest = max(e.target - e.source for e in edges)
    base = 34 + longest * RISE + RADIUS
    texts: dict[tuple[int, int], list[str]] = {}
    for edge in edges:
        texts.setdefault((edge.source, edge.target), []).append(cut(edge.text, 18))
    arcs = [_arc(s, t, base, text) for (s, t), text in sorted(texts.items())]
    others = [_arc(s, t, base) for s, t in sorted(possible - texts.keys()) if t - s <= longest]
    states = [
        State(f"in {i}" if n_inputs > 1 else "in", _x(i), True)
        if i < n_inputs
        else State(str(i), _x(i), False)
        for i in range(last + 1)
    ]
    return CellGraph(name, labels, states, arcs, others, base, _x(last) + MARGIN, base + RADIUS + 6)


def _x(state: int) -> float:
    return MARGIN + state * STEP


def _arc(source: int, target: int, base: float, texts: Sequence[str] = ()) -> Arc:
    a, b, span = _x(source), _x(target), target - source
    start, end, top = a + 5, b - 5, base - RADIUS
    rise = 14 + span * RISE
    # A cubic curve reaches three quarters of the height of its control points.
    control = top - rise / 0.75
    curve = (start, top + 1), (start + 12, control), (end - 12, control), (end, top + 1)
    x, y = round((a + b) / 2, 1), top - rise - LINE * (len(texts) - 1) / 2
    return Arc(curve, tuple((t, x, round(y + LINE * i, 1)) for i, t in enumerate(texts)))
