"""MobileNetV3 with elastic kernels, expansions, depths and widths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from oneshot_core import nn as onn
from oneshot_core.space import LayerChoice, Repeat, choice

from .graph import GraphWhenFrozen
from .inverted_residual import SqueezeExcite, conv_bn, inverted_residual
from .widths import computed, rounded, scaled


class Stage(NamedTuple):
    """Blocks of one width.

    Args:
        width: channels of the output, before the multiplier.
        stride: of the first block.
        squeeze: whether blocks squeeze and excite; None to let every block choose.
        activation: factory.
    """

    width: int
    stride: int
    squeeze: bool | None = False
    activation: Callable[[], nn.Module] = nn.Hardswish


LARGE = (
    Stage(24, 2, False, nn.ReLU),
    Stage(40, 2, True, nn.ReLU),
    Stage(80, 2, False),
    Stage(112, 1, True),
    Stage(160, 2, True),
)
"""The stages of MobileNetV3-Large."""


class MobileNetV3(GraphWhenFrozen):
    """A MobileNetV3 that chooses kernel, expansion and depth, as Once-for-All does.

    Labels: ``stage{i}/depth``, ``stage{i}/block{j}/kernel`` and ``.../expansion``, where a stage
    lets blocks choose ``.../squeeze``, and ``width`` if there are several multipliers. Kernels
    are the middle of the largest (Once-for-All transforms them besides), channels the first.

    With the defaults ``(9**2 + 9**3 + 9**4)**5``, some 2.17e19 architectures, as the paper of
    Once-for-All says. Verified: MobileNetV3-Large, which is in the space with expansions of 2.3
    and 2.5 added, has 5,483,032 parameters (5.4 M in its paper). Not verified: networks that
    Once-for-All found, whose configurations are not in its paper.

    Args:
        kernels: odd numbers.
        expansions: hidden channels of a block over its input's, rounded to multiples of 8.
        depths: blocks of a stage.
        multipliers: of all widths, chosen once for the network.
        stages: see :class:`Stage`.
        stem: channels before the first stage.
        head: channels after the last convolution, and of the layer before the classifier.
        classes: of the classifier.
        dropout: before the classifier.

    Source: Howard et al., "Searching for MobileNetV3", arXiv:1905.02244, table 1; Cai et al.,
    "Once-for-All", arXiv:1908.09791, section 3; ``nni.nas.hub.pytorch.MobileNetV3Space``.
    """

    def __init__(
        self,
        kernels: Sequence[int] = (3, 5, 7),
        expansions: Sequence[float] = (3, 4, 6),
        depths: Sequence[int] = (2, 3, 4),
        multipliers: Sequence[float] = (1.0,),
        *,
        stages: Sequence[Stage] = LARGE,
        stem: int = 16,
        head: tuple[int, int] = (960, 1280),
        classes: int = 1000,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        factor: Any = choice(multipliers, label="width") if len(multipliers) > 1 else multipliers[0]
        width = computed(scaled, stem, factor)
        self.stem = conv_bn(3, width, 3, 2, activation=nn.Hardswish)
        self.first = inverted_residual(
            width, width, width, 3, activation=nn.ReLU, expands=False, residual=True
        )
        built: list[nn.Module] = []
        for index, stage in enumerate(stages, start=1):
            outputs = computed(scaled, stage.width, factor)
            blocks = [
                _block(
                    width if place == 0 else outputs,
                    outputs,
                    stage,
                    f"stage{index}/block{place + 1}",
                    first=place == 0,
                    kernels=kernels,
                    expansions=expansions,
                )
                for place in range(max(depths))
            ]
            built.append(Repeat(blocks, list(depths), label=f"stage{index}/depth"))
            width = outputs
        self.stages = nn.Sequential(*built)
        features, hidden = (computed(scaled, size, factor) for size in head)
        self.last = nn.Sequential(
            conv_bn(width, features, activation=nn.Hardswish), nn.AdaptiveAvgPool2d(1)
        )
        self.classifier = nn.Sequential(
            onn.Linear(features, hidden),
            nn.Hardswish(),
            nn.Dropout(dropout),
            onn.Linear(hidden, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Classify images.

        Args:
            x: shape ``(N, 3, H, W)``, 224 x 224 in the paper.

        Returns:
            Logits, shape ``(N, classes)``.
        """
        features: Tensor = self.last(self.stages(self.first(self.stem(x))))
        return self.classifier(features.flatten(1))  # type: ignore[no-any-return]


def _block(
    inputs: Any,
    outputs: Any,
    stage: Stage,
    label: str,
    *,
    first: bool,
    kernels: Sequence[int],
    expansions: Sequence[float],
) -> nn.Module:
    hidden = computed(scaled, inputs, choice(expansions, label=f"{label}/expansion"))
    squeeze: nn.Module | None = None
    if stage.squeeze is not False:
        squeeze = SqueezeExcite(hidden, computed(_quarter, hidden))
    if stage.squeeze is None:
        assert squeeze is not None
        squeeze = LayerChoice({"yes": squeeze, "no": nn.Identity()}, label=f"{label}/squeeze")
    return inverted_residual(
        inputs,
        hidden,
        outputs,
        choice(kernels, label=f"{label}/kernel"),
        stage.stride if first else 1,
        activation=stage.activation,
        squeeze=squeeze,
        residual=not first,
    )


def _quarter(channels: int) -> int:
    return rounded(channels // 4)
