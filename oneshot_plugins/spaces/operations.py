"""The operations of the spaces that are made of cells, by the names that their papers' code uses.

Each keeps the number of channels, and divides height and width by the stride, rounded up.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from oneshot_core import nn as onn

from .graph import GraphWhenFrozen

Operation = Callable[[int, int, bool], nn.Module]
"""``(width, stride, affine) -> module``; ``affine`` is that of its BatchNorms."""


class FactorizedReduce(GraphWhenFrozen):
    """Halve height and width without losing pixels: two 1x1 convolutions, one pixel apart.

    Args:
        before: channels that come in; may be a value.
        width: channels that go out.
        affine: of the BatchNorm.

    Source: Liu et al., "DARTS", arXiv:1806.09055, code; Zoph et al., arXiv:1707.07012, code.
    """

    def __init__(self, before: int, width: int, affine: bool = True) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.even = onn.Conv2d(before, width // 2, 1, stride=2, bias=False)
        self.odd = onn.Conv2d(before, width - width // 2, 1, stride=2, bias=False)
        self.pad = nn.ZeroPad2d((0, 1, 0, 1))  # an odd size has no last odd pixel
        self.norm = nn.BatchNorm2d(width, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Reduce ``(batch, before, h, w)`` to ``(batch, width, ceil(h / 2), ceil(w / 2))``."""
        x = self.relu(x)
        shifted = self.pad(x)[:, :, 1:, 1:]
        normed: Tensor = self.norm(torch.cat([self.even(x), self.odd(shifted)], 1))
        return normed


class Zero(GraphWhenFrozen):
    """Return zeros: the absence of an edge.

    Args:
        stride: so many rows and columns become one.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros of the reduced shape."""
        return x[:, :, :: self.stride, :: self.stride] * 0.0


class DropPath(GraphWhenFrozen):
    """Drop a path for some samples of the batch while training, and scale it up for the others.

    Args:
        probability: of dropping; that of the ``nn.Dropout`` inside, ``keep.p``.

    Source: Larsson et al., "FractalNet", arXiv:1605.07648, section 3.1, as in DARTS and NASNet.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.keep = nn.Dropout(probability)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` of shape ``(batch, channels, h, w)``, whole samples of it zero."""
        kept: Tensor = self.keep(x.new_ones((x.shape[0], 1, 1, 1)))
        return x * kept


def relu_conv_norm(before: int, width: int, affine: bool = True) -> nn.Module:
    """Return a 1x1 convolution between ReLU and BatchNorm; ``before`` may be a value."""
    return nn.Sequential(
        nn.ReLU(),
        onn.Conv2d(before, width, 1, bias=False),
        nn.BatchNorm2d(width, affine=affine),
    )


def _convolution(width: int, kernel: int, stride: int, affine: bool) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(width, width, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(width, affine=affine),
    )


def _in_two(width: int, kernel: int, stride: int, affine: bool) -> nn.Module:
    """Return a ``1 x kernel`` and a ``kernel x 1`` convolution."""
    pad = kernel // 2
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(width, width, (1, kernel), (1, stride), (0, pad), bias=False),
        nn.Conv2d(width, width, (kernel, 1), (stride, 1), (pad, 0), bias=False),
        nn.BatchNorm2d(width, affine=affine),
    )


def _separable(
    width: int, kernel: int, stride: int, affine: bool, *, dilation: int = 1, times: int = 2
) -> nn.Module:
    """Return depthwise separable convolutions, one after another, the first with the stride."""
    layers: list[nn.Module] = []
    padding = dilation * (kernel // 2)
    for step in (stride, 1)[:times]:
        layers += [
            nn.ReLU(),
            nn.Conv2d(width, width, kernel, step, padding, dilation, width, bias=False),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width, affine=affine),
        ]
    return nn.Sequential(*layers)


def _average(width: int, stride: int, affine: bool) -> nn.Module:
    return nn.AvgPool2d(3, stride, 1, count_include_pad=False)


def _identity(width: int, stride: int, affine: bool) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(width, width, affine)


OPERATIONS: dict[str, Operation] = {
    "none": lambda width, stride, affine: Zero(stride),
    "skip_connect": _identity,
    "avg_pool_3x3": _average,
    "max_pool_3x3": lambda width, stride, affine: nn.MaxPool2d(3, stride, 1),
    "max_pool_5x5": lambda width, stride, affine: nn.MaxPool2d(5, stride, 2),
    "max_pool_7x7": lambda width, stride, affine: nn.MaxPool2d(7, stride, 3),
    "conv_1x1": lambda width, stride, affine: _convolution(width, 1, stride, affine),
    "conv_3x3": lambda width, stride, affine: _convolution(width, 3, stride, affine),
    "conv_3x1_1x3": lambda width, stride, affine: _in_two(width, 3, stride, affine),
    "conv_7x1_1x7": lambda width, stride, affine: _in_two(width, 7, stride, affine),
    "sep_conv_3x3": lambda width, stride, affine: _separable(width, 3, stride, affine),
    "sep_conv_5x5": lambda width, stride, affine: _separable(width, 5, stride, affine),
    "sep_conv_7x7": lambda width, stride, affine: _separable(width, 7, stride, affine),
    "dil_conv_3x3": lambda width, stride, affine: _separable(
        width, 3, stride, affine, dilation=2, times=1
    ),
    "dil_conv_5x5": lambda width, stride, affine: _separable(
        width, 5, stride, affine, dilation=2, times=1
    ),
    "dil_sep_conv_3x3": lambda width, stride, affine: _separable(
        width, 3, stride, affine, dilation=2
    ),
}
"""Name -> operation."""
