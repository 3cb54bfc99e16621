"""Cells as graphs: nodes in a row, links as arcs between them.

What is a cell is said by ``diagrams`` of the record; see :class:`oneshot_core.space.Diagram`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from .curves import Curve
from .folder import Choices
from .text import choice, cut

MARGIN, RISE, RADIUS = 40.0, 28.0, 15.0
LETTER = 7.3
"""Width of a letter in the page's monospaced text of 12 px."""
GAP, ROOM = 44.0, 118.0
"""Between nodes: where nothing is written, and where links have operations."""
LINE = 13.0
"""Height of a line of text."""
LONGEST = 18
"""Letters of an operation."""


@dataclass(frozen=True)
class Arc:
    """A link where it is drawn.

    Attributes:
        curve: from node to node.
        texts: the operations on it, each with its place; none if it has none, or is not taken.
    """

    curve: Curve
    texts: tuple[tuple[str, float, float], ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Whether the operation passes nothing on."""
        return bool(self.texts) and all(text in ("none", "zero") for text, _, _ in self.texts)


@dataclass(frozen=True)
class State:
    """A node where it is drawn.

    Attributes:
        text: what is written in it.
        full: the same, not cut.
        x: middle.
        width: a circle is as wide as it is high.
        is_hollow: whether nothing is computed in it: inputs, and the output among operations.
    """

    text: str
    full: str
    x: float
    width: float
    is_hollow: bool


@dataclass(frozen=True)
class CellGraph:
    """A cell where it is drawn, in px.

    Attributes:
        name: of the diagram.
        labels: all that decide in it.
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


def cells(space: Mapping[str, Any], chosen: Choices) -> list[CellGraph]:
    """Return the cells of ``run.json``, in the order of the model."""
    drawn = [_drawn(diagram, chosen) for diagram in space.get("diagrams", [])]
    return [cell for cell in drawn if cell is not None]


def _drawn(diagram: Mapping[str, Any], chosen: Choices) -> CellGraph | None:
    nodes, links = diagram["nodes"], diagram["links"]
    taken = [link for link in links if _is_taken(link, chosen)]
    if not taken:
        return None
    reachable = {link["target"] for link in links}
    used = {end for link in taken for end in (link["source"], link["target"])}
    kept = [i for i in range(len(nodes)) if i in used or i not in reachable]
    place = {node: position for position, node in enumerate(kept)}
    states = _states([nodes[i] for i in kept], [i not in reachable for i in kept], links, chosen)

    texts: dict[tuple[int, int], list[str]] = {}
    for link in taken:
        on_it = texts.setdefault((place[link["source"]], place[link["target"]]), [])
        if link["operation"] is not None:
            on_it.append(cut(choice(chosen.get(link["operation"], "")), LONGEST))
    possible = {
        (place[link["source"]], place[link["target"]])
        for link in links
        if link["source"] in place and link["target"] in place
    }
    straight = all(link["operation"] is None for link in links)
    longest = max((t - s for s, t in texts if t - s > straight), default=0)
    base = 34 + longest * RISE + RADIUS if longest else RADIUS + 6

    def arc(s: int, t: int, on_it: Sequence[str] = ()) -> Arc:
        if straight and t - s == 1:
            return _line(states[s], states[t], base)
        return _arc(states[s], states[t], t - s, base, on_it)

    arcs = [arc(s, t, on_it) for (s, t), on_it in sorted(texts.items())]
    others = [arc(s, t) for s, t in sorted(possible - texts.keys()) if t - s <= max(longest, 1)]
    labels = [link[key] for link in links for key in ("operation", "taken_by")]
    labels += [node["operation"] for node in nodes]
    decided = frozenset(label for label in labels if label is not None)
    width = states[-1].x + states[-1].width / 2 + MARGIN - RADIUS
    return CellGraph(
        str(diagram["name"]), decided, states, arcs, others, base, width, base + RADIUS + 6
    )


def _is_taken(link: Mapping[str, Any], chosen: Choices) -> bool:
    if link["taken_by"] is None:
        return True
    taken = chosen.get(link["taken_by"])
    return link["source"] in (taken if isinstance(taken, (list, tuple)) else [taken])


def _states(
    nodes: Sequence[Mapping[str, Any]],
    is_input: Sequence[bool],
    links: Sequence[Mapping[str, Any]],
    chosen: Choices,
) -> list[State]:
    full = [choice(chosen.get(node["operation"], node["text"])) for node in nodes]
    widths = [max(2 * RADIUS, _width(cut(text, LONGEST))) for text in full]
    named = any(node["operation"] for node in nodes)
    gap = ROOM if any(link["operation"] is not None for link in links) else GAP
    steps = [(one + other) / 2 + gap for one, other in pairwise(widths)]
    middles = accumulate(steps, initial=MARGIN - RADIUS + widths[0] / 2)
    return [
        State(
            cut(text, LONGEST), text, round(x, 1), width, first or (named and not node["operation"])
        )
        for text, x, width, first, node in zip(full, middles, widths, is_input, nodes, strict=True)
    ]


def _width(text: str) -> float:
    """Return how wide a box with text is; two letters fit a circle."""
    return 0.0 if len(text) <= 2 else round(len(text) * LETTER + 18, 1)


def _line(source: State, target: State, base: float) -> Arc:
    begin, end = (source.x + source.width / 2, base), (target.x - target.width / 2, base)
    return Arc((begin, begin, end, end))


def _arc(source: State, target: State, span: int, base: float, texts: Sequence[str] = ()) -> Arc:
    a, b = source.x + source.width / 6, target.x - target.width / 6
    top = base - RADIUS
    rise = 14 + span * RISE
    # A cubic curve reaches three quarters of the height of its control points.
    control = top - rise / 0.75
    curve = (a, top + 1), (a + 12, control), (b - 12, control), (b, top + 1)
    x, y = round((a + b) / 2, 1), top - rise - LINE * (len(texts) - 1) / 2
    return Arc(curve, tuple((t, x, round(y + LINE * i, 1)) for i, t in enumerate(texts)))
