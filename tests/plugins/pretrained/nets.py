"""Networks of a user's own package, which a recipe names and the saved folder's loader imports."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Settings:
    """What a module keeps and no file can hold, but which every build makes anew."""

    def __init__(self, scale: float) -> None:
        self.scale = scale


class Block(nn.Module):
    def __init__(self, width: int, index: int) -> None:
        super().__init__()
        self.index, self.shape, self.settings = index, (width, 2), Settings(0.5)
        self.inner = nn.Linear(width, 2 * width)
        self.outer = nn.Linear(2 * width, width)
        self.register_buffer("offset", torch.full((width,), float(index)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x + self.offset * self.settings.scale).relu()
        return x + self.outer(y) * (1 + self.index)


class Net(nn.Module):
    """Tied weights, a list of blocks, and attributes that are no sizes of tensors."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.table = nn.Embedding(7, width)
        self.blocks = nn.ModuleList(Block(width, i) for i in range(depth))
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, 7, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def net(width: int = 6, depth: int = 3) -> Net:
    return Net(width, depth)


def recurrent() -> nn.Module:
    """torch keeps the weights of an LSTM in a list, too."""
    return nn.LSTM(3, 4, num_layers=2)


def with_constant(value: float = 2.0) -> nn.Module:
    """A tensor that is a plain attribute has no value on the meta device."""
    module = nn.Linear(2, 2)
    module.constant = torch.tensor([value])
    return module


def no_module() -> int:
    return 3


def fails() -> Any:
    raise ZeroDivisionError("on purpose")
