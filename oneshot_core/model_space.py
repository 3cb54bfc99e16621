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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import nn

from .errors import ArchitectureError, LabelError
from .space.mutable import Mutable
from .space.spec import Candidate, Choice, ParameterSpec
from .supernet import BaseSuperNetModule

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
        labels = [spec.label for node in reader.known.values() for spec in node.specs]
        self._labels_repeat = len(set(labels)) != len(labels)
        self._conditional = any(
            below
            for node in reader.known.values()
            for b in node.branches.values()
            for below in b.values()
        )

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

    def __len__(self) -> int:
        """Count the architectures, each counted once however its unused choices stand."""
        if not self._conditional:
            return math.prod(spec.size for spec in self.specs.values())
        if not self._labels_repeat:
            return _count(self._nodes)
        return sum(1 for _ in self.architectures())

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
        partial: dict[str, Choice] = {}
        for spec in _growing(self, partial):
            choices = list(spec.choices()) if spec.size < 4096 else None
            if choices is None:
                taken = rng.sample(list(spec.candidates), spec.n_chosen or len(spec.candidates))
                partial[spec.label] = spec.normalise(taken)
            else:
                partial[spec.label] = choices[int(rng.random() * len(choices))]
        return partial

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

    def nodes(self, modules: Iterable[nn.Module]) -> list[_Node]:
        """Return the nearest choices at or below ``modules``, in walk order."""
        found: dict[int, _Node] = {}
        seen: set[nn.Module] = set()
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
                conditional.update(sub for part in parts for sub in part.modules())
                node.branches[label][candidate] = self.nodes(parts)
        node.always = self._nodes_outside(module, conditional)
        return node

    def _nodes_outside(self, module: nn.Module, conditional: set[nn.Module]) -> list[_Node]:
        outside: list[nn.Module] = []
        stack = list(module.children())
        while stack:
            child = stack.pop(0)
            if child in conditional:
                continue
            if isinstance(child, (Mutable, BaseSuperNetModule)):
                outside.append(child)
            else:
                stack += child.children()
        return self.nodes(outside)


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


def _count(nodes: Iterable[_Node]) -> int:
    return math.prod(_count_node(node) for node in nodes)


def _count_node(node: _Node) -> int:
    product = _count(node.always)
    for spec in node.specs:
        branches = node.branches.get(spec.label, {})
        product *= sum(
            math.prod(_count(branches.get(c, [])) for c in spec.members(choice))
            for choice in spec.choices()
        )
    return product
