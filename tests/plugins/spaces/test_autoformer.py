"""AutoFormer: published sizes, attention by hand, and what is cut."""

from __future__ import annotations

import math

import pytest
import torch

import oneshot_core as oneshot
from oneshot_plugins.costs.counts import parameters
from oneshot_plugins.spaces.autoformer import Attention, AutoFormer

RELATIVE_POSITIONS = 4 * (2 * 14 + 2) * 64
"""Numbers of the relative position embedding of a layer, which is left out here."""

NETWORKS = {
    "tiny": (
        AutoFormer,
        192,
        [3.5, 3.5, 3.0, 3.5, 3.0, 3.0, 4.0, 4.0, 3.5, 4.0, 3.5, 4.0, 3.5],
        [3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 3, 3],
        5_768_104,
    ),
    "small": (
        AutoFormer.small,
        384,
        [3.0, 3.5, 3.0, 3.5, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 3.5, 4.0],
        [6, 6, 5, 7, 5, 5, 5, 6, 6, 7, 7, 6, 7],
        22_791_592,
    ),
    "base": (
        AutoFormer.base,
        576,
        [3.5, 3.5, 4.0, 3.5, 4.0, 3.5, 3.5, 3.0, 4.0, 4.0, 3.0, 4.0, 3.0, 3.5],
        [9, 9, 9, 9, 9, 10, 9, 9, 10, 9, 10, 9, 9, 10],
        53_584_168,
    ),
}
"""Name -> space, width, ratios and heads of the released network, parameters here."""

PAPER = {"small": 22.9, "base": 53.7}
"""Millions of parameters in the paper, relative positions included."""


@pytest.mark.parametrize("name", NETWORKS)
def test_the_released_networks_are_in_the_spaces_and_as_large_as_the_paper_says(name: str) -> None:
    """The tiny one has 5.77 M here and 5.87 M with relative positions; the paper says 5.7 M."""
    make, width, ratios, heads, size = NETWORKS[name]
    with torch.device("meta"):
        model = make()  # type: ignore[operator]
    chosen: dict[str, object] = {"embed_dim": width, "depth": len(ratios)}
    for i, (ratio, count) in enumerate(zip(ratios, heads, strict=True), start=1):
        chosen |= {f"layer{i}/mlp_ratio": ratio, f"layer{i}/heads": count}
    assert parameters(oneshot.freeze(model, chosen)) == size
    if name in PAPER:
        assert round((size + len(ratios) * RELATIVE_POSITIONS) / 1e6, 1) == PAPER[name]


def test_heads_attend_each_by_itself() -> None:
    attention = Attention(6, 2, 4).double()
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    query, key, value = (layer(x) for layer in (attention.query, attention.key, attention.value))
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(4)
        heads.append(scores.softmax(-1) @ value[..., part])
    wanted = attention.output(torch.cat(heads, -1))
    torch.testing.assert_close(attention(x), wanted, rtol=1e-12, atol=1e-12)


def small() -> AutoFormer:
    return AutoFormer((8, 12), (1, 2), (1, 2), (1.0, 1.5), image=8, patch=4, classes=3, head_size=4)


def test_a_smaller_network_has_the_first_features_of_everything() -> None:
    model = small()
    chosen = {
        "embed_dim": 8, "depth": 1, "layer1/heads": 1, "layer1/mlp_ratio": 1.5,
    }  # fmt: skip
    whole, part = model.state_dict(), oneshot.freeze(model, chosen).state_dict()
    assert part["token.weight"].shape == (1, 1, 8)
    assert part["positions.weight"].shape == (1, 5, 8)
    assert part["layers.0.attention.query.weight"].shape == (4, 8)
    assert part["layers.0.perceptron.0.weight"].shape == (12, 8)
    renamed = {name.replace("layers.blocks.", "layers."): t for name, t in whole.items()}
    for name, tensor in part.items():
        assert torch.equal(tensor, renamed[name][tuple(slice(n) for n in tensor.shape)])


def test_choices_of_layers_beyond_the_depth_decide_nothing() -> None:
    space = oneshot.ModelSpace(small())
    assert space.size == 2 * (4 + 4**2)
    one = space.reduce({**space.default(), "depth": 1})
    assert not any(label.startswith("layer2") for label in one)


def test_learned_tokens_are_initialised_as_the_paper_does() -> None:
    model = AutoFormer((32,), (1, 2), (1,), (1.0,), image=32, patch=4, head_size=4)
    fresh = oneshot.freeze(model, oneshot.ModelSpace(model).default(), weights="fresh")
    positions = fresh.state_dict()["positions.weight"]
    assert 0.015 < float(positions.std()) < 0.025
