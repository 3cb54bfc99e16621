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
from difflib import get_close_matches
from functools import cached_property
from itertools import islice
from typing import TypeAlias, cast

from torch import nn

from ..errors import ArchitectureError, LabelError, SpaceError
from ..space.constraint import constraints_of
from ..space.mutable import MutableModule
from ..space.spec import Candidate, Choice, ParameterSpec
from ..space.value import Value
from ..supernet import BaseSuperNetModule
from .tied import Tied, TooManyError, groups_of

MAX_LISTED = 4096
"""Choices are listed to draw one of them up to this number."""
MAX_PLACES = 4
"""Paths that a message shows for one label."""
GRID = 65
"""Numbers of an interval that are tried where its default breaks a constraint."""
TRIES = 200
"""Draws that may break a constraint before one is built that cannot."""
MAX_DRAWS = 1000
"""The same where a strategy draws, by probabilities of its own that building knows nothing of."""
RARE = 0.05
"""Where fewer draws than this part keep the constraints, all draws are built to keep them."""
MAX_COUNTED = 500_000
"""Choices that are tried to count tied choices."""


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
        paths: label -> where it is used: the paths of the modules that it decides about.
        constraints: conditions that every architecture keeps.

    Raises:
        LabelError: one label names two different choices.
        SpaceError: a constraint is about a label that the model does not have, nothing keeps
            all constraints, or they leave in what a layer cannot be built with.
    """

    specs: dict[str, ParameterSpec]
    paths: dict[str, tuple[str, ...]]
    constraints: tuple[Value, ...]

    def __init__(self, root: nn.Module, constraints: Iterable[Value] = ()) -> None:
        self.specs = {}
        reader = _Reader(root, self.specs)
        self._nodes = reader.nodes([root])
        self.paths = {label: tuple(places) for label, places in reader.used_at.items()}
        given = {repr(c): c for c in (*constraints_of(root), *constraints)}
        self.constraints = tuple(given.values())
        self._conditions = [_Condition(c, frozenset(c.specs)) for c in self.constraints]
        for condition in self._conditions:
            self._check_condition(condition)
        if self._conditions:
            self.default()  # raises if there is no architecture at all
        for node, path, name, chosen, why in reader.impossible:
            self._require_excluded(node, path, name, chosen, why)

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
        if any(spec.interval is not None for spec in self.specs.values()):
            return cast(int, math.inf)
        if self._tied is None:
            return _Counter(self._conditions).count(self._nodes, {})
        tied, specs = self._tied
        decided: dict[str, Choice] = {spec.label: spec.default for spec in specs}
        others = [c for c in self._conditions if not c.labels & decided.keys()]
        return tied.count({}) * _Counter(others).count(self._nodes, decided)

    @cached_property
    def _tied(self) -> tuple[Tied, list[ParameterSpec]] | None:
        """What can be counted at once: tied choices that always decide, and nothing else's place.

        None if there are none, or too many.
        """
        always = _closure(self._nodes, lambda node: node.always)
        free = {spec.label for node in always for spec in node.specs}
        gating = {
            label
            for node in _reachable(self._nodes)
            for gate in node.gates
            for label in gate.labels
        }
        groups = [
            group
            for group in groups_of(list(self.specs.values()), self._conditions)
            if any(c.labels & {group[0].label} for c in self._conditions)
            and all(
                s.label in free - gating and s.interval is None and s.prior is None for s in group
            )
        ]
        specs = [spec for group in groups for spec in group]
        labels = {spec.label for spec in specs}
        tied = Tied(specs, [c for c in self._conditions if c.labels <= labels], MAX_COUNTED)
        try:
            return (tied, specs) if specs and tied.count({}) else None
        except TooManyError:
            return None

    @cached_property
    def _drawn_together(self) -> Tied | None:
        """Tied choices of which independent draws would hardly ever keep the constraints."""
        if self._tied is None:
            return None
        tied, specs = self._tied
        combinations = math.prod(spec.size for spec in specs)
        return tied if tied.count({}) < RARE * combinations else None

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

    def normalise(self, partial: Mapping[str, object] | None) -> dict[str, Choice]:
        """Return choices, given for some labels in any form, in the one form they have here.

        Raises:
            ArchitectureError: a label is not in the space, or a value is no choice of its label.
        """
        unknown = sorted(map(str, (partial or {}).keys() - self.specs.keys()))
        if unknown:
            raise ArchitectureError(
                f"the labels {unknown} are not in the model.\n"
                f"  expected: labels of {sorted(self.specs)}\n"
                "  fix: correct them, or leave them out"
            )
        return {label: self.specs[label].normalise(v) for label, v in (partial or {}).items()}

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
        # A stack of its own: there may be more labels than Python can recurse.
        stack = [iter([partial])]
        while stack:
            current = next(stack[-1], None)
            if current is None:
                stack.pop()
                continue
            undecided = next((s for s in self.active(current) if s.label not in current), None)
            if undecided is None:
                yield current
            else:
                stack.append(self._with(current, undecided.label, order(undecided)))

    def _with(
        self, partial: dict[str, Choice], label: str, choices: Iterable[Choice]
    ) -> Iterator[dict[str, Choice]]:
        """Yield ``partial`` with each choice of one more label that is possible."""
        for choice in choices:
            further = {**partial, label: choice}
            if self.possible(further):
                yield further

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
        together = self._drawn_together
        for _ in range(TRIES):
            begun = partial if together is None else together.draw(partial, rng)
            if begun is None:
                break
            drawn = self.reduce(self._draw(begun, rng))
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

    def draw_possible(self, draw: Callable[[], dict[str, Choice]]) -> dict[str, Choice] | None:
        """Return the first of at most ``MAX_DRAWS`` draws that breaks no constraint, or None."""
        for _ in range(MAX_DRAWS):
            drawn = draw()
            if self.possible(drawn):
                return drawn
        return None

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

    def first(self, order: Callable[[ParameterSpec], Iterable[Choice]]) -> dict[str, Choice] | None:
        """Return the first architecture that keeps the constraints; None if there is none.

        Args:
            order: the choices of a spec in the order in which they are tried; choices that it
                leaves out are not taken. Later specs are changed before earlier ones.
        """
        return next(self._complete({}, order), None)

    def default(self) -> dict[str, Choice]:
        """Return the architecture that the model runs before any search.

        Where that breaks a constraint, the first that keeps them all, defaults being tried
        first, later choices changed before earlier ones. Of intervals a grid is tried.
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
            others = spec.choices() if spec.interval is None else spec.interval.grid(GRID)
            yield from (choice for choice in others if choice != first)

        found = next(self._complete(dict(partial), wanted_first), None)
        return None if found is None or not self.possible(found) else self.reduce(found)

    def _require_excluded(
        self, node: _Node, path: str, name: str, chosen: Mapping[str, Choice], why: str
    ) -> None:
        if not self.possible(chosen):
            return
        completions = islice(self._complete(dict(chosen)), MAX_LISTED)
        # The labels may decide elsewhere while the module itself is in a branch that is not taken.
        if any(
            chosen.keys() <= architecture.keys() and self._runs(node, architecture)
            for architecture in completions
        ):
            raise SpaceError(
                f"the {name} at {path!r} cannot be built with {dict(chosen)}: {why}.\n"
                "  expected: only architectures that can be built\n"
                "  fix: rule it out, as by oneshot.constrain(model, width % groups == 0)"
            )

    def _runs(self, node: _Node, chosen: Mapping[str, Choice]) -> bool:
        running = _closure(self._nodes, lambda n: [*n.always, *_opened(n, chosen)])
        return any(each is node for each in running)

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
                wrong.append(f"{label!r} is not a choice of this model{self._meant(label)}")
                continue
            try:
                normal[label] = self.specs[label].normalise(value)
            except ArchitectureError:
                spec = self.specs[label]
                refused = (
                    f"{value!r} is none of {list(spec.candidates)}"
                    if spec.interval is None
                    else f"{value!r} is not {spec.offer}"
                )
                wrong.append(f"{label!r}: {refused}{self._where(label)}")
        if not wrong:
            missing = [s.label for s in self.active(normal) if s.label not in normal]
            wrong += [f"{label!r} is not decided{self._where(label)}" for label in missing]
            wrong += [self._how_broken(c, normal) for c in self._broken(normal)]
        if wrong:
            raise ArchitectureError(
                "the architecture does not fit this model space:\n"
                + "".join(f"    {line}\n" for line in wrong)
                + f"  expected: choices for {sorted(self.specs)}\n"
                "  fix: use an architecture that was exported from this model"
            )
        return self.reduce(normal)

    def contains(self, chosen: Mapping[str, object]) -> bool:
        """Say whether ``chosen`` is an architecture of this space, as :meth:`validate` does."""
        try:
            self.validate(chosen)
        except ArchitectureError:
            return False
        return True

    def _where(self, label: str) -> str:
        """Say where a label is used, unless it is named after that place."""
        places = [repr(path) for path in self.paths[label] if path != label]
        if len(places) > MAX_PLACES:
            places[MAX_PLACES:] = [f"{len(places) - MAX_PLACES} more"]
        return f" (at {', '.join(places)})" if places else ""

    def _meant(self, label: object) -> str:
        near = get_close_matches(str(label), self.specs, n=1)
        return f"; is {near[0]!r} meant?" if near else ""

    def _how_broken(self, condition: _Condition, chosen: Mapping[str, Choice]) -> str:
        taken = ", ".join(
            f"{label}={chosen[label]!r}{self._where(label)}" for label in condition.value.specs
        )
        return f"it breaks the constraint {condition.value!r}: {taken}"


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
        self.used_at: dict[str, list[str]] = {}
        self.impossible: list[tuple[_Node, str, str, Mapping[str, Choice], str]] = []
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
        node = self.known[module] = _Node(specs)
        self.impossible += [(node, path, name, chosen, why) for chosen, why in impossible]
        for spec in specs:
            known = self.specs.setdefault(spec.label, spec)
            if known != spec:
                raise LabelError(
                    f"the label {spec.label!r} names two different choices.\n"
                    f"  the one at {self.used_at[spec.label][0]!r} offers {known.offer}, "
                    f"the one at {path!r} offers {spec.offer}\n"
                    "  fix: give the second one another label, or the same candidates"
                )
            self.used_at.setdefault(spec.label, []).append(path)
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
        independent = _independent(specs, node.gates)
        if len(independent) > 1:
            node.specs, node.gates, node.always = (), [], independent
        node.always = [*node.always, *self.nodes(module.children(), leave_out=conditional)]
        return node


