"""What the conformance checks try the model spaces with: small members of each family."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from oneshot_core import nn as onn
from oneshot_core.space import choice
from oneshot_core.testing import Sample, same_each_time

from .autoformer import AutoFormer, PositionEmbedding
from .cell_network import CellNetwork
from .cell_spaces import AmoebaNet, Darts, Enas, NasNet, Pnas
from .chain import Chain1d
from .mobilenetv3 import MobileNetV3
from .mobilenetv3 import Stage as ElasticStage
from .nasbench101 import NasBench101, NasBench101Cell
from .nasbench201 import NasBench201
from .proxylessnas import ProxylessNas, Stage
from .shufflenet import ShuffleNet


def chains() -> list[Sample]:
    """Return the chain as the demo uses it, and short ones."""
    return [
        Sample(Chain1d, lambda: (torch.ones(2, 40),)),
        Sample(lambda: Chain1d(positions=2, width=4, length=8), lambda: (torch.ones(2, 8),)),
        Sample(
            lambda: Chain1d(positions=2, width=4, length=8, partial_channels=2),
            lambda: (torch.ones(2, 8),),
        ),
    ]


def nas_bench_201() -> list[Sample]:
    """Return a network of two stages with one cell each."""
    return [_sample(lambda: NasBench201(4, cells=1, stages=2), 8)]


def nas_bench_101() -> list[Sample]:
    """Return a network of two stacks with one cell of up to four vertices each."""
    return [_sample(lambda: NasBench101(6, stacks=2, cells=1, vertices=4, edges=5), 8)]


def nas_bench_101_cells() -> list[Sample]:
    """Return cells whose vertices have several widths."""

    def build(inputs: int, vertices: int, edges: int) -> Callable[[], nn.Module]:
        return lambda: NasBench101Cell(inputs, 5, vertices=vertices, edges=edges)

    return [_sample(build(3, 5, 6), 4), _sample(build(3, 3, 2), 4)]


def token_layers() -> list[Sample]:
    """Return a position embedding; one feature is added to all, so its inputs fit any width."""
    width = choice([4, 6], label="width")

    def tokens() -> tuple[Tensor]:
        return (torch.linspace(-1, 1, 2 * 3).reshape(2, 3, 1),)

    return [Sample(same_each_time(lambda: onn.mutable(PositionEmbedding)(3, width)), tokens)]


def mobilenet_v3() -> list[Sample]:
    """Return a network of two stages with two widths, one of which chooses to squeeze."""
    stages = (ElasticStage(8, 2, False, nn.ReLU), ElasticStage(16, 1, None))
    return [
        _sample(
            lambda: MobileNetV3(
                (3, 5), (2, 3), (1, 2), (1.0, 2.0), stages=stages, stem=8, head=(16, 8), classes=3
            ),
            16,
        )
    ]


def proxyless_nas() -> list[Sample]:
    """Return a network of two stages."""
    stages = (Stage(8, 2, 2), Stage(12, 1, 1))
    return [
        _sample(
            lambda: ProxylessNas((3, 5), (2, 3), stages=stages, stem=4, first=4, head=8, classes=3),
            16,
        )
    ]


def shufflenets() -> list[Sample]:
    """Return a network of two stages, and one that chooses channels as well."""

    def build(*fractions: float) -> Callable[[], nn.Module]:
        return lambda: ShuffleNet(
            fractions, blocks=(2, 1), widths=(8, 16), stem=4, head=8, classes=3
        )

    return [_sample(build(1.0), 16), _sample(build(0.5, 1.0, 1.5), 16)]


def autoformers() -> list[Sample]:
    """Return a transformer of one to two layers, with either way to read it."""

    def build(average: bool) -> Callable[[], nn.Module]:
        return lambda: AutoFormer(
            (8, 12),
            (1, 2),
            (1, 2),
            (1.0, 1.5),
            image=8,
            patch=4,
            classes=3,
            head_size=4,
            average=average,
        )

    return [_sample(build(True), 8), _sample(build(False), 8)]


def _sample(build: Callable[[], nn.Module], size: int) -> Sample:
    def images() -> tuple[Tensor]:
        generator = torch.Generator().manual_seed(0)
        return (torch.randn(2, 3, size, size, generator=generator),)

    return Sample(same_each_time(build), images)


def _of_cells(space: type[CellNetwork], layers: int, **options: Any) -> list[Sample]:
    def images() -> tuple[Tensor]:
        return (torch.linspace(-1, 1, 2 * 3 * 64).reshape(2, 3, 8, 8),)

    return [Sample(partial(space, 4, layers, **options), images)]


darts = partial(_of_cells, Darts, 3)
"""One normal cell and two that reduce."""

# Of five nodes with free inputs one cell and two operations are enough to try in seconds; tests of
# ours try the rest.
FEW = ("skip_connect", "sep_conv_3x3")
enas = partial(_of_cells, Enas, 1, operations=FEW)
nasnet = partial(_of_cells, NasNet, 1, operations=FEW)
amoebanet = partial(_of_cells, AmoebaNet, 1, operations=FEW)
pnas = partial(_of_cells, Pnas, 1, operations=FEW)
