"""Options to try the strategies with, for the conformance checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .schedules import Schedule

Options = list[Mapping[str, Any]]

# Over epochs of its own: the checks resume a fit with another max_epochs.
ANNEALED = Schedule(5.0, 0.2, "exponential", epochs=2)


def darts() -> Options:
    return [{}, {"order": 2}, {"order": 2, "hessian": "difference"}]


def gumbel() -> Options:
    return [{"temperature": ANNEALED}, {"temperature": ANNEALED, "hard": True}]


def annealed() -> Options:
    return [{"temperature": ANNEALED}]
