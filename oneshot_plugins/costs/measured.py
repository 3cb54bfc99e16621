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
from collections.abc import Callable, Iterable, Mapping, Sequence
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


def spread_of(value: float) -> float:
    """Return the spread of a number; 0 if it has none."""
    return value.spread if isinstance(value, Measured) else 0.0


def spreads_of(values: Mapping[str, float]) -> dict[str, float]:
    """Return name -> spread of those numbers that have one."""
    return {name: v.spread for name, v in values.items() if isinstance(v, Measured)}


def with_spreads(values: Mapping[str, float], spreads: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers with spreads, as :func:`spreads_of` took them off."""
    return {n: Measured(v, spreads[n]) if n in spreads else v for n, v in values.items()}


def scaled(value: float, sign: float) -> float:
    """Return ``sign * value``, for a sign of 1 or -1, with the spread that it has."""
    turned = sign * value
    return Measured(turned, value.spread, value.readings) if isinstance(value, Measured) else turned


def shown(value: float, text: str) -> str:
    """Return the text of a number, and of its spread if it has one."""
    spread = spread_of(value)
    return f"{text} +- {spread:,.2g}" if spread else text


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


def in_turns(
    networks: Sequence[Callable[[], Any]], measures: Mapping[str, Callable[[Any], Any]]
) -> list[dict[str, float]]:
    """Return, for each network, name -> what it measures.

    Measures with ``readings`` are called that often for each network, round after round, every
    second one backwards: what makes the machine slow for a while harms all networks alike.
    Their results are :class:`Measured`.

    Args:
        networks: each makes a network; called once a round, so that only one is there at a time.
        measures: name -> function of a network.
    """
    found: list[dict[str, list[float]]] = [{name: [] for name in measures} for _ in networks]
    for turn in range(max(map(readings_of, measures.values()), default=0)):
        places = range(len(networks))
        for place in reversed(places) if turn % 2 else places:
            network = networks[place]()
            for name, measure in measures.items():
                if turn < readings_of(measure):
                    found[place][name].append(number_of(measure(network)))
    return [
        {name: r[0] if len(r) == 1 else Measured.of(r) for name, r in readings.items()}
        for readings in found
    ]


def readings_of(cost: Callable[..., Any]) -> int:
    """Return how often a cost is called for each network."""
    return max(1, int(getattr(cost, "readings", 1)))


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


def per_of(costs: Mapping[str, Callable[..., Any]], inputs: Iterable[Any]) -> dict[str, str]:
    """Return, for costs that depend on inputs, name -> for how many examples they are."""
    about = per_batch(batch_of(inputs))
    return {n: about for n, c in costs.items() if about and getattr(c, "per_input", True)}


def told(per: Mapping[str, str]) -> str:
    """Return for how many examples costs are, as the end of a line: ``"; macs per example"``."""
    groups: dict[str, list[str]] = {}
    for name, about in per.items():
        groups.setdefault(about, []).append(name)
    return "".join(f"; {', '.join(names)} {about}" for about, names in groups.items())


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
    "in_turns",
    "number_of",
    "per_batch",
    "per_of",
    "readings_of",
    "scaled",
    "shown",
    "spread_of",
    "spreads_of",
    "told",
    "with_spreads",
]
