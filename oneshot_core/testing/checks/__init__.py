"""All checks, by what they are about; within a file in the order in which they run."""

from __future__ import annotations

from ..case import Check
from . import (
    commands,
    components,
    costs,
    elastics,
    mutation_hooks,
    packaging,
    pairs,
    searchers,
    spaces,
    strategies,
    supernets,
)

CHECKS: tuple[Check, ...] = (
    *packaging.CHECKS,
    *components.CHECKS,
    *mutation_hooks.CHECKS,
    *supernets.CHECKS,
    *elastics.CHECKS,
    *strategies.CHECKS,
    *costs.CHECKS,
    *spaces.CHECKS,
    *searchers.CHECKS,
    *commands.CHECKS,
    *pairs.CHECKS,
)
