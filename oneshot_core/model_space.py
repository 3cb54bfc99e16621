"""The choices in a module tree, and which architectures they allow.

A choice inside a candidate decides nothing unless that candidate is taken. The space is
therefore a small tree of nodes (one for each choice module, by branch), read once from a
module tree, whether mutated or not; everything else walks that.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import nn

from .errors import ArchitectureError, LabelError
from .space.mutable import Mutable
from .space.spec import Candidate, Choice, ParameterSpec
from .supernet import BaseSuperNetModule

MAX_LISTED = 4096
"""Choices are listed to draw one of them up to this number."""

Branches: TypeAlias = "dict[str, dict[Candidate, list[_Node]]]"


@dataclass
class _Node:
    """One choice module: what it decides, and the choices below it."""

    specs: tuple[ParameterSpec, ...]
    branches: Branches = field(default_factory=dict)
    always: list[_Node] = field(default_factory=list)


class ModelSpace:
    """The model space of ``root``: its choices by label, and what depends on what.

    Args:
        root: a model with choices, before or after mutation. Only read, not kept.

    Attributes:
        specs: label -> :class:`ParameterSpec`, in walk order.

    Raises:
        LabelError: one label names two different choices.
    """

    specs: dict[str, ParameterSpec]

    def __init__(self, root: nn.Module) -> None:
        self.specs = {}
        reader = _Reader(root, self.specs)
        self._nodes = reader.nodes([root])

    @property
    def fingerprint(self) -> str:
        """A short hash of labels, candidates and counts; equal for equal spaces."""
        text = json.dumps(self.describe(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def describe(self) -> dict[str, dict[str, object]]:
        """Return the specs as JSON-able data."""
        return {
            label: {"candidates": list(spec.candidates), "n_chosen": spec.n_chosen}
            for label, spec in self.specs.items()
        }

    @property
    def size(self) -> int:
        """Count the architectures, each once however its unused choices stand."""
        return _count(self._nodes, {})

    def __len__(self) -> int:
        """Return :attr:`size`; Python refuses lengths from ``2**63`` on, ``size`` has no limit."""
        return self.size

    def __bool__(self) -> bool:
        return True  # a model without choices is one architecture

    def active(self, chosen: Mapping[str, Choice]) -> Iterator[ParameterSpec]:
        """Yield the specs that decide something under ``chosen``, each once, in walk order.

        A spec that ``chosen`` does not decide is yielded; what depends on it is not.
        """
        seen: set[str] = set()
        stack = list(reversed(self._nodes))
        while stack:
            node = stack.pop()
            below = list(node.always)
            for spec in node.specs:
                if spec.label not in seen:
                    seen.add(spec.label)
                    yield spec
                if spec.label in chosen:
                    branches = node.branches.get(spec.label, {})
                    for candidate in spec.members(chosen[spec.label]):
                        below += branches.get(candidate, [])
            stack += reversed(below)

    def architectures(self) -> Iterator[dict[str, Choice]]:
        """Yield every architecture once: label -> choice for its active choices."""
        yield from self._complete({})

    def _complete(self, partial: dict[str, Choice]) -> Iterator[dict[str, Choice]]:
        undecided = next((s for s in self.active(partial) if s.label not in partial), None)
        if undecided is None:
            yield partial
            return
        for choice in undecided.choices():
            yield from self._complete({**partial, undecided.label: choice})

    def sample(self, rng: random.Random) -> dict[str, Choice]:
        """Draw an architecture: every active choice uniformly, from ``rng`` alone."""
        return self.complete({}, rng)

    def complete(self, partial: Mapping[str, Choice], rng: random.Random) -> dict[str, Choice]:
        """Draw what ``partial`` leaves open, uniformly, and drop what decides nothing."""
        chosen = dict(partial)
        for spec in _growing(self, chosen):
            if spec.size < MAX_LISTED:
                choices = list(spec.choices())
                chosen[spec.label] = choices[int(rng.random() * len(choices))]
            elif spec.n_chosen is None:  # subsets; the empty one is drawn again
                taken: list[Candidate] = []
                while not taken:
                    taken = [c for c in spec.candidates if rng.random() < 0.5]
                chosen[spec.label] = spec.normalise(taken)
            else:
                chosen[spec.label] = spec.normalise(rng.sample(spec.candidates, spec.n_chosen))
        return self.reduce(chosen)

    def reduce(self, chosen: Mapping[str, Choice]) -> dict[str, Choice]:
        """Drop the choices that decide nothing under ``chosen``; add nothing."""
        return {s.label: chosen[s.label] for s in self.active(chosen) if s.label in chosen}

    def default(self) -> dict[str, Choice]:
        """Return the architecture that the model runs before any search."""
        partial: dict[str, Choice] = {}
        for spec in _growing(self, partial):
            partial[spec.label] = spec.default
        return partial

    def validate(self, chosen: Mapping[str, object]) -> dict[str, Choice]:
        """Return ``chosen`` in normal form, reduced to what decides something.

        Raises:
            ArchitectureError: it names unknown labels, misses active ones, or gives a value
                that is no candidate; all of them are listed.
        """
        wrong: list[str] = []
        normal: dict[str, Choice] = {}
        for label, value in chosen.items():
            if label not in self.specs:
                wrong.append(f"{label!r} is not a choice of this model")
                continue
            try:
                normal[label] = self.specs[label].normalise(value)
            except ArchitectureError:
                spec = self.specs[label]
                wrong.append(f"{label!r}: {value!r} is none of {list(spec.candidates)}")
        if not wrong:
            missing = [s.label for s in self.active(normal) if s.label not in normal]
            wrong += [f"{label!r} is not decided" for label in missing]
        if wrong:
            raise ArchitectureError(
                "the architecture does not fit this model space:\n"
                + "".join(f"    {line}\n" for line in wrong)
                + f"  expected: choices for {sorted(self.specs)}\n"
                "  fix: use an architecture that was exported from this model"
            )
        return self.reduce(normal)


class _Reader:
    """Read nodes from modules; a module in several places becomes one node."""

    def __init__(self, root: nn.Module, specs: dict[str, ParameterSpec]) -> None:
        self.paths = {module: path for path, module in root.named_modules()}
        self.known: dict[nn.Module, _Node] = {}
        self.specs = specs

    def nodes(
        self, modules: Iterable[nn.Module], leave_out: Iterable[nn.Module] = ()
    ) -> list[_Node]:
        """Return the nearest choices at or below ``modules``, in walk order."""
        found: dict[int, _Node] = {}
        seen: set[nn.Module] = set(leave_out)
        stack = list(reversed(list(modules)))
        while stack:
            module = stack.pop()
            if module in seen:
                continue
            seen.add(module)
            if isinstance(module, (Mutable, BaseSuperNetModule)):
                node = self.node(module)
                found[id(node)] = node
            else:
                stack += reversed(list(module.children()))
        return list(found.values())

    def node(self, module: Mutable | BaseSuperNetModule) -> _Node:
        if module in self.known:
            return self.known[module]
        branches: dict[str, Mapping[Candidate, Iterable[nn.Module]]]
        if isinstance(module, Mutable):
            label = choice_label(module, self.paths[module])
            specs: tuple[ParameterSpec, ...] = (module.spec(label),)
            branches = {label: module.branches()}
        else:
            specs = tuple(module.search_space_spec().values())
            branches = dict(module.branches())
        node = self.known[module] = _Node(specs)
        for spec in specs:
            known = self.specs.setdefault(spec.label, spec)
            if known != spec:
                raise LabelError(
                    f"the label {spec.label!r} names two different choices.\n"
                    f"  one offers {list(known.candidates)}, the one at "
                    f"{self.paths[module]!r} offers {list(spec.candidates)}\n"
                    "  fix: give the second one another label, or the same candidates"
                )
        conditional: set[nn.Module] = set()
        for label, by_candidate in branches.items():
            node.branches[label] = {}
            for candidate, parts in by_candidate.items():
                parts = list(parts)
                conditional.update(parts)
                node.branches[label][candidate] = self.nodes(parts)
        node.always = self.nodes(module.children(), leave_out=conditional)
        return node


def choice_label(module: Mutable, path: str) -> str:
    """Return the label under which the choice at ``path`` decides."""
    return module.label if module.label is not None else path


def _growing(space: ModelSpace, partial: dict[str, Choice]) -> Iterator[ParameterSpec]:
    """Yield undecided active specs until the caller has decided all in ``partial``."""
    while True:
        undecided = [spec for spec in space.active(partial) if spec.label not in partial]
        if not undecided:
            return
        yield from undecided


def _count(nodes: Iterable[_Node], chosen: Mapping[str, Choice]) -> int:
    """Count the ways to complete ``chosen`` at and below ``nodes``.

    Groups of choices that have no label in common, however deep, are independent of each
    other: their counts multiply.
    """
    groups: list[tuple[set[str], list[_Node]]] = []
    for node in _undecided(nodes, chosen):
        labels = {spec.label for below in _reachable([node]) for spec in below.specs}
        labels -= chosen.keys()
        members = [node]
        for group in [group for group in groups if group[0] & labels]:
            groups.remove(group)
            labels |= group[0]
            members += group[1]
        groups.append((labels, members))
    return math.prod(_count_group(members, chosen) for _, members in groups)


def _count_group(nodes: list[_Node], chosen: Mapping[str, Choice]) -> int:
    spec = next(spec for spec in nodes[0].specs if spec.label not in chosen)
    branches = [node.branches.get(spec.label, {}) for node in _reachable(nodes)]
    if not any(below for by_candidate in branches for below in by_candidate.values()):
        return spec.size * _count(nodes, {**chosen, spec.label: spec.default})
    return sum(_count(nodes, {**chosen, spec.label: choice}) for choice in spec.choices())


def _undecided(nodes: Iterable[_Node], chosen: Mapping[str, Choice]) -> list[_Node]:
    """Return the active nodes of which something is not decided."""

    def active(node: _Node) -> Iterator[_Node]:
        yield from node.always
        for spec in node.specs:
            if spec.label in chosen:
                for candidate in spec.members(chosen[spec.label]):
                    yield from node.branches.get(spec.label, {}).get(candidate, [])

    return [
        node
        for node in _closure(nodes, active)
        if any(spec.label not in chosen for spec in node.specs)
    ]


def _reachable(nodes: Iterable[_Node]) -> list[_Node]:
    """Return ``nodes`` and all below them, active or not."""

    def below(node: _Node) -> Iterator[_Node]:
        yield from node.always
        for by_candidate in node.branches.values():
            for nodes in by_candidate.values():
                yield from nodes

    return _closure(nodes, below)


def _closure(nodes: Iterable[_Node], below: Callable[[_Node], Iterable[_Node]]) -> list[_Node]:
    found: dict[int, _Node] = {}
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if id(node) not in found:
            found[id(node)] = node
            stack += below(node)
    return list(found.values())