def _independent(specs: Iterable[ParameterSpec], gates: Iterable[_Gate]) -> list[_Node]:
    """Part what one module decides into nodes that depend on each other in no gate.

    Their counts then multiply: a cell with ten inputs is ten small choices.
    """
    parts = [_Node((spec,)) for spec in specs]
    for gate in gates:
        joined = [part for part in parts if any(s.label in gate.labels for s in part.specs)]
        if not joined:  # it is about what other modules decide
            parts.append(_Node((), [gate]))
            continue
        first, *others = joined
        first.specs = tuple(spec for part in joined for spec in part.specs)
        first.gates = [*(known for part in joined for known in part.gates), gate]
        parts = [part for part in parts if not any(part is other for other in others)]
    return parts


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


class _Counter:
    """Counts the ways to complete partial architectures, each subproblem once."""

    def __init__(self, conditions: Sequence[_Condition]) -> None:
        self.conditions = conditions
        self.known: dict[object, int] = {}

    def count(self, nodes: Iterable[_Node], chosen: _Chosen) -> int:
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
        open_labels = [(node, _labels(node) - chosen.keys()) for node in undecided]
        return math.prod(
            self.count_group(members, labels, chosen)
            for labels, members in _groups(open_labels, self.conditions)
        )

    def count_group(self, nodes: list[_Node], labels: set[str], chosen: _Chosen) -> int:
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

    def branch(self, nodes: list[_Node], chosen: _Chosen) -> int:
        """Decide what most of ``nodes`` share, and count for each choice of it."""
        shared = Counter(label for node in nodes for label in _labels(node) - chosen.keys())
        here = {s.label: s for node in nodes for s in node.specs if s.label not in chosen}
        label = max(shared, key=lambda name: (shared[name], name in here))
        if shared[label] == 1:  # nothing is shared, so something that is active
            label = next(iter(here))
        spec, branching = _spec_of(label, nodes)
        constrained = any(label in condition.labels for condition in self.conditions)
        if label not in here:
            if constrained:  # it matters whether it is active: decide something that is
                label = next(iter(here))
                spec, branching = _spec_of(label, nodes)
                constrained = any(label in condition.labels for condition in self.conditions)
            else:
                without = self.count(nodes, {**chosen, label: _FORBIDDEN})
                choices = [spec.default] if not branching else list(spec.choices())
                each = [self.count(nodes, {**chosen, label: c}) - without for c in choices]
                return without + (sum(each) if branching else spec.size * each[0])
        if not constrained and not branching:
            return spec.size * self.count(nodes, {**chosen, label: spec.default})
        total = 0
        for choice in spec.choices():
            further = {**chosen, label: choice}
            decided = _decided(further)
            asked = [c for c in self.conditions if label in c.labels <= decided.keys()]
            if all(condition.holds(decided) for condition in asked):
                total += self.count(nodes, further)
        return total


def _groups(
    nodes: Sequence[tuple[_Node, set[str]]], conditions: Sequence[_Condition]
) -> list[tuple[set[str], list[_Node]]]:
    """Put nodes together that share a label or a condition, directly or through others."""
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

    for _, labels in nodes:
        join(labels)
    for condition in conditions:
        join(label for label in condition.labels if label in leader)
    groups: dict[str, tuple[set[str], list[_Node]]] = {}
    for node, labels in nodes:
        joined, members = groups.setdefault(leading(next(iter(labels))), (set(), []))
        joined |= labels
        members.append(node)
    return list(groups.values())


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
