"""Supernet modules change neither the precision nor the memory format of what passes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import Cell, DecisionTable, InputChoice, LayerChoice
from oneshot_core import nn as onn
from oneshot_core.lightning.plugin_hooks import plugin_hooks
from oneshot_core.space import Repeat, choice
from oneshot_plugins.checks.decisions import Drawn, Weighted


def conv(*_: Any) -> nn.Module:
    return nn.Conv2d(4, 4, 3, padding=1)


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inputs = InputChoice(2, n_chosen=1, label="input")

    def forward(self, x: Tensor) -> Tensor:
        return self.inputs([x, 2 * x])


BUILD: dict[str, Callable[[], nn.Module]] = {
    "layer": lambda: LayerChoice([conv(), nn.Sequential(conv(), nn.BatchNorm2d(4))], label="a"),
    "input": Sum,
    "repeat": lambda: Repeat(conv, (0, 2), label="depth"),
    "cell": lambda: Cell({"conv": conv, "skip": lambda *_: nn.Identity()}, 2, label="cell"),
    "elastic": lambda: nn.Sequential(
        onn.Conv2d(
            4, choice([2, 6], label="width"), choice([1, 3], label="kernel"), padding="same"
        ),
        onn.BatchNorm2d(choice([2, 6], label="width")),
        onn.Conv2d(choice([2, 6], label="width"), 4, 1),
    ),
}


@pytest.fixture(params=BUILD)
def supernet(request: pytest.FixtureRequest) -> Callable[[Any], nn.Module]:
    """Build a supernet with decisions of a kind."""

    def make(decision: Any) -> nn.Module:
        torch.manual_seed(0)
        model = nn.Sequential(BUILD[request.param]())
        hooks = [*plugin_hooks(oneshot.registry)]
        oneshot.traverse_and_mutate_submodules(model, hooks, {"decisions": DecisionTable(decision)})
        return model

    return make


@pytest.mark.parametrize("decision", [Drawn, Weighted])
def test_channels_last_stays_channels_last(
    supernet: Callable[[Any], nn.Module], decision: Any
) -> None:
    model = supernet(decision).to(memory_format=torch.channels_last)
    x = torch.randn(2, 4, 6, 6).to(memory_format=torch.channels_last)
    out = model(x)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert not out.is_contiguous()
    torch.testing.assert_close(out, model(x.contiguous()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decision", [Drawn, Weighted])
def test_bfloat16_stays_bfloat16(supernet: Callable[[Any], nn.Module], decision: Any) -> None:
    x = torch.randn(2, 4, 6, 6)
    whole = supernet(decision)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = whole(x.bfloat16())
    assert mixed.dtype == torch.bfloat16
    assert supernet(decision).bfloat16()(x.bfloat16()).dtype == torch.bfloat16
    torch.testing.assert_close(mixed.float(), whole(x), rtol=0.1, atol=0.1)
