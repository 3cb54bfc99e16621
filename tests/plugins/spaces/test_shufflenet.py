"""The space of Single Path One-Shot: its network, its blocks, its channels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import oneshot_core as oneshot
from oneshot_plugins.costs.counts import macs, parameters
from oneshot_plugins.spaces.shufflenet import ShuffleNet, ShuffleUnit

PUBLISHED = [0, 0, 3, 1, 1, 1, 0, 0, 2, 0, 2, 1, 1, 0, 2, 0, 2, 1, 3, 2]
"""The blocks of the network that its authors released, by index."""


def test_the_released_network_has_the_operations_of_the_paper() -> None:
    """319 M in table 3 of the paper, for the search of blocks; 3.3 M parameters."""
    with torch.device("meta"):
        model = ShuffleNet()
    kinds = ("k3", "k5", "k7", "xcep")
    network = oneshot.freeze(
        model, {f"block{i}": kinds[kind] for i, kind in enumerate(PUBLISHED, start=1)}
    )
    operations = macs(network, torch.empty(1, 3, 224, 224, device="meta"))
    assert round(operations / 1e6) == 319
    assert parameters(network) == 3_345_088


def test_half_of_the_channels_pass_shuffled_with_the_others() -> None:
    unit = ShuffleUnit(8, 8, 4, 3, 1).eval()
    x = torch.randn(2, 8, 5, 5)
    found = unit(x)
    # Shuffle in two groups, as in ShuffleNet, then split: halves are every other channel.
    shuffled = x.reshape(2, 4, 2, 5, 5).transpose(1, 2).reshape(2, 8, 5, 5)
    assert torch.equal(found[:, :4], shuffled[:, :4])
    assert torch.equal(found[:, 4:], unit.branch(shuffled[:, 4:]))


def test_a_stride_of_two_halves_the_image_and_convolves_all_channels() -> None:
    unit = ShuffleUnit(4, 12, 6, 5, 2)
    x = torch.randn(2, 4, 8, 8)
    assert unit(x).shape == (2, 12, 4, 4)
    assert torch.equal(unit.eval()(x)[:, :4], unit.shortcut(x))


def test_the_xception_unit_has_three_depthwise_convolutions() -> None:
    unit = ShuffleUnit(8, 8, 6, 3, 1, xception=True)
    convolutions = [m for m in unit.branch.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.groups) for m in convolutions] == [
        (4, 4, 4), (4, 6, 1), (6, 6, 6), (6, 6, 1), (6, 6, 6), (6, 4, 1),
    ]  # fmt: skip


def test_channels_inside_blocks_can_be_chosen() -> None:
    fractions = [round(0.2 * i, 1) for i in range(1, 11)]
    model = ShuffleNet(fractions, blocks=(2,), widths=(20,), stem=4, head=8, classes=3)
    space = oneshot.ModelSpace(model)
    assert space.size == 40**2
    assert space.default()["block1/channels"] == 1.0
    for fraction in fractions:
        chosen = {**space.default(), "block1": "k5", "block1/channels": fraction}
        network = oneshot.freeze(model, chosen)
        widths = [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)]
        assert round(10 * fraction) in widths


@pytest.mark.parametrize("fractions", [(1.0,), (0.5, 1.0)])
def test_one_fraction_is_no_choice(fractions: tuple[float, ...]) -> None:
    model = ShuffleNet(fractions, blocks=(1,), widths=(8,), stem=4, head=8, classes=3)
    assert ("block1/channels" in oneshot.ModelSpace(model).specs) == (len(fractions) > 1)
