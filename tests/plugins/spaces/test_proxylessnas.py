"""ProxylessNAS: the four networks that were published are in the space."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import oneshot_core as oneshot
from oneshot_plugins.costs.counts import parameters
from oneshot_plugins.spaces.proxylessnas import ProxylessNas, Stage

SHAPE = ((4, 2), (4, 2), (4, 2), (4, 1), (4, 2), (1, 1))
"""Blocks and stride of each stage."""

NETWORKS = {
    "cpu": (
        (40, 24, (32, 48, 88, 104, 216, 360), 1432),
        "36 33 33 33 | 36 33 33 53 | 36 - - 33 | 56 33 33 33 | 56 53 53 33 | 56",
        4_361_648,
    ),
    "gpu": (
        (40, 24, (32, 56, 112, 128, 256, 432), 1728),
        "53 - - - | 73 - - 33 | 76 - - 53 | 56 - 33 53 | 76 76 76 56 | 76",
        7_119_848,
    ),
    "mobile": (
        (32, 16, (32, 40, 80, 96, 192, 320), 1280),
        "53 33 - - | 73 33 53 53 | 76 53 53 53 | 56 53 53 53 | 76 76 73 73 | 76",
        4_080_512,
    ),
    "mobile-14": (
        (48, 24, (40, 56, 112, 136, 256, 448), 1792),
        "53 33 - - | 73 33 53 53 | 76 53 53 53 | 56 53 53 53 | 76 76 73 73 | 76",
        6_857_568,
    ),
}
"""Name -> widths, kernel and expansion of each block ("-" where it is left out), parameters."""


@pytest.mark.parametrize("name", NETWORKS)
def test_the_published_networks_have_their_parameters(name: str) -> None:
    (stem, first, widths, head), text, size = NETWORKS[name]
    stages = [Stage(width, *shape) for width, shape in zip(widths, SHAPE, strict=True)]
    with torch.device("meta"):
        model = ProxylessNas(stages=stages, stem=stem, first=first, head=head)
    chosen = {
        f"stage{i}/block{j}": "skip" if block == "-" else f"k{block[0]}e{block[1]}"
        for i, stage in enumerate(text.split("|"), start=1)
        for j, block in enumerate(stage.split(), start=1)
    }
    assert parameters(oneshot.freeze(model, chosen)) == size


def test_only_blocks_that_keep_their_shape_can_be_left_out() -> None:
    model = ProxylessNas((3, 5), (3, 6), stages=[Stage(8, 2, 2)], stem=4, first=4, head=8)
    specs = oneshot.ModelSpace(model).specs
    assert specs["stage1/block1"].candidates == ("k3e3", "k5e3", "k3e6", "k5e6")
    assert specs["stage1/block2"].candidates == ("k3e3", "k5e3", "k3e6", "k5e6", "skip")
    frozen = oneshot.freeze(model, {"stage1/block1": "k5e3", "stage1/block2": "skip"})
    assert [m.kernel_size for m in frozen.modules() if isinstance(m, nn.Conv2d) and m.groups > 1][
        1:
    ] == [(5, 5)]
