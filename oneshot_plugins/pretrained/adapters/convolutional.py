"""Convolutional networks: which blocks of a stage can be skipped. Channels need no adapter."""

from __future__ import annotations

from typing import Final

from ..adapter import Adapter, Blocks

__all__ = ["CONVNEXT", "EFFICIENTNET", "MOBILENET", "RESNET", "TIMM_CONVNEXT", "TIMM_EFFICIENTNET"]

RESNET: Final = Adapter(
    depth=tuple(Blocks(f"layer{stage}.*", where="not downsample") for stage in (1, 2, 3, 4))
)
"""ResNet, ResNeXt and Wide ResNet, of torchvision and of timm."""

CONVNEXT: Final = Adapter(depth=tuple(Blocks(f"features.{stage}.*") for stage in (1, 3, 5, 7)))

EFFICIENTNET: Final = Adapter(depth=Blocks("features.*.*", where="use_res_connect"))

MOBILENET: Final = Adapter(depth=Blocks("features.*", where="use_res_connect"))

TIMM_CONVNEXT: Final = Adapter(depth="stages.*.blocks.*")

TIMM_EFFICIENTNET: Final = Adapter(depth=Blocks("blocks.*.*", where="has_skip"))
"""EfficientNet and MobileNetV3 of timm."""
