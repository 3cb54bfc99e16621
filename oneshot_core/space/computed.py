"""Functions of values: the larger one, one or the other, or what any function gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..errors import SpaceError
from .spec import Candidate, Choice, ParameterSpec
from .value import Computed, Lazy, Value


class Declared(Computed):
    """A computed value of which all possible results are known beforehand; see :func:`apply`.

    Args:
        text: see :class:`Computed`, as for ``function`` and ``operands``.
        domain: the possible results.

    Raises:
        SpaceError: the domain is empty, or not plain data.
    """

    def __init__(
        self, text: str, function: Callable[..., Any], *operands: Any, domain: Iterable[Candidate]
    ) -> None:
        super().__init__(text, function, *operands)
        self.domain = tuple(dict.fromkeys(map(without_lists, domain)))
        wrong = [value for value in self.domain if not is_plain(value)]
        if wrong or not self.domain:
            raise SpaceError(
                f"the domain of {self!r} holds {wrong[0] if wrong else 'nothing'!r}",
                expected="every possible result: numbers, words, True, False, None, or tuples of "
                "those",
                fix="apply(function, *values, domain=[...])",
            )

    @property
    def name(self) -> str:
        """The name among :attr:`variables`; of this very object, in this process."""
        return f"declared {id(self)}"

    @property
    def variables(self) -> dict[str, ParameterSpec]:
        return {self.name: ParameterSpec(self.name, self.domain)}

    def evaluate(self, chosen: Mapping[str, Choice]) -> Any:
        name = self.name
        if name in chosen:
            return chosen[name]
        result = super().evaluate(chosen)
        if result not in self.domain:
            raise SpaceError(
                f"{self!r} is {result!r} for {dict(chosen)}",
                expected=f"one of its declared domain {list(self.domain)}",
                fix="declare every possible result",
            )
        return result


def maximum(*values: Any) -> Value:
    """Return the largest of values."""
    return Computed(_call("max", values), max, *values)


def minimum(*values: Any) -> Value:
    """Return the smallest of values."""
    return Computed(_call("min", values), min, *values)


def if_else(condition: Any, true: Any, false: Any) -> Value:
    """Return one of two values, by a condition such as ``width > 32``.

    The other one is not computed, so it need not be valid.
    """
    return Lazy("({1} if {0} else {2})", _conditional, condition, true, false)


def apply(
    function: Callable[..., Any], *values: Any, domain: Iterable[Candidate] | None = None
) -> Value:
    """Return what ``function`` gives for what ``values`` are; it is called once they are known.

    Args:
        function: pickled by name, so no lambda where a model is pickled.
        *values: what it is called with.
        domain: every possible result. A layer that depends on more choices than can be combined
            then prepares for these results instead. It must be built with any of them, whatever
            else is chosen, and strategies that weight candidates cannot superpose it.

    Raises:
        SpaceError: the domain is empty, or not plain data.
    """
    text = _call(getattr(function, "__name__", type(function).__name__), values)
    if domain is None:
        return Computed(text, function, *values)
    return Declared(text, function, *values, domain=domain)


def _call(name: str, values: Sequence[Any]) -> str:
    return f"{name}({', '.join('{}' for _ in values)})"


def _conditional(condition: Any, true: Any, false: Any) -> Any:
    return true() if condition() else false()


def without_lists(value: Any) -> Any:
    """Return ``value`` with every list in it, at any depth, as a tuple."""
    return tuple(map(without_lists, value)) if isinstance(value, (list, tuple)) else value


def is_plain(value: object) -> bool:
    """Say whether something can be a candidate: a scalar, or a tuple of candidates."""
    if isinstance(value, tuple):
        return bool(value) and all(map(is_plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (str, int))
