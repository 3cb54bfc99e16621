"""What the conformance checks try elastic layers and cells with."""

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


def cells() -> list[Sample]:
    """Return cells of both kinds of inputs and both merges, with choices inside operations."""

    def two() -> tuple[Tensor, Tensor]:
        x = torch.linspace(-1, 1, 12).reshape(3, 4)
        return x, 2 * x.flip(0) + 1

    def edge(node: int, op: int | None, state: int) -> dict[str, nn.Module]:
        return {"linear": nn.Linear(4, 4), "tanh": nn.Tanh()}

    def distinct() -> nn.Module:
        return oneshot.Cell(edge, 2, 2, 2, inputs="distinct", label="distinct")

    def free() -> nn.Module:
        return oneshot.Cell([nn.Linear(4, 4), nn.Identity()], 2, 1, 2, label="free")

    def loose() -> nn.Module:
        return oneshot.Cell(edge, 2, 1, 2, "loose_end", label="loose")

    def nested() -> nn.Module:
        hidden = oneshot.choice([2, 3], label="hidden")
        ops = {
            "deep": oneshot.Repeat(nn.Linear(4, 4), (0, 2), label="depth"),
            "wide": nn.Sequential(onn.Linear(4, hidden), nn.Tanh(), onn.Linear(hidden, 4)),
        }
        return oneshot.Cell(ops, 2, 1, 1, label="nested")

    return [
        Sample(_same_each_time(distinct), two),
        Sample(_same_each_time(free), two),
        Sample(_same_each_time(loose), two),
        Sample(_same_each_time(nested), lambda: two()[:1]),
    ]


def _same_each_time(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return make()

    return build
