"""ProxylessNAS: inverted residual blocks of six kinds, most of which may be left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from oneshot_core.space import LayerChoice

from .graph import GraphWhenFrozen
from .inverted_residual import conv_bn, inverted_residual


class Stage(NamedTuple):
    """Blocks of one width.

    Args:
        width: channels of the output.
        blocks: how many there are at most.
        stride: of the first.
    """

    width: int
    blocks: int
    stride: int


IMAGENET = (
    Stage(24, 4, 2),
    Stage(40, 4, 2),
    Stage(80, 4, 2),
    Stage(96, 4, 1),
    Stage(192, 4, 2),
    Stage(320, 1, 1),
)
"""The stages that ProxylessNAS searches by default."""


class ProxylessNas(GraphWhenFrozen):
    """A MobileNetV2 of which every block chooses kernel and expansion, or is left out.

    Block ``j`` of stage ``i`` has the label ``stage{i}/block{j}`` and candidates such as
    ``"k5e3"``, each with weights of its own as in the paper; ``"skip"`` leaves a block out that
    is not the first of its stage.

    With the defaults ``6**6 * 7**15``, some 2.2e17 architectures. Verified: the four networks
    that were published, Mobile (4,080,512 parameters), GPU (7,119,848; 7.1 M in the paper), CPU
    (4,361,648) and Mobile-14 (6,857,568), with the widths each has.

    Args:
        kernels: odd numbers.
        expansions: hidden channels of a block over its input's.
        stages: see :class:`Stage`.
        stem: channels of the first convolution.
        first: channels of the first block, which is fixed.
        head: channels after the last convolution.
        classes: of the classifier.

    Source: Cai et al., "ProxylessNAS", arXiv:1812.00332, section 4.2 and appendix;
    ``nni.nas.hub.pytorch.ProxylessNAS``, which chooses depths by Repeat instead.
    """

    def __init__(
        self,
        kernels: Sequence[int] = (3, 5, 7),
        expansions: Sequence[int] = (3, 6),
        *,
        stages: Sequence[Stage] = IMAGENET,
        stem: int = 32,
        first: int = 16,
        head: int = 1280,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        self.stem = conv_bn(3, stem, 3, 2, activation=nn.ReLU6)
        self.first = inverted_residual(stem, stem, first, 3, activation=nn.ReLU6, expands=False)
        width, blocks = first, nn.ModuleList()
        for index, stage in enumerate(stages, start=1):
            for place in range(stage.blocks):
                candidates: dict[str, nn.Module] = {
                    f"k{kernel}e{expansion}": inverted_residual(
                        width,
                        width * expansion,
                        stage.width,
                        kernel,
                        stage.stride if place == 0 else 1,
                        activation=nn.ReLU6,
                        residual=place > 0,
                    )
                    for expansion in expansions
                    for kernel in kernels
                }
                if place:
                    candidates["skip"] = nn.Identity()
                blocks.append(LayerChoice(candidates, label=f"stage{index}/block{place + 1}"))
                width = stage.width
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(
            conv_bn(width, head, activation=nn.ReLU6), nn.AdaptiveAvgPool2d(1)
        )
        self.classifier = nn.Linear(head, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images.

        Args:
            x: shape ``(N, 3, H, W)``, 224 x 224 in the paper.

        Returns:
            Logits, shape ``(N, classes)``.
        """
        features: Tensor = self.last(self.blocks(self.first(self.stem(x))))
        return self.classifier(features.flatten(1))  # type: ignore[no-any-return]
