"""MobileNetV3: the published network is one of the space; widths, squeezing and kernels."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

import oneshot_core as oneshot
from oneshot_plugins.costs.counts import macs, parameters
from oneshot_plugins.spaces.inverted_residual import Residual, SqueezeExcite
from oneshot_plugins.spaces.mobilenetv3 import MobileNetV3, Stage

LARGE = {
    1: ([3, 3], [4, 3]),
    2: ([5, 5, 5], [3, 3, 3]),
    3: ([3, 3, 3, 3], [6, 2.5, 2.3, 2.3]),
    4: ([3, 3], [6, 6]),
    5: ([5, 5, 5], [6, 6, 6]),
}
"""Table 1 of the paper: kernels and expansions of each stage."""


def test_mobilenetv3_large_is_in_the_space_and_has_its_parameters() -> None:
    """5,483,032, as torchvision counts; the paper says 5.4 M, and 219 M operations."""
    with torch.device("meta"):
        model = MobileNetV3(expansions=(2.3, 2.5, 3, 4, 6))
    chosen: dict[str, object] = {}
    for stage, (kernels, expansions) in LARGE.items():
        chosen[f"stage{stage}/depth"] = len(kernels)
        for block, pair in enumerate(zip(kernels, expansions, strict=True), start=1):
            name = f"stage{stage}/block{block}"
            chosen |= {f"{name}/kernel": pair[0], f"{name}/expansion": pair[1]}
    network = oneshot.freeze(model, chosen)
    assert parameters(network) == 5_483_032
    assert macs(network, torch.empty(1, 3, 224, 224, device="meta")) == pytest.approx(
        219e6, rel=0.02
    )


def small(**options: object) -> MobileNetV3:
    stages = (Stage(8, 2, False, nn.ReLU), Stage(16, 1, True))
    return MobileNetV3(
        (3, 5),
        (2, 3),
        (1, 2),
        stages=stages,
        stem=8,
        head=(16, 8),
        classes=3,
        **options,  # type: ignore[arg-type]
    )


def test_a_multiplier_scales_every_width_in_multiples_of_eight() -> None:
    model = small(multipliers=(1.0, 2.0))
    chosen = oneshot.ModelSpace(model).default()
    widths = {}
    for factor in (1.0, 2.0):
        network = oneshot.freeze(model, {**chosen, "width": factor})
        widths[factor] = [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert all(width % 8 == 0 for width in widths[2.0])
    assert widths[2.0][0] == 2 * widths[1.0][0]
    assert "width" not in oneshot.ModelSpace(small()).specs


def test_blocks_that_keep_their_shape_are_residual() -> None:
    chosen = oneshot.ModelSpace(small()).default()
    model = small()
    kinds = [[type(b) is Residual for b in stage.blocks] for stage in model.stages]  # type: ignore[union-attr]
    assert kinds == [[False, True], [False, True]]
    assert chosen["stage1/depth"] == 2


def test_squeezing_can_be_chosen_by_every_block() -> None:
    stages = (Stage(8, 2, None),)
    model = MobileNetV3((3,), (2,), (2,), stages=stages, stem=8, head=(8, 8), classes=3)
    space = oneshot.ModelSpace(model)
    assert space.size == 4
    for architecture in space.architectures():
        network = oneshot.freeze(model, architecture)
        squeezed = [architecture[f"stage1/block{i}/squeeze"] for i in (1, 2)].count("yes")
        assert sum(isinstance(m, nn.Conv2d) and m.bias is not None for m in network.modules()) == (
            2 * squeezed
        )


def test_channels_are_scaled_by_what_their_means_say() -> None:
    squeeze = SqueezeExcite(4, 2).double()
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    means = x.flatten(2).mean(2)
    hidden = (means @ squeeze.reduce.weight.flatten(1).T + squeeze.reduce.bias).clamp_min(0)
    gate = hidden @ squeeze.expand.weight.flatten(1).T + squeeze.expand.bias
    wanted = x * ((gate + 3).clamp(0, 6) / 6)[:, :, None, None]
    torch.testing.assert_close(squeeze(x), wanted, rtol=1e-12, atol=1e-12)


def test_a_deeper_network_starts_as_the_shallower_one() -> None:
    model = small().eval()
    space = oneshot.ModelSpace(model)
    networks = [
        oneshot.freeze(model, {**space.default(), "stage1/depth": depth}) for depth in (1, 2)
    ]
    for shallow, deep in pairwise(networks):
        known = deep.state_dict()
        for name, tensor in shallow.state_dict().items():
            if name.startswith("stages.0"):
                assert torch.equal(tensor, known[name])
