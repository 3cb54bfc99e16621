"""Choices that conditions tie together, counted and drawn without trying them one by one.

Labels are decided in their order. What is undecided falls apart into groups that no condition
connects, and their counts multiply; a count depends only on those decided labels that conditions
of the group are about, so it is kept for them. Conditions are asked as soon as all they are about
is decided. So a chain such as ``w1 <= w2 <= w3`` costs little however long it is, and the cells of
NAS-Bench-101, of which one in four hundred draws is a cell, are counted in seconds.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Protocol, TypeVar

from ..space.spec import Choice, ParameterSpec

T = TypeVar("T")


class Condition(Protocol):
    """What must hold between the choices of some labels."""

    @property
    def labels(self) -> frozenset[str]: ...

    def holds(self, chosen: Mapping[str, Choice]) -> bool: ...


class TooManyError(Exception):
    """Counting would take longer than anyone waits."""


class Tied:
    """Labels and the conditions between them.

    Args:
        specs: of the labels; no interval.
        conditions: about these labels alone.
        limit: on the choices tried.
    """

    def __init__(
        self, specs: Sequence[ParameterSpec], conditions: Sequence[Condition], limit: int
    ) -> None:
        self._roots = [
            _grow(group, conditions, frozenset()) for group in groups_of(specs, conditions)
        ]
        self._limit = self._left = limit

    def count(self, chosen: Mapping[str, Choice]) -> int:
        """Count the ways to decide all labels that keep what ``chosen`` decides.

        Raises:
            TooManyError: the limit is reached.
        """
        self._left = self._limit
        return math.prod(self._count(root, dict(chosen)) for root in self._roots)

    def draw(self, chosen: Mapping[str, Choice], rng: random.Random) -> dict[str, Choice] | None:
        """Draw what ``chosen`` leaves open, all ways equally probable; None if there is none.

        Raises:
            TooManyError: the limit is reached.
        """
        drawn = dict(chosen)
        if not self.count(drawn):
            return None
        stack = list(self._roots)
        while stack:
            tie = stack.pop()
            ways = list(self._ways(tie, drawn))
            total = sum(count for _, count in ways)
            upto = list(accumulate(count / total for _, count in ways))
            upto[-1] = 1.0  # whatever rounding left
            drawn[tie.spec.label] = ways[bisect_right(upto, rng.random())][0]
            stack += tie.then
        return drawn

    def _count(self, tie: _Tie, chosen: dict[str, Choice]) -> int:
        key = tuple(chosen.get(label, _OPEN) for label in tie.about)
        if key not in tie.known:
            tie.known[key] = sum(count for _, count in self._ways(tie, chosen))
        return tie.known[key]

    def _ways(self, tie: _Tie, chosen: dict[str, Choice]) -> list[tuple[Choice, int]]:
        label = tie.spec.label
        given = label in chosen
        found = []
        for choice in [chosen[label]] if given else tie.spec.choices():
            self._left -= 1
            if self._left < 0:
                raise TooManyError
            further = {**chosen, label: choice}
            if all(condition.holds(further) for condition in tie.asked):
                count = math.prod(self._count(below, further) for below in tie.then)
                if count:
                    found.append((choice, count))
        return found


_OPEN: Any = object()


@dataclass
class _Tie:
    """A label, the conditions that it completes, and what is decided after it."""

    spec: ParameterSpec
    asked: list[Condition]
    about: list[str]
    then: list[_Tie]
    known: dict[tuple[Choice, ...], int] = field(default_factory=dict)


def groups_of(
    specs: Sequence[ParameterSpec], conditions: Sequence[Condition]
) -> list[list[ParameterSpec]]:
    """Return the groups that no condition connects, each in the order of ``specs``."""
    return [group for _, group in grouped([(s, {s.label}) for s in specs], conditions)]


def grouped(
    items: Sequence[tuple[T, set[str]]], conditions: Sequence[Condition]
) -> list[tuple[set[str], list[T]]]:
    """Put items together that share a label or a condition, directly or through others.

    Args:
        items: each with its labels, at least one.
        conditions: what connects labels.

    Returns:
        The labels and the items of each group, in the order of ``items``.
    """
    leader: dict[str, str] = {}

    def leading(label: str) -> str:
        while leader[label] != label:
            leader[label] = label = leader[leader[label]]
        return label

    def join(labels: Iterable[str]) -> None:
        first: str | None = None
        for label in labels:
            own = leading(leader.setdefault(label, label))
            first = own if first is None else first
            leader[own] = first

    for _, labels in items:
        join(labels)
    for condition in conditions:
        join(label for label in condition.labels if label in leader)
    groups: dict[str, tuple[set[str], list[T]]] = {}
    for item, labels in items:
        joined, members = groups.setdefault(leading(next(iter(labels))), (set(), []))
        joined |= labels
        members.append(item)
    return list(groups.values())


def _grow(
    specs: Sequence[ParameterSpec], conditions: Sequence[Condition], decided: frozenset[str]
) -> _Tie:
    first, *rest = specs
    now = decided | {first.label}
    labels = {spec.label for spec in specs}
    about = {label for c in conditions if c.labels & labels for label in c.labels & decided}
    return _Tie(
        first,
        [c for c in conditions if first.label in c.labels and c.labels <= now],
        # what is given may stand below as well, and then counts are others
        [*sorted(about), *(spec.label for spec in specs)],
        [_grow(group, conditions, now) for group in groups_of(rest, conditions)],
    )
