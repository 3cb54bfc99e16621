"""What one choice looks like from outside: its label, its candidates, how many are taken."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import TypeAlias

from ..errors import ArchitectureError, SpaceError

Candidate: TypeAlias = "str | int"
Choice: TypeAlias = "Candidate | tuple[Candidate, ...]"


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One searchable parameter of a model space.

    Two specs are equal when they decide the same thing: ``default`` does not count.

    Args:
        label: name of the decision; equal labels decide together.
        candidates: what can be chosen, in declaration order, without repetition.
        n_chosen: how many candidates are taken at once. 1 makes a choice a bare candidate,
            more make it a tuple in declaration order, None means any non-empty subset.
        default: what the model runs before any search. The first ``n_chosen`` candidates
            if left out, all of them if ``n_chosen`` is None.

    Raises:
        SpaceError: there is no candidate, one is given twice, or ``n_chosen`` is out of range.
    """

    label: str
    candidates: tuple[Candidate, ...]
    n_chosen: int | None = 1
    default: Choice = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.candidates or len(set(self.candidates)) != len(self.candidates):
            raise SpaceError(
                f"choice {self.label!r} has the candidates {list(self.candidates)}.\n"
                "  expected: at least one candidate, each given once\n"
                "  fix: name every candidate differently"
            )
        if self.n_chosen is not None and not 1 <= self.n_chosen <= len(self.candidates):
            raise SpaceError(
                f"choice {self.label!r} takes n_chosen={self.n_chosen} "
                f"of {len(self.candidates)} candidates.\n"
                f"  expected: 1 to {len(self.candidates)}, or None for any subset\n"
                "  fix: correct n_chosen"
            )
        if self.default == ():
            taken = self.candidates[: self.n_chosen]
            object.__setattr__(self, "default", taken[0] if self.n_chosen == 1 else taken)

    @property
    def size(self) -> int:
        """Count the choices: ``n``, ``n over n_chosen``, or ``2**n - 1`` for any subset."""
        n = len(self.candidates)
        return 2**n - 1 if self.n_chosen is None else math.comb(n, self.n_chosen)

    def choices(self) -> Iterator[Choice]:
        """Yield every choice once, in a fixed order."""
        if self.n_chosen == 1:
            yield from self.candidates
            return
        sizes = range(1, len(self.candidates) + 1) if self.n_chosen is None else [self.n_chosen]
        yield from chain.from_iterable(combinations(self.candidates, size) for size in sizes)

    def draw(self, rng: random.Random) -> Choice:
        """Draw one of all choices, each equally probable, from ``rng``."""
        # int(random() * n): the one draw that Python promises to keep stable.
        index = int(rng.random() * self.size)
        if self.n_chosen == 1:
            return self.candidates[index]
        if self.n_chosen is None:
            return tuple(c for i, c in enumerate(self.candidates) if (1 + index) >> i & 1)
        return tuple(_combination(self.candidates, self.n_chosen, index))

    def members(self, choice: Choice) -> tuple[Candidate, ...]:
        """Return the candidates that ``choice`` takes, always as a tuple."""
        return choice if isinstance(choice, tuple) else (choice,)

    def normalise(self, value: object) -> Choice:
        """Return ``value`` in the one form choices have here.

        Lists become tuples in declaration order, and a list of one becomes the bare candidate
        where one is taken, so that what JSON or the reference system wrote can be read.

        Raises:
            ArchitectureError: ``value`` is not a choice of this parameter.
        """
        given = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
        taken = tuple(c for c in self.candidates if any(_same(c, g) for g in given))
        fits = len(taken) == len(given) and (
            len(taken) == self.n_chosen if self.n_chosen is not None else bool(taken)
        )
        if not fits:
            wanted = {1: "one", None: "one or more"}.get(self.n_chosen, str(self.n_chosen))
            raise ArchitectureError(
                f"{value!r} is not a choice of {self.label!r}.\n"
                f"  expected: {wanted} of {list(self.candidates)}\n"
                "  fix: use candidates of this model space"
            )
        return taken[0] if self.n_chosen == 1 else taken

    def contains(self, value: object) -> bool:
        """Say whether ``value`` is a choice of this parameter."""
        try:
            self.normalise(value)
        except ArchitectureError:
            return False
        return True


def _same(candidate: Candidate, given: object) -> bool:
    # True == 1 in Python, but True is no candidate.
    return type(candidate) is type(given) and candidate == given


def _combination(items: tuple[Candidate, ...], n: int, index: int) -> Iterator[Candidate]:
    """Yield combination number ``index`` of ``itertools.combinations(items, n)``."""
    for position, item in enumerate(items):
        with_item = math.comb(len(items) - position - 1, n - 1) if n else 0
        if index < with_item:
            yield item
            n -= 1
        else:
            index -= with_item
