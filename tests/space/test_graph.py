"""Modules of a plugin in a frozen network: graphs that need no class of the plugin."""

from __future__ import annotations

import io
import pickletools

import pytest
import torch
from torch import Tensor, fx, nn

from oneshot_core import LayerChoice, freeze
from oneshot_core.errors import FreezeError
from oneshot_core.space import GraphWhenFrozen


class Doubled(GraphWhenFrozen):
    """Twice a learned vector, initialised in a way of its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, 3.0)

    def forward(self, x: Tensor) -> Tensor:
        return x + 2 * self.weight


class Outer(GraphWhenFrozen):
    """Holds such modules directly, in a container, and in a choice."""

    def __init__(self) -> None:
        super().__init__()
        self.direct = Doubled(3)
        self.contained = nn.Sequential(nn.Linear(3, 3), Doubled(3))
        self.choice = LayerChoice([nn.Sequential(Doubled(3)), nn.Identity()], label="choice")

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.choice(self.contained(self.direct(x)))
        return out


class Branching(GraphWhenFrozen):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize("wrapped", [False, True], ids=["root", "inside-of-a-module"])
def test_no_class_of_a_plugin_is_left_however_deep(wrapped: bool) -> None:
    outer = Outer()
    model = nn.Sequential(outer) if wrapped else outer
    frozen = freeze(model, {"choice": "0"})
    assert all(type(module).__module__.startswith("torch.") for module in frozen.modules())
    x = torch.randn(2, 3)
    assert torch.equal(frozen(x), model(x))
    assert {name.removeprefix("0.") for name in frozen.state_dict()} == {
        "direct.weight", "contained.0.weight", "contained.0.bias", "contained.1.weight",
        "choice.0.weight",
    }  # fmt: skip


def test_a_saved_graph_names_nothing_but_torch() -> None:
    """Neither the tracer that made it nor annotations that are text."""
    frozen = freeze(Outer(), {"choice": "0"})
    file = io.BytesIO()
    torch.save(frozen, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(torch.ones(3)), frozen(torch.ones(3)))
    with torch.serialization._open_zipfile_reader(io.BytesIO(file.getvalue())) as archive:
        data = archive.get_record("data.pkl")
    words = {str(argument) for _, argument, _ in pickletools.genops(data) if argument is not None}
    assert not any(word.startswith(("oneshot", "test_graph")) for word in words)


def test_fresh_weights_are_made_as_the_class_makes_them() -> None:
    frozen = freeze(Outer(), {"choice": "0"}, weights="fresh")
    assert isinstance(frozen, fx.GraphModule)
    assert frozen.state_dict()["direct.weight"].tolist() == [3.0] * 3
    assert frozen.state_dict()["choice.0.weight"].tolist() == [3.0] * 3


def test_what_cannot_be_traced_is_refused_with_its_path() -> None:
    with pytest.raises(FreezeError, match="the Branching at '1' cannot be turned into a graph"):
        freeze(nn.Sequential(LayerChoice([nn.Identity()]), Branching()), {"0": "0"})
