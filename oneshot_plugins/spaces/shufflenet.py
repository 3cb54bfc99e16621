"""The space of Single Path One-Shot: ShuffleNetV2 blocks of four kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from oneshot_core.space import LayerChoice, choice

from .graph import GraphWhenFrozen
from .inverted_residual import conv_bn
from .widths import computed


class ShuffleUnit(GraphWhenFrozen):
    """Pass some channels on and convolve the others; a stride of 2 convolves both.

    Args:
        inputs: channels of the input; even with stride 1.
        outputs: channels of the output.
        middle: channels within the branch that convolves, a number or a value.
        kernel: of depthwise convolutions.
        stride: 1 or 2.
        xception: whether three depthwise convolutions alternate with pointwise ones.

    Source: Ma et al., "ShuffleNet V2", arXiv:1807.11164, figure 3; Guo et al., "Single Path
    One-Shot", arXiv:1904.00420, section 4 and appendix.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        middle: Any,
        kernel: int,
        stride: int,
        *,
        xception: bool = False,
    ) -> None:
        super().__init__()
        self.stride = stride
        passed = inputs if stride == 2 else inputs // 2
        taken = passed

        def depthwise(channels: Any, step: int = 1) -> nn.Module:
            return conv_bn(channels, channels, kernel, step, groups=channels)

        def pointwise(before: Any, after: Any) -> nn.Module:
            return conv_bn(before, after, activation=nn.ReLU)

        if xception:
            layers = [
                depthwise(taken, stride),
                pointwise(taken, middle),
                depthwise(middle),
                pointwise(middle, middle),
                depthwise(middle),
            ]
        else:
            layers = [pointwise(taken, middle), depthwise(middle, stride)]
        self.branch = nn.Sequential(*layers, pointwise(middle, outputs - passed))
        self.shortcut = (
            nn.Sequential(depthwise(inputs, 2), pointwise(inputs, inputs))
            if stride == 2
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return shape ``(N, outputs, H, W)``, height and width divided by the stride."""
        if self.stride == 2:
            passed, taken = x, x
        else:  # every other channel: what shuffling and splitting comes to
            passed, taken = x[:, 0::2], x[:, 1::2]
        return torch.cat([self.shortcut(passed), self.branch(taken)], 1)


class ShuffleNet(GraphWhenFrozen):
    """Twenty blocks, each of which chooses its kernel or the Xception-like unit.

    Block ``i`` has the label ``block{i}`` and the candidates ``k3``, ``k5``, ``k7`` and ``xcep``;
    with several fractions ``block{i}/channels`` chooses how wide it is inside.

    ``4**20`` architectures; with the ten fractions of the paper ``40**20``. Verified: the network
    that its authors released for the search of blocks takes 319 M multiply-accumulates, as in the
    paper, with 3,345,088 parameters. Not verified: ShuffleNetV2 itself, whose blocks of stride 2
    divide channels in another way, is not in the space.

    Args:
        fractions: of the channels inside blocks, 1 being half of the output's; one for all, or
            several to choose from, such as ``[0.2 * i for i in range(1, 11)]``.
        blocks: of each stage; the first has stride 2.
        widths: channels of each stage.
        stem: channels of the first convolution.
        head: channels after the last convolution.
        classes: of the classifier.
        dropout: before the classifier.

    Source: Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling",
    arXiv:1904.00420, section 4, table 1; ``nni.nas.hub.pytorch.ShuffleNetSpace``.
    """

    def __init__(
        self,
        fractions: Sequence[float] = (1.0,),
        *,
        blocks: Sequence[int] = (4, 4, 8, 4),
        widths: Sequence[int] = (64, 160, 320, 640),
        stem: int = 16,
        head: int = 1024,
        classes: int = 1000,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.stem = conv_bn(3, stem, 3, 2, activation=nn.ReLU)
        inputs, built = stem, nn.ModuleList()
        for count, outputs in zip(blocks, widths, strict=True):
            for place in range(count):
                label = f"block{len(built) + 1}"
                fraction: Any = (
                    choice(fractions, label=f"{label}/channels", default=_middle(fractions))
                    if len(fractions) > 1
                    else fractions[0]
                )
                middle = computed(_part, outputs // 2, fraction)
                stride = 2 if place == 0 else 1
                candidates: dict[str, nn.Module] = {
                    f"k{kernel}": ShuffleUnit(inputs, outputs, middle, kernel, stride)
                    for kernel in (3, 5, 7)
                }
                candidates["xcep"] = ShuffleUnit(inputs, outputs, middle, 3, stride, xception=True)
                built.append(LayerChoice(candidates, label=label))
                inputs = outputs
        self.blocks = nn.Sequential(*built)
        self.last = nn.Sequential(
            conv_bn(inputs, head, activation=nn.ReLU), nn.AdaptiveAvgPool2d(1)
        )
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(head, classes, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Classify images.

        Args:
            x: shape ``(N, 3, H, W)``, 224 x 224 in the paper.

        Returns:
            Logits, shape ``(N, classes)``.
        """
        features: Tensor = self.last(self.blocks(self.stem(x)))
        return self.classifier(features.flatten(1))  # type: ignore[no-any-return]


def _middle(fractions: Sequence[float]) -> float:
    """Return the fraction nearest to 1, at which the network has its usual size."""
    return min(fractions, key=lambda fraction: abs(fraction - 1))


def _part(channels: int, fraction: float) -> int:
    return max(1, int(channels * fraction + 1e-6))  # 0.6 * 5 is 3, whatever floats say
