"""How many architectures there are: subproblems are counted once, independent ones multiply."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from ..space.spec import Choice, ParameterSpec
from .reading import Node, active_nodes, closure, reachable
from .tied import Condition, Tied, TooManyError, grouped, groups_of

MAX_COUNTED = 500_000
"""Choices that are tried to count tied choices."""


def count(
    nodes: Sequence[Node],
    conditions: Sequence[Condition],
    together: tuple[Tied, list[ParameterSpec]] | None,
) -> int:
    """Count the architectures, each once however its unused choices stand.

    Args:
        nodes: the outermost nodes of a space without intervals.
        conditions: the constraints of the space.
        together: what :func:`tied_choices` returned for the space.
    """
    if together is None:
        return _Ways(conditions).count(nodes, {})
    tied, specs = together
    decided: dict[str, Choice] = {spec.label: spec.default for spec in specs}
    others = [c for c in conditions if not c.labels & decided.keys()]
    return tied.count({}) * _Ways(others).count(nodes, decided)


def tied_choices(
    nodes: Sequence[Node], specs: Sequence[ParameterSpec], conditions: Sequence[Condition]
) -> tuple[Tied, list[ParameterSpec]] | None:
    """Return what can be counted at once: choices that conditions tie together and that always run.

    Nothing else may depend on these choices. None if there are none, or too many.
    """
    always = closure(nodes, lambda node: node.always)
    free = {spec.label for node in always for spec in node.specs}
    gating = {label for node in reachable(nodes) for gate in node.gates for label in gate.labels}
    groups = [
        group
        for group in groups_of(specs, conditions)
        if any(group[0].label in c.labels for c in conditions)
        and all(s.label in free - gating and s.interval is None and s.prior is None for s in group)
    ]
    found = [spec for group in groups for spec in group]
    labels = {spec.label for spec in found}
    tied = Tied(found, [c for c in conditions if c.labels <= labels], MAX_COUNTED)
    try:
        return (tied, found) if found and tied.count({}) else None
    except TooManyError:
        return None


class _Forbidden:
    """In the place of a choice: count only where its label decides nothing."""


_FORBIDDEN = _Forbidden()
_Chosen: TypeAlias = "Mapping[str, Choice | _Forbidden]"


class _Ways:
    """Counts the ways to complete partial architectures, each subproblem once."""

    def __init__(self, conditions: Sequence[Condition]) -> None:
        self.conditions = conditions
        self.known: dict[object, int] = {}

    def count(self, nodes: Iterable[Node], chosen: _Chosen) -> int:
        """Count the ways to complete ``chosen`` at and below ``nodes``.

        Groups of choices that have no label and no condition in common, however deep, are
        independent of each other: their counts multiply.
        """
        undecided: list[Node] = []
        for node in active_nodes(nodes, _decided(chosen)):
            if any(chosen.get(spec.label) is _FORBIDDEN for spec in node.specs):
                return 0
            if any(spec.label not in chosen for spec in node.specs):
                undecided.append(node)
        open_labels = [(node, _labels(node) - chosen.keys()) for node in undecided]
        return math.prod(
            self.count_group(members, labels, chosen)
            for labels, members in grouped(open_labels, self.conditions)
        )

    def count_group(self, nodes: list[Node], labels: set[str], chosen: _Chosen) -> int:
        """Count for choices that depend on each other."""
        matters = set().union(*map(_labels, nodes))
        for condition in self.conditions:
            if condition.labels & labels:
                matters |= condition.labels
        key = (
            frozenset(map(id, nodes)),
            frozenset((label, choice) for label, choice in chosen.items() if label in matters),
        )
        if key not in self.known:
            self.known[key] = self.branch(nodes, chosen)
        return self.known[key]

    def branch(self, nodes: list[Node], chosen: _Chosen) -> int:
        """Decide what most of ``nodes`` share, and count for each choice of it."""
        shared = Counter(label for node in nodes for label in _labels(node) - chosen.keys())
        here = {s.label: s for node in nodes for s in node.specs if s.label not in chosen}
        label = max(shared, key=lambda name: (shared[name], name in here))
        constrained = set().union(*(condition.labels for condition in self.conditions))
        # Decide something that is active if nothing is shared, or if it matters to a condition
        # whether the label is active.
        if shared[label] == 1 or (label not in here and label in constrained):
            label = next(iter(here))
        spec, branching = _spec_of(label, nodes)
        if label not in here:
            without = self.count(nodes, {**chosen, label: _FORBIDDEN})
            choices = [spec.default] if not branching else list(spec.choices())
            each = [self.count(nodes, {**chosen, label: c}) - without for c in choices]
            return without + (sum(each) if branching else spec.size * each[0])
        if label not in constrained and not branching:
            return spec.size * self.count(nodes, {**chosen, label: spec.default})
        total = 0
        for choice in spec.choices():
            further = {**chosen, label: choice}
            decided = _decided(further)
            asked = [c for c in self.conditions if label in c.labels <= decided.keys()]
            if all(condition.holds(decided) for condition in asked):
                total += self.count(nodes, further)
        return total


def _labels(node: Node) -> set[str]:
    """Return the labels at and below a node."""
    return {spec.label for below in reachable([node]) for spec in below.specs}


def _spec_of(label: str, nodes: Iterable[Node]) -> tuple[ParameterSpec, bool]:
    """Return a label's spec, and whether anything below ``nodes`` depends on what it takes."""
    below = reachable(nodes)
    spec = next(s for node in below for s in node.specs if s.label == label)
    return spec, any(label in gate.labels for node in below for gate in node.gates)


def _decided(chosen: _Chosen) -> dict[str, Choice]:
    return {label: c for label, c in chosen.items() if not isinstance(c, _Forbidden)}
