"""Choose a number, a word or a tuple of those."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import SpaceError
from .computed import if_else, is_plain, maximum, minimum, without_lists
from .spec import Candidate, Interval, ParameterSpec
from .value import Computed, Taken, Value


class ValueChoice(Taken):
    """Choose one of several values.

    Args:
        values: what can be chosen: numbers, words, True, False, None, or tuples of those,
            which may be nested.
        label: name of the decision; equal labels decide together.
        default: what the model runs before any search; the largest number, or the first of
            values that are not all numbers.
        prior: how often each is drawn where a strategy has no preference of its own.

    Raises:
        SpaceError: there is no label, no value, or one is no plain data.

    Source: ``nni.nas.nn.pytorch.ValueChoice``.
    """

    def __init__(
        self,
        values: Iterable[Candidate],
        *,
        label: str,
        default: Candidate | None = None,
        prior: Sequence[float] | None = None,
    ) -> None:
        candidates = tuple(map(without_lists, values))
        _check(candidates, label)
        if default is None:
            default = _largest(candidates)
        elif default not in candidates:
            raise SpaceError(
                f"the value choice {label!r} has default={default!r}",
                expected=f"one of {list(candidates)}",
                fix="correct the default",
            )
        weights = None if prior is None else tuple(prior)
        super().__init__(ParameterSpec(label, candidates, default=default, prior=weights))

    @property
    def label(self) -> str:
        """Name of the decision."""
        return self.spec.label

    @staticmethod
    def max(*values: Any) -> Value:
        """See :func:`maximum`."""
        return maximum(*values)

    @staticmethod
    def min(*values: Any) -> Value:
        """See :func:`minimum`."""
        return minimum(*values)

    @staticmethod
    def condition(condition: Any, true: Any, false: Any) -> Value:
        """See :func:`if_else`."""
        return if_else(condition, true, false)

    @staticmethod
    def to_int(value: Any) -> Value:
        """Truncate to a whole number."""
        return Computed("int({})", int, value)

    @staticmethod
    def to_float(value: Any) -> Value:
        """Convert to a floating-point number."""
        return Computed("float({})", float, value)


class RangeChoice(ValueChoice):
    """Choose any number of an interval, for searches that draw.

    Args:
        low: the smallest.
        high: the largest, included.
        log: whether draws are uniform in the logarithm.
        label: name of the decision; equal labels decide together.
        default: what the model runs before any search; the middle.

    Raises:
        SpaceError: there is no label, or the ends make no interval.
    """

    def __init__(
        self,
        low: float,
        high: float,
        *,
        log: bool = False,
        label: str,
        default: float | None = None,
    ) -> None:
        _check_label(label)
        self.spec = ParameterSpec(
            label,
            (),
            interval=Interval(float(low), float(high), log),
            default=() if default is None else float(default),
        )
        self.spec.normalise(self.spec.default)


def choice(
    values: Iterable[Candidate],
    *others: Any,
    label: str | None = None,
    default: Candidate | None = None,
    prior: Sequence[float] | None = None,
) -> ValueChoice:
    """Return a value that is one of ``values``; see :class:`ValueChoice`.

    Args:
        values: see there.
        *others: nothing; what stands here was meant for another argument, and is refused.
        label: see there; must be given.
        default: see there.
        prior: see there.

    Raises:
        SpaceError: as there; or there is no label, or more than one argument without a name.
    """
    _check_order("choice", "[16, 32]", (values,), others)
    return ValueChoice(values, label=label, default=default, prior=prior)  # type: ignore[arg-type]


def uniform(
    low: float,
    high: float,
    *others: Any,
    label: str | None = None,
    default: float | None = None,
) -> RangeChoice:
    """Return a value that is any number from ``low`` to ``high``; see :class:`RangeChoice`."""
    _check_order("uniform", "0.1, 0.9", (low, high), others)
    return RangeChoice(low, high, label=label, default=default)  # type: ignore[arg-type]


def loguniform(
    low: float,
    high: float,
    *others: Any,
    label: str | None = None,
    default: float | None = None,
) -> RangeChoice:
    """Return a value uniform in its logarithm; see :class:`RangeChoice`."""
    _check_order("loguniform", "1e-4, 1e-1", (low, high), others)
    return RangeChoice(low, high, log=True, label=label, default=default)  # type: ignore[arg-type]


def _check_order(name: str, numbers: str, first: tuple[Any, ...], others: tuple[Any, ...]) -> None:
    """Refuse arguments in another order, such as the label first, and more than are taken."""
    if not others and not isinstance(first[0], str):
        return
    given = (*first, *others)
    label = next((thing for thing in given if isinstance(thing, str)), "width")
    raise SpaceError(
        f"oneshot.{name} got {', '.join(map(repr, given))} without names",
        expected="what can be chosen first, and the label by its name",
        fix=f"oneshot.{name}({numbers}, label={label!r})",
    )


def _largest(candidates: tuple[Candidate, ...]) -> Candidate:
    numbers = [c for c in candidates if isinstance(c, (int, float)) and not isinstance(c, bool)]
    return max(numbers) if len(numbers) == len(candidates) else candidates[0]


def _check_label(label: object) -> None:
    if not isinstance(label, str) or not label:
        raise SpaceError(
            f"a value choice got label={label!r}",
            expected="a non-empty string; a value has no place in the model to be named after",
            fix="oneshot.choice([16, 32], label='width')",
        )


def _check(candidates: tuple[Candidate, ...], label: object) -> None:
    _check_label(label)
    wrong = [c for c in candidates if not is_plain(c)]
    if wrong or not candidates:
        raise SpaceError(
            f"the value choice {label!r} offers {wrong[0] if wrong else 'nothing'!r}",
            expected="numbers, words, True, False, None, or tuples of those",
            fix="choose between names, and look up what they stand for where it is used",
        )
