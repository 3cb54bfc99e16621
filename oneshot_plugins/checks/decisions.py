"""Decisions to try supernet modules with, without any strategy.

Between them they show a supernet module all that a strategy may: one draw as it is, and a
superposition with weights that a gradient can reach.
"""

from __future__ import annotations

import torch
from torch import Tensor

from oneshot_core.decision import Active, Decision
from oneshot_core.space import Choice, ParameterSpec


class Drawn(Decision):
    """Take one choice as it is: the default, until another is drawn."""

    def __init__(self, spec: ParameterSpec) -> None:
        super().__init__(spec)
        self.taken = spec.default

    def mixture(self) -> list[Active]:
        return [Active(candidate) for candidate in self.spec.members(self.taken)]

    def probabilities(self) -> Tensor:
        n = len(self.spec.candidates)
        return torch.full((n,), (self.spec.n_chosen or n / 2) / n)

    def resample(self) -> Choice:
        self.taken = self.draw_uniform()
        return self.taken

    def adopt(self, choice: Choice) -> None:
        self.taken = choice


class Weighted(Decision):
    """Superpose all candidates.

    Attributes:
        weights: one for each candidate, summing to how many are taken; set it to anything.
    """

    def __init__(self, spec: ParameterSpec) -> None:
        super().__init__(spec)
        n = len(spec.candidates)
        self.weights = torch.nn.Parameter(torch.full((n,), (spec.n_chosen or 1) / n))

    @property
    def superposes(self) -> bool:
        return True

    def mixture(self) -> list[Active]:
        weights = self.weights.unbind()
        return [Active(c, w) for c, w in zip(self.spec.candidates, weights, strict=True)]

    def probabilities(self) -> Tensor:
        return self.weights

    def weigh(self, choice: Choice) -> None:
        """Give all weight to one choice, without pinning it."""
        members = self.spec.members(choice)
        with torch.no_grad():
            self.weights.copy_(torch.tensor([float(c in members) for c in self.spec.candidates]))
