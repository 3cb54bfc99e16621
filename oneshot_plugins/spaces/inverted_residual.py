"""The inverted residual block of MobileNetV2 and V3, of which widths and kernel may be values."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from oneshot_core import nn as onn

from .graph import GraphWhenFrozen


class SqueezeExcite(GraphWhenFrozen):
    """Scale channels by what their means say.

    Args:
        channels: a number or a value.
        reduced: channels between the two layers, a number or a value.

    Source: Howard et al., "Searching for MobileNetV3", arXiv:1905.02244, section 5.3.
    """

    def __init__(self, channels: Any, reduced: Any) -> None:
        super().__init__()
        self.reduce = onn.Conv2d(channels, reduced, 1)
        self.expand = onn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with its channels scaled, shape ``(N, C, H, W)``."""
        gate = self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        scaled_channels: Tensor = x * F.hardsigmoid(gate)
        return scaled_channels


class Residual(GraphWhenFrozen):
    """Add to the input what ``body`` makes of it."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x + body(x)``."""
        total: Tensor = x + self.body(x)
        return total


def conv_bn(
    inputs: Any,
    outputs: Any,
    kernel: Any = 1,
    stride: int = 1,
    *,
    groups: Any = 1,
    activation: Callable[[], nn.Module] | None = None,
) -> nn.Sequential:
    """Return convolution, BatchNorm and activation; the numbers may be values."""
    layers: list[nn.Module] = [
        onn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        onn.BatchNorm2d(outputs),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


def inverted_residual(
    inputs: Any,
    hidden: Any,
    outputs: Any,
    kernel: Any,
    stride: int = 1,
    *,
    activation: Callable[[], nn.Module],
    squeeze: nn.Module | None = None,
    expands: bool = True,
    residual: bool = False,
) -> nn.Module:
    """Return a block: expand channels, convolve each by itself, squeeze, project.

    Args:
        inputs: channels of the input.
        hidden: channels between.
        outputs: channels of the output.
        kernel: an odd number, or a value.
        stride: of the depthwise convolution.
        activation: factory, for all but the projection.
        squeeze: applied before the projection.
        expands: whether there is an expansion; else ``hidden`` is ``inputs``.
        residual: whether the input is added; then stride is 1 and channels stay.

    Source: Sandler et al., "MobileNetV2", arXiv:1801.04381, section 3.3.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if expands:
        layers["expand"] = conv_bn(inputs, hidden, activation=activation)
    layers["depthwise"] = conv_bn(
        hidden, hidden, kernel, stride, groups=hidden, activation=activation
    )
    if squeeze is not None:
        layers["squeeze"] = squeeze
    layers["project"] = conv_bn(hidden, outputs)
    body = nn.Sequential(layers)
    return Residual(body) if residual else body
