"""The choices in a module tree, and which architectures they allow.

A choice inside a candidate decides nothing unless that candidate is taken. The space is
therefore a small tree of nodes (one for each choice module, by branch), read once from a
module tree, whether mutated or not; everything else walks that.

Constraints are conditions between labels. A partial architecture is *possible* as long as no
condition whose labels are all decided and active is false; every draw, listing and count goes
through partial architectures and leaves the impossible ones out.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from torch import nn

from .errors import ArchitectureError, LabelError, SpaceError
from .space.constraint import constraints_of
from .space.mutable import MutableModule
from .space.spec import Candidate, Choice, ParameterSpec
from .space.value import Value
from .supernet import BaseSuperNetModule

MAX_LISTED = 4096
"""Choices are listed to draw one of them up to this number."""
TRIES = 200
"""Draws that may break a constraint before one is built that cannot."""


@dataclass(frozen=True)
class _Gate:
    """Nodes that decide something only under a condition on some labels."""

    labels: frozenset[str]
    opens: Callable[[Mapping[str, Choice]], bool]
    nodes: list[_Node]


@dataclass
class _Node:
    """One choice module: what it decides, and the choices below it."""

    specs: tuple[ParameterSpec, ...]
    gates: list[_Gate] = field(default_factory=list)
    always: list[_Node] = field(default_factory=list)


class ModelSpace:
    """The model space of ``root``: its choices by label, and what depends on what.

    Args:
        root: a model with choices, before or after mutation. Only read, not kept.
        constraints: conditions that hold beside those attached to ``root``.

    Attributes:
        specs: label -> :class:`ParameterSpec`, in walk order.
        constraints: conditions that every architecture keeps.

    Raises:
        LabelError: one label names two different choices.
        SpaceError: a constraint is about a label that the model does not have, nothing keeps
            all constraints, or they leave in what a layer cannot be built with.
    """

    specs: dict[str, ParameterSpec]
    constraints: tuple[Value, ...]

    def __init__(self, root: nn.Module, constraints: Iterable[Value] = ()) -> None:
        self.specs = {}
        reader = _Reader(root, self.specs)
        self._nodes = reader.nodes([root])
        given = {repr(c): c for c in (*constraints_of(root), *constraints)}
        self.constraints = tuple(given.values())
        self._conditions = [_Condition(c, frozenset(c.specs)) for c in self.constraints]
        for condition in self._conditions:
            self._check_condition(condition)
        if self._conditions:
            self.default()  # raises if there is no architecture at all
        for path, name, chosen, why in reader.impossible:
            self._require_excluded(path, name, chosen, why)

    @property
    def fingerprint(self) -> str:
        """A short hash of labels, candidates and counts; equal for equal spaces."""
        text = json.dumps(self.describe(), sort_keys=True)
        if self.constraints:
            text += json.dumps(sorted(map(repr, self.constraints)))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def describe(self) -> dict[str, dict[str, object]]:
        """Return the specs as JSON-able data."""
        return {label: spec.describe() for label, spec in self.specs.items()}

    @property
    def size(self) -> int:
        """Count the architectures, each once however its unused choices stand.

        Exact, with constraints. ``math.inf`` where an interval is among the choices.
        """
        return _count(self._nodes, {}, self._conditions)

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
            for spec in node.specs:
                if spec.label not in seen:
                    seen.add(spec.label)
                    yield spec
            stack += reversed([*node.always, *_opened(node, chosen)])

    def architectures(self) -> Iterator[dict[str, Choice]]:
        """Yield every architecture once: label -> choice for its active choices."""
        yield from self._complete({})

    def possible(self, partial: Mapping[str, Choice]) -> bool:
        """Say whether no constraint is broken by what ``partial`` decides."""
        return not self._broken(partial)

    def _broken(self, partial: Mapping[str, Choice]) -> list[_Condition]:
        if not self._conditions:
            return []
        decided = self.reduce(partial)
        return [c for c in self._conditions if c.labels <= decided.keys() and not c.holds(decided)]

    def _complete(
        self,
        partial: dict[str, Choice],
        order: Callable[[ParameterSpec], Iterable[Choice]] = ParameterSpec.choices,
    ) -> Iterator[dict[str, Choice]]:
        """Yield every possible completion, choices tried in an ``order``."""
        undecided = next((s for s in self.active(partial) if s.label not in partial), None)
        if undecided is None:
            yield partial
            return
        for choice in order(undecided):
            further = {**partial, undecided.label: choice}
            if self.possible(further):
                yield from self._complete(further, order)

    def sample(self, rng: random.Random) -> dict[str, Choice]:
        """Draw an architecture: every active choice uniformly, from ``rng`` alone.

        A choice with a prior is drawn by that. With constraints, as if draws that break one were
        thrown away.
        """
        return self.complete({}, rng)

    def complete(self, partial: Mapping[str, Choice], rng: random.Random) -> dict[str, Choice]:
        """Draw what ``partial`` leaves open, as :meth:`sample`, and drop what decides nothing.

        Raises:
            ArchitectureError: no completion of ``partial`` keeps the constraints.
        """
        for _ in range(TRIES):
            drawn = self.reduce(self._draw(partial, rng))
            if self.possible(drawn):
                return drawn

        def shuffled(spec: ParameterSpec) -> list[Choice]:
            if spec.interval is not None:
                return [spec.draw(rng) for _ in range(TRIES)]
            return rng.sample(list(spec.choices()), spec.size)

        found = next(self._complete(self.reduce(partial), shuffled), None)
        if found is None or not self.possible(found):
            raise ArchitectureError(
                f"no architecture with {dict(partial)} keeps the constraints.\n"
                f"  expected: {', '.join(map(repr, self.constraints))}\n"
                "  fix: decide less, or something else"
            )
        return self.reduce(found)

    def _draw(self, partial: Mapping[str, Choice], rng: random.Random) -> dict[str, Choice]:
        chosen = dict(partial)
        for spec in _growing(self, chosen):
            if spec.interval is not None or spec.prior is not None:
                chosen[spec.label] = spec.draw(rng)
            elif spec.size < MAX_LISTED:
                choices = list(spec.choices())
                chosen[spec.label] = choices[int(rng.random() * len(choices))]
            elif spec.n_chosen is None:  # subsets; the empty one is drawn again
                taken: list[Candidate] = []
                while not taken:
                    taken = [c for c in spec.candidates if rng.random() < 0.5]
                chosen[spec.label] = spec.normalise(taken)
            else:
                chosen[spec.label] = spec.normalise(rng.sample(spec.candidates, spec.n_chosen))
        return chosen

    def reduce(self, chosen: Mapping[str, Choice]) -> dict[str, Choice]:
        """Drop the choices that decide nothing under ``chosen``; add nothing."""
        return {s.label: chosen[s.label] for s in self.active(chosen) if s.label in chosen}

    def default(self) -> dict[str, Choice]:
        """Return the architecture that the model runs before any search.

        Where that breaks a constraint, the first that keeps them all, defaults being tried
        first, later choices changed before earlier ones.
        """

        found = self.nearest({})
        if found is None:
            raise SpaceError(
                "nothing keeps the constraints of the model space.\n"
                f"  expected: at least one architecture with "
                f"{', '.join(map(repr, self.constraints))}\n"
                "  fix: correct the conditions given to oneshot.constrain"
            )
        return found

    def nearest(
        self, partial: Mapping[str, Choice], like: Mapping[str, Choice] | None = None
    ) -> dict[str, Choice] | None:
        """Complete ``partial`` with the choices of ``like``, and with defaults where it has none.

        Where that breaks a constraint, the first completion that keeps them all, the same choices
        being tried first, later ones changed before earlier ones. None if there is none.
        """
        wanted = dict(like or {})
        chosen = {**wanted, **partial}
        for spec in _growing(self, chosen):
            chosen[spec.label] = spec.default
        chosen = self.reduce(chosen)
        if self.possible(chosen):
            return chosen

        def wanted_first(spec: ParameterSpec) -> Iterator[Choice]:
            first = wanted.get(spec.label, spec.default)
            yield first
            if spec.interval is None:
                yield from (choice for choice in spec.choices() if choice != first)

        found = next(self._complete(dict(partial), wanted_first), None)
        return None if found is None or not self.possible(found) else self.reduce(found)

    def _require_excluded(
        self, path: str, name: str, chosen: Mapping[str, Choice], why: str
    ) -> None:
        if not self.possible(chosen):
            return
        completions = islice(self._complete(dict(chosen)), MAX_LISTED)
        if any(chosen.keys() <= architecture.keys() for architecture in completions):
            raise SpaceError(
                f"the {name} at {path!r} cannot be built with {dict(chosen)}: {why}.\n"
                "  expected: only architectures that can be built\n"
                "  fix: rule it out, as by oneshot.constrain(model, width % groups == 0)"
            )

    def _check_condition(self, condition: _Condition) -> None:
        for label, spec in condition.value.specs.items():
            if self.specs.get(label) != spec:
                known = self.specs.get(label)
                raise SpaceError(
                    f"the constraint {condition.value!r} is about {label!r}, which is "
                    f"{'no choice of the model' if known is None else known.offer}.\n"
                    f"  expected: choices among {list(self.specs)}\n"
                    "  fix: use the values that the layers of the model use"
                )

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
                wrong.append(
                    f"{label!r}: {value!r} is none of {list(spec.candidates)}"
                    if spec.interval is None
                    else f"{label!r}: {value!r} is not {spec.offer}"
                )
        if not wrong:
            missing = [s.label for s in self.active(normal) if s.label not in normal]
            wrong += [f"{label!r} is not decided" for label in missing]
            wrong += [f"it breaks the constraint {c.value!r}" for c in self._broken(normal)]
        if wrong:
            raise ArchitectureError(
                "the architecture does not fit this model space:\n"
                + "".join(f"    {line}\n" for line in wrong)
                + f"  expected: choices for {sorted(self.specs)}\n"
                "  fix: use an architecture that was exported from this model"
            )
        return self.reduce(normal)


@dataclass(frozen=True)
class _Condition:
    """A constraint and what it is about."""

    value: Value
    labels: frozenset[str]

    def holds(self, chosen: Mapping[str, Choice]) -> bool:
        return bool(self.value.evaluate(chosen))


@dataclass(frozen=True)
class _Taken:
    """Whether a candidate is taken."""

    spec: ParameterSpec
    candidate: Candidate

    def __call__(self, chosen: Mapping[str, Choice]) -> bool:
        return self.candidate in self.spec.members(chosen[self.spec.label])


def _opened(node: _Node, chosen: Mapping[str, Choice]) -> Iterator[_Node]:
    """Yield the nodes below ``node`` whose conditions are decided and hold."""
    for gate in node.gates:
        if gate.labels <= chosen.keys() and gate.opens(chosen):
            yield from gate.nodes


class _Reader:
    """Read nodes from modules; a module in several places becomes one node."""

    def __init__(self, root: nn.Module, specs: dict[str, ParameterSpec]) -> None:
        self.paths = {module: path for path, module in root.named_modules()}
        self.known: dict[nn.Module, _Node] = {}
        self.impossible: list[tuple[str, str, Mapping[str, Choice], str]] = []
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
            if isinstance(module, (MutableModule, BaseSuperNetModule)):
                node = self.node(module)
                found[id(node)] = node
            else:
                stack += reversed(list(module.children()))
        return list(found.values())

    def node(self, module: MutableModule | BaseSuperNetModule) -> _Node:
        if module in self.known:
            return self.known[module]
        path = self.paths[module]
        if isinstance(module, MutableModule):
            specs = module.specs_at(path)
            branches, gates = module.branches_at(path), module.gates_at(path)
            impossible = module.impossible_at(path)
        else:
            specs = tuple(module.search_space_spec().values())
            branches, gates = module.branches(), module.gates()
            impossible = module.impossible()
        name = type(module).__name__
        self.impossible += [(path, name, chosen, why) for chosen, why in impossible]
        node = self.known[module] = _Node(specs)
        for spec in specs:
            known = self.specs.setdefault(spec.label, spec)
            if known != spec:
                raise LabelError(
                    f"the label {spec.label!r} names two different choices.\n"
                    f"  one offers {known.offer}, the one at {path!r} offers {spec.offer}\n"
                    "  fix: give the second one another label, or the same candidates"
                )
        conditional: set[nn.Module] = set()
        by_label = {spec.label: spec for spec in specs}
        for label, by_candidate in branches.items():
            for candidate, parts in by_candidate.items():
                conditional.update(parts)
                below = self.nodes(parts)
                if below:
                    taken = _Taken(by_label[label], candidate)
                    node.gates.append(_Gate(frozenset([label]), taken, below))
        for condition, parts in gates:
            conditional.update(parts)
            below = self.nodes(parts)
            if below:
                node.gates.append(_Gate(frozenset(condition.specs), condition.evaluate, below))
        node.always = self.nodes(module.children(), leave_out=conditional)
        return node


def _growing(space: ModelSpace, partial: dict[str, Choice]) -> Iterator[ParameterSpec]:
    """Yield undecided active specs until the caller has decided all in ``partial``."""
    while True:
        undecided = [spec for spec in space.active(partial) if spec.label not in partial]
        if not undecided:
            return
        yield from undecided


class _Forbidden:
    """In the place of a choice: count only where its label decides nothing."""


_FORBIDDEN = _Forbidden()
_Chosen: TypeAlias = "Mapping[str, Choice | _Forbidden]"


def _count(nodes: Iterable[_Node], chosen: _Chosen, conditions: Sequence[_Condition]) -> int:
    """Count the ways to complete ``chosen`` at and below ``nodes``.

    Groups of choices that have no label and no condition in common, however deep, are
    independent of each other: their counts multiply.
    """
    undecided: list[_Node] = []
    for node in _active(nodes, chosen):
        if any(chosen.get(spec.label) is _FORBIDDEN for spec in node.specs):
            return 0
        if any(spec.label not in chosen for spec in node.specs):
            undecided.append(node)
    groups: list[tuple[set[str], list[_Node]]] = []
    for node in undecided:
        labels = _labels(node) - chosen.keys()
        members = [node]
        for group in [g for g in groups if g[0] & labels or _connected(g[0], labels, conditions)]:
            groups.remove(group)
            labels |= group[0]
            members += group[1]
        groups.append((labels, members))
    return math.prod(_count_group(members, chosen, conditions) for _, members in groups)


def _count_group(nodes: list[_Node], chosen: _Chosen, conditions: Sequence[_Condition]) -> int:
    """Count for choices that depend on each other, by deciding what most of them share first."""
    shared = Counter(label for node in nodes for label in _labels(node) - chosen.keys())
    here = {s.label: s for node in nodes for s in node.specs if s.label not in chosen}
    label = max(shared, key=lambda name: (shared[name], name in here))
    if shared[label] == 1:  # nothing is shared, so something that is active
        label = next(iter(here))
    spec, branching = _spec_of(label, nodes)
    constrained = any(label in condition.labels for condition in conditions)
    if label not in here:
        if constrained:  # it matters whether it is active: decide something that is
            label = next(iter(here))
            spec, branching = _spec_of(label, nodes)
            constrained = any(label in condition.labels for condition in conditions)
        else:
            without = _count(nodes, {**chosen, label: _FORBIDDEN}, conditions)
            choices = [spec.default] if not branching else list(spec.choices())
            each = [_count(nodes, {**chosen, label: c}, conditions) - without for c in choices]
            return without + (sum(each) if branching else spec.size * each[0])
    if not constrained and not branching:
        return spec.size * _count(nodes, {**chosen, label: spec.default}, conditions)
    total = 0
    for choice in spec.choices():
        further = {**chosen, label: choice}
        decided = _decided(further)
        asked = [c for c in conditions if label in c.labels and c.labels <= decided.keys()]
        if all(condition.holds(decided) for condition in asked):
            total += _count(nodes, further, conditions)
    return total


def _connected(one: set[str], other: set[str], conditions: Sequence[_Condition]) -> bool:
    return any(c.labels & one and c.labels & other for c in conditions)


def _labels(node: _Node) -> set[str]:
    """Return the labels at and below a node."""
    return {spec.label for below in _reachable([node]) for spec in below.specs}


def _spec_of(label: str, nodes: Iterable[_Node]) -> tuple[ParameterSpec, bool]:
    """Return a label's spec, and whether anything below ``nodes`` depends on what it takes."""
    reachable = _reachable(nodes)
    spec = next(s for node in reachable for s in node.specs if s.label == label)
    return spec, any(label in gate.labels for node in reachable for gate in node.gates)


def _active(nodes: Iterable[_Node], chosen: _Chosen) -> list[_Node]:
    """Return the nodes that are active under ``chosen``."""
    decided = _decided(chosen)
    return _closure(nodes, lambda node: [*node.always, *_opened(node, decided)])


def _decided(chosen: _Chosen) -> dict[str, Choice]:
    return {label: c for label, c in chosen.items() if not isinstance(c, _Forbidden)}


def _reachable(nodes: Iterable[_Node]) -> list[_Node]:
    """Return ``nodes`` and all below them, active or not."""

    def below(node: _Node) -> Iterator[_Node]:
        yield from node.always
        for gate in node.gates:
            yield from gate.nodes

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
