"""What a cost returns: a number, or a number with its spread; and for how many examples.

A cost that measures may return a :class:`Measured`. Two numbers of which each is in the spread of
the other are treated as equal by rankings and fronts. A cost says more about itself by attributes
of the function, all optional:

===============  ============================================================================
attribute        meaning
===============  ============================================================================
``counts``       True: shapes are all it looks at. False: it runs the network with data
``readings``     how often rankings and fronts call it for each network, in turns with the
                 other networks, so that a busy machine harms all alike; 1 if it is missing
``per_input``    False: it does not depend on what the network is called with
===============  ============================================================================
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class Measured(float):
    """A number with a spread; a float in all other respects.

    Args:
        value: the number.
        spread: how far another reading of the same thing may well be off, in the same unit. Not
            negative.
        readings: how many readings it comes from.
    """

    spread: float
    readings: int

    def __new__(cls, value: float, spread: float = 0.0, readings: int = 1) -> Measured:
        """Make the number."""
        made = super().__new__(cls, value)
        made.spread = float(spread)
        made.readings = readings
        return made

    def __getnewargs__(self) -> tuple[float, float, int]:  # type: ignore[override]
        return float(self), self.spread, self.readings

    @classmethod
    def of(cls, readings: Sequence[float]) -> Measured:
        """Return the median of readings; its spread is their interquartile range.

        Where a reading has a spread of its own that is larger, the median of those is taken.
        """
        middle = statistics.median(readings)
        low, _, high = (
            statistics.quantiles(readings, n=4, method="inclusive")
            if len(readings) > 1
            else (middle, middle, middle)
        )
        return cls(middle, max(high - low, statistics.median(map(spread_of, readings))),
                   len(readings))  # fmt: skip

    def __str__(self) -> str:
        return f"{float(self):,.6g} +- {self.spread:,.2g}" if self.spread else f"{float(self):,.6g}"


def spread_of(value: float) -> float:
    """Return the spread of a number; 0 if it has none."""
    return value.spread if isinstance(value, Measured) else 0.0


def spreads_of(values: Mapping[str, float]) -> dict[str, float]:
    """Return name -> spread of those numbers that have one."""
    return {name: v.spread for name, v in values.items() if isinstance(v, Measured)}


def with_spreads(values: Mapping[str, float], spreads: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers with spreads, as :func:`spreads_of` took them off."""
    return {n: Measured(v, spreads[n]) if n in spreads else v for n, v in values.items()}


def number_of(value: Any) -> float:
    """Return what a cost returned as a float, with its spread if it has one."""
    return value if isinstance(value, Measured) else float(value)


def equal(one: float, other: float) -> bool:
    """Say whether two numbers are the same, as far as their spreads tell."""
    return one == other or abs(one - other) <= max(spread_of(one), spread_of(other))


def in_order(values: Sequence[Sequence[float]]) -> list[int]:
    """Return positions from the largest to the smallest; of what is equal, later values decide.

    Numbers are equal to the largest that is left if :func:`equal` says so. Of what is equal in
    everything the first comes first. NaN comes last.
    """
    return _sorted(values, list(range(len(values))), 0)


def _sorted(values: Sequence[Sequence[float]], among: list[int], column: int) -> list[int]:
    if len(among) < 2 or column == len(values[among[0]]):
        return among
    known = [i for i in among if values[i][column] == values[i][column]]
    left = sorted(known, key=lambda i: -values[i][column])
    found: list[int] = []
    while left:
        largest = values[left[0]][column]
        together = [i for i in left if equal(largest, values[i][column])]
        left = [i for i in left if i not in set(together)]
        found += _sorted(values, sorted(together), column + 1)
    return found + [i for i in among if i not in set(known)]


def batch_of(inputs: Iterable[Any]) -> int | None:
    """Return for how many examples inputs are: the first size of the first tensor.

    None where there is no tensor with sizes.
    """
    for given in inputs:
        shape = getattr(given, "shape", None)
        if shape is not None and len(shape):
            return int(shape[0])
        if isinstance(given, (list, tuple, Mapping)):
            parts = given.values() if isinstance(given, Mapping) else given
            inside = batch_of(parts)
            if inside is not None:
                return inside
    return None


def per_batch(examples: int | None) -> str:
    """Return ``"per example"``, ``"for a batch of 8"``, or nothing if it is not known."""
    if examples is None:
        return ""
    return "per example" if examples == 1 else f"for a batch of {examples}"


__all__ = [
    "Measured",
    "batch_of",
    "equal",
    "in_order",
    "number_of",
    "per_batch",
    "spread_of",
    "spreads_of",
    "with_spreads",
]
