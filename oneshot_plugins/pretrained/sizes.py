"""Which values a size may take: from ratios or from what the user wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import lcm
from typing import Final, NoReturn

from oneshot_core.errors import SpaceError

from ..elastic.extent import Size

__all__ = ["COUNTED", "OPTIONS", "ROLES", "Rules", "Wanted", "check_wanted"]

Wanted = Sequence[float] | None | bool
"""Ratios (floats), values (ints), None: the ratios of all sizes, or False: the size is fixed."""

ROLES: Final[Mapping[str, str]] = {
    "hidden": "width of the residual stream",
    "ffn": "width of a feed-forward network",
    "heads": "attention heads",
    "queries": "query heads for each group of keys and values",
    "kv": "groups of keys and values, each with its query heads",
    "channels": "channels of convolutions",
    "size": "any other dimension",
}
"""What sizes are, in the order in which a plan lists them."""

OPTIONS: Final[Mapping[str, str]] = {
    **{role: role for role in ROLES},
    "queries": "heads",
    "size": "other",
}
"""Role -> the argument of :func:`oneshot_core.elastic` that speaks of it."""

COUNTED: Final = frozenset({"heads", "queries", "kv"})
"""Sizes that are counted, and whose values need not be multiples that hardware likes."""


@dataclass(frozen=True)
class Rules:
    """How ratios become values.

    Args:
        ratios: parts of the full value, each above 0 and at most 1.
        multiple_of: widths from ratios are multiples of it. Heads and groups are counted one by
            one.
        minimum: the smallest value that is chosen, for all widths (an int) or for roles by their
            names. By default ``multiple_of`` for widths and 1 for heads and groups.

    Raises:
        SpaceError: an argument has none of these forms.
    """

    ratios: Sequence[float] = (0.25, 0.5, 0.75, 1.0)
    multiple_of: int = 8
    minimum: int | Mapping[str, int] | None = None
    _minima: Mapping[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        check_wanted("ratios", self.ratios)
        if not any(isinstance(ratio, float) for ratio in self.ratios):
            raise SpaceError(
                f"ratios={tuple(self.ratios)} are no ratios",
                expected="numbers above 0 and at most 1, such as (0.25, 0.5, 1.0)",
                fix="give values, rather than ratios, to hidden=, ffn=, heads=, kv= or channels=",
            )
        if type(self.multiple_of) is not int or self.multiple_of < 1:
            _refuse(f"multiple_of={self.multiple_of!r}", "an int of at least 1")
        given = self.minimum
        minima = dict(given) if isinstance(given, Mapping) else {}
        if isinstance(given, int):
            minima = {role: given for role in ROLES if role not in COUNTED}
        elif given is not None and not isinstance(given, Mapping):
            _refuse(f"minimum={given!r}", "an int, or a dict from roles to ints")
        for role, value in minima.items():
            if role not in ROLES:
                _refuse(f"minimum= names the role {role!r}", f"one of {', '.join(ROLES)}")
            if type(value) is not int or value < 1:
                _refuse(f"minimum={value!r} for {role}", "an int of at least 1")
        object.__setattr__(self, "_minima", minima)

    def step(self, role: str, size: Size) -> int:
        """Return what values of ``size`` that come from ratios are multiples of."""
        return size.unit if role in COUNTED else lcm(size.unit, self.multiple_of)

    def candidates(self, size: Size, role: str, wanted: Wanted, label: str) -> tuple[int, ...]:
        """Return the values that ``size`` may take, ascending; the last one is ``size.full``.

        The full value is always a candidate: the supernet holds the model as it is.

        Args:
            size: the size.
            role: one of :data:`ROLES`.
            wanted: ratios, values or None for ``ratios``.
            label: what messages call the size.

        Raises:
            SpaceError: a value is larger than the size is, smaller than the minimum that was
                asked for, or no multiple of its unit.

        >>> Rules().candidates(Size("ffn", 1536), "ffn", None, "ffn")
        (384, 768, 1152, 1536)
        >>> Rules().candidates(Size("heads", 6), "heads", [2, 4], "heads")
        (2, 4, 6)
        """
        if wanted is None or wanted is True:
            wanted = self.ratios
        if wanted is False:
            return (size.full,)
        if any(isinstance(value, float) for value in wanted):
            found = {self._nearest(size, role, ratio) for ratio in wanted}
        else:
            found = {self._checked(size, role, int(value), label) for value in wanted}
        return tuple(sorted(found | {size.full}))

    def _nearest(self, size: Size, role: str, ratio: float) -> int:
        step = self.step(role, size)
        least = self._minima.get(role, step)
        smallest = -(-least // step) * step
        nearest = int(size.full * ratio / step + 0.5) * step
        return min(max(nearest, smallest), size.full)

    def _checked(self, size: Size, role: str, value: int, label: str) -> int:
        where = f"the value {value} for {label!r}"
        if value > size.full:
            raise SpaceError(
                f"{where} is larger than the model has",
                expected=f"at most {size.full}",
                fix="give smaller values, ratios (floats), or a dict of labels and values",
            )
        if value % size.unit and value != size.full:
            _refuse(f"{where} is no multiple of {size.unit}", f"multiples of {size.unit}")
        if value < self._minima.get(role, 1):
            _refuse(f"{where} is below minimum=", f"at least {self._minima[role]}")
        return value


def check_wanted(option: str, wanted: object) -> None:
    """Refuse what is neither None, a bool, ratios nor values.

    Raises:
        SpaceError: ``wanted`` is none of them.
    """
    if wanted is None or isinstance(wanted, bool):
        return
    form = "ratios above 0 and at most 1 (floats), or values of at least 1 (ints)"
    if isinstance(wanted, str) or not isinstance(wanted, Sequence):
        _refuse(f"{option}={wanted!r}", f"None, False, or a sequence of {form}")
    if not wanted:
        _refuse(f"{option}={wanted!r} holds no value", form)
    ratios = any(isinstance(value, float) for value in wanted)
    for value in wanted:
        if isinstance(value, bool) or not isinstance(value, int | float):
            _refuse(f"{option} holds {value!r}", form)
        if ratios and not 0 < value <= 1:
            _refuse(f"{option} holds the ratio {value!r}", "ratios above 0 and at most 1")
        if not ratios and value < 1:
            _refuse(f"{option} holds the value {value!r}", "values of at least 1")


def _refuse(what: str, expected: str) -> NoReturn:
    raise SpaceError(what, expected=expected, fix="correct this argument of oneshot.elastic")
