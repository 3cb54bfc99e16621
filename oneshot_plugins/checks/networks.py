"""Plain networks to offer to mutation hooks and to measure with costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from .case import Sample
from .choices import WIDTH, batch


class Tied(nn.Module):
    """A layer under two names, an empty container, and nothing where a layer may be."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(WIDTH, WIDTH)
        self.decoder = self.encoder
        self.middle = nn.Sequential()
        self.norm = None

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.decoder(self.middle(self.encoder(x)))
        return out


def perceptron() -> nn.Module:
    return nn.Sequential(
        nn.Linear(WIDTH, 6),
        nn.LayerNorm(6),
        nn.ReLU(),
        nn.Sequential(nn.Dropout(0.1), nn.Linear(6, WIDTH), nn.GELU()),
    )


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.BatchNorm2d(2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 2),
    )


def networks() -> list[Sample]:
    """Return networks without any choice, and what they are called with."""

    def images() -> tuple[Tensor]:
        return (torch.linspace(-1, 1, 3 * 16).reshape(3, 1, 4, 4),)

    def vectors() -> tuple[Tensor]:
        return (batch(),)

    return [
        Sample(partial(_seeded, perceptron), vectors),
        Sample(partial(_seeded, convolutions), images),
        Sample(partial(_seeded, Tied), vectors),
    ]


def _seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """Build with the same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()
