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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from itertools import islice
from typing import cast

from torch import nn

from ..errors import ArchitectureError, SpaceError
from ..space.constraint import constraints_of
from ..space.spec import Choice, ParameterSpec
from ..space.value import Value
from .counting import count, tied_choices
from .drawing import MAX_LISTED, completions, draw, growing
from .reading import Node, Reader, active_nodes, opened
from .tied import Tied

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


@dataclass(frozen=True)
class _Condition:
    """A constraint and what it is about."""

    value: Value
    labels: frozenset[str]

    def holds(self, chosen: Mapping[str, Choice]) -> bool:
        return bool(self.value.evaluate(chosen))


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
        reader = Reader(root, self.specs)
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
        return count(self._nodes, self._conditions, self._tied)

    @cached_property
    def _tied(self) -> tuple[Tied, list[ParameterSpec]] | None:
        return tied_choices(self._nodes, list(self.specs.values()), self._conditions)

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
            stack += reversed([*node.always, *opened(node, chosen)])

    def architectures(self) -> Iterator[dict[str, Choice]]:
        """Yield every architecture once: label -> choice for its active choices."""
        yield from completions(self, {})

    def normalise(self, partial: Mapping[str, object] | None) -> dict[str, Choice]:
        """Return choices, given for some labels in any form, in the one form they have here.

        Raises:
            ArchitectureError: a label is not in the space, or a value is no choice of its label.
        """
        unknown = sorted(map(str, (partial or {}).keys() - self.specs.keys()))
        if unknown:
            raise ArchitectureError(
                f"the labels {unknown} are not in the model",
                expected=f"labels of {sorted(self.specs)}",
                fix="correct them, or leave them out",
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
            drawn = self.reduce(draw(self, begun, rng))
            if self.possible(drawn):
                return drawn

        def shuffled(spec: ParameterSpec) -> list[Choice]:
            if spec.interval is not None:
                return [spec.draw(rng) for _ in range(TRIES)]
            return rng.sample(list(spec.choices()), spec.size)

        found = next(completions(self, self.reduce(partial), shuffled), None)
        if found is None or not self.possible(found):
            raise ArchitectureError(
                f"no architecture with {dict(partial)} keeps the constraints",
                expected=f"{', '.join(map(repr, self.constraints))}",
                fix="decide less, or something else",
            )
        return self.reduce(found)

    def draw_possible(self, draw: Callable[[], dict[str, Choice]]) -> dict[str, Choice] | None:
        """Return the first of at most ``MAX_DRAWS`` draws that breaks no constraint, or None."""
        for _ in range(MAX_DRAWS):
            drawn = draw()
            if self.possible(drawn):
                return drawn
        return None

    def reduce(self, chosen: Mapping[str, Choice]) -> dict[str, Choice]:
        """Drop the choices that decide nothing under ``chosen``; add nothing."""
        return {s.label: chosen[s.label] for s in self.active(chosen) if s.label in chosen}

    def first(self, order: Callable[[ParameterSpec], Iterable[Choice]]) -> dict[str, Choice] | None:
        """Return the first architecture that keeps the constraints; None if there is none.

        Args:
            order: the choices of a spec in the order in which they are tried; choices that it
                leaves out are not taken. Later specs are changed before earlier ones.
        """
        return next(completions(self, {}, order), None)

    def default(self) -> dict[str, Choice]:
        """Return the architecture that the model runs before any search.

        Where that breaks a constraint, the first that keeps them all, defaults being tried
        first, later choices changed before earlier ones. Of intervals a grid is tried.
        """

        found = self.nearest({})
        if found is None:
            raise SpaceError(
                "nothing keeps the constraints of the model space",
                expected=f"at least one architecture with {', '.join(map(repr, self.constraints))}",
                fix="correct the conditions given to oneshot.constrain",
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
        for spec in growing(self, chosen):
            chosen[spec.label] = spec.default
        chosen = self.reduce(chosen)
        if self.possible(chosen):
            return chosen

        def wanted_first(spec: ParameterSpec) -> Iterator[Choice]:
            first = wanted.get(spec.label, spec.default)
            yield first
            others = spec.choices() if spec.interval is None else spec.interval.grid(GRID)
            yield from (choice for choice in others if choice != first)

        found = next(completions(self, dict(partial), wanted_first), None)
        return None if found is None or not self.possible(found) else self.reduce(found)

    def _require_excluded(
        self, node: Node, path: str, name: str, chosen: Mapping[str, Choice], why: str
    ) -> None:
        if not self.possible(chosen):
            return
        some = islice(completions(self, dict(chosen)), MAX_LISTED)
        # The labels may decide elsewhere while the module itself is in a branch that is not taken.
        if any(
            chosen.keys() <= architecture.keys()
            and any(each is node for each in active_nodes(self._nodes, architecture))
            for architecture in some
        ):
            raise SpaceError(
                f"the {name} at {path!r} cannot be built with {dict(chosen)}: {why}",
                expected="only architectures that can be built",
                fix="rule it out, as by oneshot.constrain(model, width % groups == 0)",
            )

    def _check_condition(self, condition: _Condition) -> None:
        for label, spec in condition.value.specs.items():
            if self.specs.get(label) != spec:
                known = self.specs.get(label)
                raise SpaceError(
                    f"the constraint {condition.value!r} is about {label!r}, which is "
                    f"{'no choice of the model' if known is None else known.offer}",
                    expected=f"choices among {list(self.specs)}",
                    fix="use the values that the layers of the model use",
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
                "\n    ".join(["the architecture does not fit this model space:", *wrong]),
                expected=f"choices for {sorted(self.specs)}",
                fix="use an architecture that was exported from this model",
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
