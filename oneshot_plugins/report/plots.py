"""Where lines, points and ticks are, in per cent of a plot; drawing is left to the page.

The page stretches every plot to the width it has, so nothing here is in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .text import number

Spot: TypeAlias = "tuple[float, float]"
"""A place in a plot, in per cent from the left and from the bottom."""

TICKS = 5


@dataclass(frozen=True)
class Scale:
    """An axis.

    Args:
        low: at 0 per cent.
        high: at 100 per cent.
        log: whether steps multiply.
    """

    low: float
    high: float
    log: bool = False

    @classmethod
    def around(cls, values: Sequence[float], *, log: bool | None = None) -> Scale:
        """Return a scale that holds all values, with a margin.

        Args:
            values: finite numbers, at least one.
            log: None decides: where the largest is more than 50 times the smallest.
        """
        low, high = min(values), max(values)
        if log is None:
            log = low > 0 and high / low > 50
        if log:
            margin = (high / low) ** 0.04 if high > low else 2.0
            return cls(low / margin, high * margin, True)
        margin = 0.04 * (high - low) or abs(high) * 0.1 or 1.0
        return cls(low - margin, high + margin)

    def __call__(self, value: float) -> float:
        """Return where a value is, in per cent."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(100 * share, 2)

    def ticks(self) -> list[tuple[float, str]]:
        """Return round numbers on the axis: where they are, and their text."""
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            if last - first >= 2:
                step = math.ceil((last - first) / TICKS)
                values = [10.0**power for power in range(first, last + 1, step)]
                return [(self(value), number(value)) for value in values]
        if self.log and self.high / self.low > 10:
            return self._powers()
        raw = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(raw))
        step_ = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
        start = math.ceil(self.low / step_)
        end = math.floor(self.high / step_)
        values = [round(i * step_, 12) for i in range(start, end + 1)]
        return [(self(value), number(value)) for value in values if not self.log or value > 0]

    def _powers(self) -> list[tuple[float, str]]:
        """Return some of 1, 2, 5, 10, 20, 50, ..."""
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = [m * 10.0**e for e in exponents for m in (1, 2, 5)]
        inside = [value for value in values if self.low <= value <= self.high]
        kept = [inside[i] for i in thinned(len(inside), TICKS)]
        return [(self(value), number(value)) for value in kept]


def line(points: Sequence[Spot]) -> str:
    """Return the SVG path through points."""
    return "M" + " ".join(f"{x:g} {100 - y:g}" for x, y in points) if points else ""


def dots(points: Sequence[Spot]) -> str:
    """Return the SVG path of lines without length: dots, if their ends are round."""
    return "".join(f"M{x:g} {100 - y:g}h0" for x, y in points)


def staircase(points: Sequence[Spot], *, leftwards: bool = False) -> list[Spot]:
    """Return the corners of a line that goes across first and up then.

    Args:
        points: what it leads through.
        leftwards: whether it begins with what is furthest to the right.
    """
    corners: list[Spot] = []
    for x, y in sorted(points, reverse=leftwards):
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    return corners


def thinned(length: int, most: int) -> list[int]:
    """Return at most ``most`` positions, evenly spread, the first and the last among them."""
    if length <= most:
        return list(range(length))
    return sorted({round(i * (length - 1) / (most - 1)) for i in range(most)})


def apart(wanted: Sequence[float], least: float) -> list[float]:
    """Move marks, given in per cent from the bottom, so that none covers another.

    Args:
        wanted: where they should be, in falling order.
        least: distance between two of them.
    """
    placed: list[float] = []
    for place in wanted:
        placed.append(min(place, placed[-1] - least) if placed else place)
    below = 0.0 - placed[-1] if placed else 0.0
    if below > 0:  # pushed out at the bottom: push the others up
        floor = 0.0
        for index in range(len(placed) - 1, -1, -1):
            placed[index] = max(placed[index], floor)
            floor = placed[index] + least
    return [round(place, 2) for place in placed]
