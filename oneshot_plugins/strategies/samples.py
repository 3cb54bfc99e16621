"""Options to try the strategies with, for the conformance checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from oneshot_core import DecisionTable

from .schedules import Schedule
from .shrinking import Phase

Options = list[Mapping[str, Any]]

# Over epochs of its own: the checks resume a fit with another max_epochs.
ANNEALED = Schedule(5.0, 0.2, "exponential", epochs=2)


def darts() -> Options:
    second = {"order": 2}
    return [{}, second, {**second, "hessian": "difference"}, {"perturbation": 0.1}]


def gumbel() -> Options:
    return [{"temperature": ANNEALED}, {"temperature": ANNEALED, "hard": True}]


def annealed() -> Options:
    return [{"temperature": ANNEALED}]


def fbnet() -> Options:
    def cost(decisions: DecisionTable) -> Tensor:  # checks build models with other labels
        chosen = [decision.probabilities()[0] for decision in decisions]
        return 2 + torch.stack(chosen).sum() if chosen else torch.full((), 2.0)

    return [{"temperature": ANNEALED, "cost": cost}]


def drnas() -> Options:
    return [{}, {"distance": "l2"}]


def sandwich() -> Options:
    def distill(model: Any, batch: Any) -> Tensor:
        out: Tensor = model(batch)
        return out

    return [{"n_random": 1}, {"distill": distill}, {"teacher": "original", "distill": outputs}]


def shrinking() -> Options:
    # All open from the beginning, as some checks train for one epoch.
    phases = {"phases": [Phase(1, {"*": None})]}
    return [phases, {**phases, "teacher": "original", "distill": outputs}]


def distilled() -> Options:
    return [{}, {"teacher": "original", "distill": outputs}]


def chain() -> Options:
    # Both stages are reached by checks that train for one epoch.
    short = {"sizes": 2, "epochs": 0.5}
    return [short, {**short, "teacher": "previous", "distill": outputs}]


def outputs(student: Any, teacher: Any, batch: Any) -> Tensor:
    """A loss for whatever the networks of the checks give back."""
    pairs = zip(tree_leaves(student), tree_leaves(teacher), strict=True)
    return torch.stack([(one - other).square().mean() for one, other in pairs]).mean()
