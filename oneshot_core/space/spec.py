"""What one choice looks like from outside: its label, its candidates, how many are taken."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, chain, combinations
from typing import TypeAlias, cast

from ..errors import ArchitectureError, SpaceError

Scalar: TypeAlias = "str | int | float | None"
Candidate: TypeAlias = "Scalar | tuple[Candidate, ...]"
"""A name, a number, True, False, None, or a tuple of such, as kernel sizes are; also nested."""
Choice: TypeAlias = "Candidate | tuple[Candidate, ...]"
"""A candidate; where not exactly one is taken, a tuple of candidates."""


@dataclass(frozen=True, slots=True)
class Interval:
    """All numbers from ``low`` to ``high``, both included.

    Args:
        low: the smallest.
        high: the largest.
        log: whether draws are uniform in the logarithm; ``low`` must then be positive.

    Raises:
        SpaceError: the numbers are not finite, out of order, or not positive with ``log``.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        finite = math.isfinite(self.low) and math.isfinite(self.high)
        if not finite or not self.low < self.high or (self.log and self.low <= 0):
            raise SpaceError(
                f"an interval goes from {self.low} to {self.high}, log={self.log}",
                expected="finite numbers, low < high, and 0 < low with log=True",
                fix="correct the ends",
            )

    def draw(self, rng: random.Random) -> float:
        """Draw a number, uniformly or uniformly in the logarithm."""
        u = rng.random()
        if self.log:
            drawn = math.exp(math.log(self.low) + u * math.log(self.high / self.low))
        else:
            drawn = self.low + u * (self.high - self.low)
        return min(max(drawn, self.low), self.high)  # rounding may lead outside

    def grid(self, n: int) -> Iterator[float]:
        """Yield ``n`` numbers, at least 2, evenly spread from end to end (as draws are)."""
        for index in range(n):
            share = index / (n - 1)
            if self.log:
                number = self.low * (self.high / self.low) ** share
            else:
                number = self.low + share * (self.high - self.low)
            yield min(max(number, self.low), self.high)


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One searchable parameter of a model space.

    Two specs are equal when they decide the same thing: ``default`` and ``prior`` do not count.

    Args:
        label: name of the decision; equal labels decide together.
        candidates: what can be chosen, in declaration order, without repetition. Empty if there
            is an ``interval``.
        n_chosen: how many candidates are taken at once. 1 makes a choice a bare candidate,
            more make it a tuple in declaration order, None means any non-empty subset.
        default: what the model runs before any search. The first ``n_chosen`` candidates
            if left out, all of them if ``n_chosen`` is None; the middle of an interval.
        prior: how often each candidate is drawn where a strategy has no preference of its own,
            in any unit; None for equally often. Only where one candidate is taken.
        interval: numbers to choose from instead of candidates.

    Raises:
        SpaceError: there is no candidate, one is given twice, ``n_chosen`` is out of range, or
            the prior does not fit.
    """

    label: str
    candidates: tuple[Candidate, ...]
    n_chosen: int | None = 1
    default: Choice = field(default=(), compare=False)
    prior: tuple[float, ...] | None = field(default=None, compare=False)
    interval: Interval | None = None

    def __post_init__(self) -> None:
        if self.interval is not None:
            self._check_interval()
            return
        if not self.candidates or len(set(self.candidates)) != len(self.candidates):
            raise SpaceError(
                f"choice {self.label!r} has the candidates {list(self.candidates)}",
                expected="at least one candidate, each given once",
                fix="name every candidate differently",
            )
        if self.n_chosen is not None and not 1 <= self.n_chosen <= len(self.candidates):
            raise SpaceError(
                f"choice {self.label!r} takes n_chosen={self.n_chosen} of {len(self.candidates)} "
                "candidates",
                expected=f"1 to {len(self.candidates)}, or None for any subset",
                fix="correct n_chosen",
            )
        if self.prior is not None:
            self._check_prior(self.prior)
        if self.default == ():
            taken = self.candidates[: self.n_chosen]
            object.__setattr__(self, "default", taken[0] if self.n_chosen == 1 else taken)

    def _check_interval(self) -> None:
        assert self.interval is not None
        if self.candidates or self.n_chosen != 1 or self.prior is not None:
            raise SpaceError(
                f"choice {self.label!r} has an interval beside candidates "
                f"{list(self.candidates)}, n_chosen={self.n_chosen}, prior={self.prior}",
                expected="an interval alone; one number is taken",
                fix="leave the rest out",
            )
        if self.default == ():
            low, high = self.interval.low, self.interval.high
            middle = math.sqrt(low * high) if self.interval.log else (low + high) / 2
            object.__setattr__(self, "default", middle)

    def _check_prior(self, prior: tuple[float, ...]) -> None:
        numbers = len(prior) == len(self.candidates) and all(
            math.isfinite(p) and p >= 0 for p in prior
        )
        if self.n_chosen != 1 or not numbers or sum(prior) <= 0:
            raise SpaceError(
                f"choice {self.label!r} has prior={list(prior)} for {len(self.candidates)} "
                f"candidates and n_chosen={self.n_chosen}",
                expected="for each candidate a number from 0 on, not all 0; n_chosen=1",
                fix="correct the prior, or leave it out",
            )

    @property
    def size(self) -> int:
        """Count the choices: ``n``, ``n over n_chosen``, or ``2**n - 1`` for any subset.

        ``math.inf`` for an interval, the one value that is no ``int``.
        """
        if self.interval is not None:
            return cast(int, math.inf)
        n = len(self.candidates)
        return 2**n - 1 if self.n_chosen is None else math.comb(n, self.n_chosen)

    def choices(self) -> Iterator[Choice]:
        """Yield every choice once, in a fixed order.

        Raises:
            SpaceError: the choices are an interval.
        """
        if self.interval is not None:
            raise SpaceError(
                f"the choices of {self.label!r} are all numbers from {self.interval.low} to "
                f"{self.interval.high}",
                expected="candidates that can be counted",
                fix="use oneshot.choice([...]), or a search that draws, such as 'random'",
            )
        if self.n_chosen == 1:
            yield from self.candidates
            return
        sizes = range(1, len(self.candidates) + 1) if self.n_chosen is None else [self.n_chosen]
        yield from chain.from_iterable(combinations(self.candidates, size) for size in sizes)

    def draw(self, rng: random.Random) -> Choice:
        """Draw a choice from ``rng``: by the prior if there is one, else all equally probable."""
        if self.interval is not None:
            return self.interval.draw(rng)
        if self.prior is not None:
            mark = rng.random() * sum(self.prior)
            marks = zip(self.candidates, self.prior, accumulate(self.prior), strict=True)
            drawable = [(candidate, upto) for candidate, p, upto in marks if p > 0]
            return next((c for c, upto in drawable if mark < upto), drawable[-1][0])
        # int(random() * n): the one draw that Python promises to keep stable.
        index = int(rng.random() * self.size)
        if self.n_chosen == 1:
            return self.candidates[index]
        if self.n_chosen is None:
            return tuple(c for i, c in enumerate(self.candidates) if (1 + index) >> i & 1)
        return tuple(_combination(self.candidates, self.n_chosen, index))

    def members(self, choice: Choice) -> tuple[Candidate, ...]:
        """Return the candidates that ``choice`` takes, always as a tuple."""
        if self.n_chosen == 1:
            return (choice,)  # a choice of one is a candidate
        assert isinstance(choice, tuple)
        return choice

    def normalise(self, value: object) -> Choice:
        """Return ``value`` in the one form choices have here.

        Lists become tuples in declaration order, and a list of one becomes the bare candidate
        where one is taken, so that what JSON or the reference system wrote can be read.

        Raises:
            ArchitectureError: ``value`` is not a choice of this parameter.
        """
        if self.n_chosen == 1:
            items = list(value) if isinstance(value, (list, tuple, set, frozenset)) else []
            for given in (value, *(items if len(items) == 1 else [])):
                found = self._number(given) if self.interval else self._candidate(given)
                if found is not _NONE:
                    return found  # type: ignore[return-value]
            raise self._refused(value)
        given_all = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
        taken = tuple(c for c in self.candidates if any(_same(c, g) for g in given_all))
        if len(taken) != len(given_all) or len(taken) != (self.n_chosen or max(1, len(taken))):
            raise self._refused(value)
        return taken

    def _candidate(self, given: object) -> object:
        return next((c for c in self.candidates if _same(c, given)), _NONE)

    def _number(self, given: object) -> object:
        assert self.interval is not None
        fits = isinstance(given, (int, float)) and not isinstance(given, bool)
        if fits and self.interval.low <= given <= self.interval.high:  # type: ignore[operator]
            return float(given)  # type: ignore[arg-type]
        return _NONE

    def _refused(self, value: object) -> ArchitectureError:
        return ArchitectureError(
            f"{value!r} is not a choice of {self.label!r}",
            expected=f"{self.offer}",
            fix="use candidates of this model space",
        )

    @property
    def offer(self) -> str:
        """What can be chosen, for messages."""
        if self.interval is not None:
            return f"a number from {self.interval.low} to {self.interval.high}"
        wanted = {1: "one", None: "one or more"}.get(self.n_chosen, str(self.n_chosen))
        return f"{wanted} of {list(self.candidates)}"

    def contains(self, value: object) -> bool:
        """Say whether ``value`` is a choice of this parameter."""
        try:
            self.normalise(value)
        except ArchitectureError:
            return False
        return True

    def describe(self) -> dict[str, object]:
        """Return what is decided, as JSON-able data; equal for equal specs of one label."""
        described: dict[str, object] = {
            "candidates": [_with_lists(c) for c in self.candidates],
            "n_chosen": self.n_chosen,
        }
        if self.interval is not None:
            described["interval"] = [self.interval.low, self.interval.high, self.interval.log]
        return described


_NONE = object()  # None is a candidate


def _with_lists(candidate: Candidate) -> object:
    return [_with_lists(c) for c in candidate] if isinstance(candidate, tuple) else candidate


def _same(candidate: object, given: object) -> bool:
    if isinstance(candidate, tuple):
        return (
            isinstance(given, (tuple, list))
            and len(candidate) == len(given)
            and all(map(_same, candidate, given))
        )
    # True == 1 in Python, but True is no candidate; 1.0 is 1, whoever wrote the JSON.
    if isinstance(candidate, bool) or isinstance(given, bool):
        return candidate is given
    numbers = isinstance(candidate, (int, float)) and isinstance(given, (int, float))
    return (numbers or type(candidate) is type(given)) and candidate == given


def _combination(items: tuple[Candidate, ...], n: int, index: int) -> Iterator[Candidate]:
    """Yield combination number ``index`` of ``itertools.combinations(items, n)``."""
    for position, item in enumerate(items):
        with_item = math.comb(len(items) - position - 1, n - 1) if n else 0
        if index < with_item:
            yield item
            n -= 1
        else:
            index -= with_item
