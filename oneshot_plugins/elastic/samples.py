"""What the conformance checks try elastic layers and their rules with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import nn as onn
from oneshot_core.testing import Sample, same_each_time
from oneshot_plugins.elastic.extent import Extent, Size
from oneshot_plugins.elastic.module import make_elastic
from oneshot_plugins.elastic.optional import make_optional

WIDTH = oneshot.choice([2, 4], label="width")
KERNEL = oneshot.choice([1, 3], label="kernel")
YES = oneshot.choice([True, False], label="yes")


def layers() -> list[Sample]:
    """Return layers of several kinds, with one choice and with two."""
    return [
        *linear(),
        _sample(lambda: onn.Conv2d(2, 2 * WIDTH, KERNEL, padding=KERNEL // 2), 2, 2, 6, 6),
        _sample(lambda: onn.LayerNorm(4, eps=oneshot.choice([1e-5, 1e-2], label="eps")), 3, 4),
    ]


def modules() -> list[Sample]:
    """Return modules of torch with a size, and blocks that can be left out."""
    out = Size("out", 6)
    rows = {"weight": {0: Extent.of(out)}, "bias": {0: Extent.of(out)}}

    def blocks() -> nn.Module:
        net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
        return make_optional(net, ["1", "2"], names=["second", "third"])

    return [
        _sample(lambda: make_elastic(nn.Linear(4, 6), rows, {out: [1, 3, 6]}), 3, 4),
        _sample(lambda: make_elastic(nn.Conv1d(2, 6, 3), rows, {out: [2, 6]}), 2, 2, 5),
        _sample(blocks, 3, 4),
    ]


def linear() -> list[Sample]:
    return [_sample(lambda: onn.Linear(4, oneshot.choice([2, 3, 5], label="out")), 3, 4)]


def convolutions() -> list[Sample]:
    return [
        _sample(lambda: onn.Conv1d(2, WIDTH, KERNEL, padding=KERNEL // 2, bias=YES), 2, 2, 5),
        _sample(lambda: onn.Conv2d(4, 4, 3, groups=oneshot.choice([1, 2], label="g")), 2, 4, 5, 5),
    ]


def transposed() -> list[Sample]:
    return [_sample(lambda: onn.ConvTranspose1d(2, WIDTH, KERNEL, padding=KERNEL // 2), 2, 2, 5)]


def batch_norms() -> list[Sample]:
    return [_sample(lambda: onn.BatchNorm1d(3, affine=YES), 4, 3)]


def group_norms() -> list[Sample]:
    return [_sample(lambda: onn.GroupNorm(oneshot.choice([1, 2], label="n"), 4), 2, 4, 3)]


def trailing_norms() -> list[Sample]:
    return [_sample(lambda: onn.LayerNorm(3, elementwise_affine=YES), 4, 3)]


def embeddings() -> list[Sample]:
    return [Sample(same_each_time(lambda: onn.Embedding(5, WIDTH)), _indices)]


def prelus() -> list[Sample]:
    return [_sample(lambda: onn.PReLU(oneshot.choice([1, 3], label="slopes")), 2, 3)]


def attentions() -> list[Sample]:
    def inputs() -> tuple[Tensor, ...]:
        return tuple(torch.linspace(-1, i, 3 * 2 * 4).reshape(3, 2, 4) for i in (1, 2, 3))

    heads = oneshot.choice([1, 2], label="heads")
    return [Sample(same_each_time(lambda: onn.MultiheadAttention(4, heads, bias=YES)), inputs)]


def _indices() -> tuple[Tensor]:
    return (torch.tensor([[0, 4], [2, 2]]),)


def _sample(make: Callable[[], Any], *shape: int) -> Sample:
    def inputs() -> tuple[Tensor]:
        return (torch.linspace(-1, 1, torch.Size(shape).numel()).reshape(shape),)

    return Sample(same_each_time(make), inputs)
