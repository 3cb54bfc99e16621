"""What the conformance checks try cells with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import nn as onn
from oneshot_core.testing import Sample, same_each_time


def cells() -> list[Sample]:
    """Return cells of both kinds of inputs and both merges, with choices inside operations."""

    def two() -> tuple[Tensor, Tensor]:
        x = torch.linspace(-1, 1, 12).reshape(3, 4)
        return x, 2 * x.flip(0) + 1

    def edge(node: int, op: int | None, state: int) -> dict[str, nn.Module]:
        return {"linear": nn.Linear(4, 4), "tanh": nn.Tanh()}

    def distinct() -> nn.Module:
        return oneshot.Cell(edge, 2, 2, 2, inputs="distinct", label="distinct")

    def free() -> nn.Module:
        return oneshot.Cell([nn.Linear(4, 4), nn.Identity()], 2, 1, 2, label="free")

    def loose() -> nn.Module:
        return oneshot.Cell(edge, 2, 1, 2, "loose_end", label="loose")

    def nested() -> nn.Module:
        hidden = oneshot.choice([2, 3], label="hidden")
        ops = {
            "deep": oneshot.Repeat(nn.Linear(4, 4), (0, 2), label="depth"),
            "wide": nn.Sequential(onn.Linear(4, hidden), nn.Tanh(), onn.Linear(hidden, 4)),
        }
        return oneshot.Cell(ops, 2, 1, 1, label="nested")

    return [
        Sample(same_each_time(distinct), two, "distinct inputs"),
        Sample(same_each_time(free), two, "free inputs"),
        Sample(same_each_time(loose), two, "loose ends"),
        Sample(same_each_time(nested), lambda: two()[:1], "choices in operations"),
    ]
