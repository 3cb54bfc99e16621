"""What the conformance checks try elastic layers with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import nn as onn
from oneshot_core.testing import Sample


def layers() -> list[Sample]:
    """Return layers of several kinds, with one choice and with two."""

    def vectors() -> tuple[Tensor]:
        return (torch.linspace(-1, 1, 12).reshape(3, 4),)

    def images() -> tuple[Tensor]:
        return (torch.linspace(-1, 1, 2 * 2 * 36).reshape(2, 2, 6, 6),)

    def linear() -> nn.Module:
        layer: nn.Module = onn.Linear(4, oneshot.choice([2, 3, 5], label="out"))
        return layer

    def conv() -> nn.Module:
        kernel = oneshot.choice([1, 3], label="kernel")
        width = oneshot.choice([2, 4], label="width")
        layer: nn.Module = onn.Conv2d(2, 2 * width, kernel, padding=kernel // 2)
        return layer

    def norm() -> nn.Module:
        layer: nn.Module = onn.LayerNorm(4, eps=oneshot.choice([1e-5, 1e-2], label="eps"))
        return layer

    return [
        Sample(_same_each_time(linear), vectors),
        Sample(_same_each_time(conv), images),
        Sample(_same_each_time(norm), vectors),
    ]


def _same_each_time(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return make()

    return build
