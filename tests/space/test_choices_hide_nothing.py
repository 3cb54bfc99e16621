"""A choice in the place of a module of another's model, which looks at what stands there."""

from __future__ import annotations

import copy
import io
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import DecisionTable, LayerChoice, ModelSpace, Repeat, freeze
from oneshot_core.errors import StrategyError
from oneshot_plugins.inspect.probe import AllAtOnce, AsDeclared
from oneshot_plugins.supernets.modules import MixedLayer, MixedRepeat


def mutated(model: nn.Module, decision: type = AsDeclared) -> tuple[Any, DecisionTable]:
    table = DecisionTable(decision)
    hooks = [MixedLayer.mutate, MixedRepeat.mutate]
    oneshot.traverse_and_mutate_submodules(model, hooks, {"decisions": table})
    return model, table


def agree(model: Any, table: DecisionTable, run: Callable[[Any], Tensor]) -> None:
    for chosen in ModelSpace(model).architectures():
        for decision in table:
            decision.pin(chosen.get(decision.spec.label))
        run(model)  # what **kwargs get can only be seen
        frozen = freeze(model, chosen)
        for context in (torch.enable_grad, torch.no_grad):
            with context():
                found, wanted = run(model), run(frozen)
            assert torch.equal(found, wanted), chosen


# --- LayerChoice -------------------------------------------------------------------------------


def encoder(place: int) -> nn.TransformerEncoder:
    torch.manual_seed(0)

    def layer(width: int, heads: int = 4) -> nn.Module:
        return nn.TransformerEncoderLayer(16, heads, width, dropout=0.0, batch_first=True)

    model = nn.TransformerEncoder(layer(32), 3, enable_nested_tensor=False)
    model.layers[place] = LayerChoice({"a": layer(8), "b": layer(64, 2)}, label="layer")
    return model.eval()


@pytest.mark.parametrize("place", [0, 1])
def test_a_layer_of_a_transformer_encoder_can_be_a_choice(place: int) -> None:
    x = torch.randn(2, 5, 16)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    bare = encoder(place)
    assert torch.equal(bare(x, mask), freeze(bare, {"layer": "a"})(x, mask))
    agree(*mutated(bare), lambda network: network(x, mask))


class Named(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.inner = nn.Linear(size, size)
        self.register_buffer("table", torch.zeros(1))
        self._private = 1

    def double(self) -> int:  # type: ignore[override]
        return 2 * self.size

    def describe(self) -> str:
        return f"of {self.size}"

    def forward(self, x: Tensor) -> Tensor:
        return x


class Asking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.choice = LayerChoice([Named(1), Named(2)], label="c")

    def forward(self, x: Tensor) -> Tensor:
        assert self.choice.describe() == f"of {self.choice.size}"
        return x * self.choice.size


@pytest.mark.parametrize("replaced", [False, True], ids=["bare", "supernet"])
def test_a_choice_passes_on_attributes_of_its_default_and_no_tensors(replaced: bool) -> None:
    model: Any = Asking()
    if replaced:
        mutated(model)
    for each in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        choice = each.choice
        assert (choice.size, choice.describe()) == (1, "of 1")
        assert choice.inner is choice.candidates["0"].inner
        assert not hasattr(choice, "table")
        assert not hasattr(choice, "_private")
        with pytest.raises(AttributeError, match=r"(?s)tensor 'table'.*expected:.*fix: call it"):
            choice.table  # noqa: B018
        with pytest.raises(AttributeError, match="nowhere"):
            choice.nowhere  # noqa: B018


def test_while_it_runs_a_choice_shows_what_is_computed() -> None:
    agree(*mutated(Asking()), lambda network: network(torch.ones(2)))


def test_a_method_of_one_candidate_is_refused_while_all_are_weighted() -> None:
    model, _ = mutated(Asking(), AllAtOnce)
    with pytest.raises(StrategyError, match=r"(?s)method 'describe'.*weighted.*fix:"):
        model(torch.ones(2))


# --- Repeat ------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index
        self.linear = nn.Linear(4, 4)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, *, scale: float = 1.0, **more: Any
    ) -> Tensor:
        x = self.linear(x) * scale
        x = x if mask is None else x * mask
        return x + more["extra"] if "extra" in more else x


class Called(nn.Module):
    """Gives its blocks further arguments."""

    def __init__(self, depth: Any = (0, 3)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = Repeat(Block, depth, label="depth")

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x, torch.full((4,), 0.5), scale=2.0, extra=1.0)


class Looped(Called):
    """Goes over its blocks, as language models do."""

    def __init__(self, depth: Any = (0, 3)) -> None:
        super().__init__(depth)
        self.n = 3

    def forward(self, x: Tensor) -> Tensor:
        last = self.layers[-1] if len(self.layers) else None
        for i, layer in enumerate(self.layers[: self.n]):
            assert layer is self.layers[i]
            x = layer(x, torch.full((4,), 0.5), scale=2.0)
        assert [block.index for block in self.layers] == list(range(len(self.layers)))
        return x if last is None else x + last.index


@pytest.mark.parametrize("cls", [Called, Looped])
def test_blocks_are_called_with_all_arguments_and_gone_over_to_the_depth_in_use(
    cls: type[Called],
) -> None:
    x = torch.randn(3, 4)
    bare = cls((1, 3))
    output = bare(x)
    assert torch.equal(output, freeze(bare, {"depth": 3})(x))
    model, table = mutated(cls())
    agree(model, table, lambda network: network(x))
    outputs = []
    for depth in range(4):
        table["depth"].pin(depth)
        outputs.append(model(x))
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(outputs))


def test_blocks_that_name_their_arguments_can_be_frozen_before_they_are_called() -> None:
    class Once(Called):
        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x, torch.full((4,), 0.5), scale=2.0)

    bare = Once((1, 3))
    x = torch.randn(3, 4)
    assert torch.equal(freeze(bare, {"depth": 3})(x), bare(x))


def test_blocks_that_are_choices_take_all_arguments_too() -> None:
    class Chosen(Called):
        def __init__(self) -> None:
            super().__init__()
            self.layers = Repeat(
                lambda i: LayerChoice([Block(i), Block(i)], label=f"b{i}"), (1, 2), label="depth"
            )

    x = torch.randn(3, 4)
    agree(*mutated(Chosen()), lambda network: network(x))


@pytest.mark.parametrize("cls", [Called, Looped])
def test_a_frozen_chain_is_of_torch_alone_and_can_be_saved(cls: type[Called]) -> None:
    x = torch.randn(3, 4)
    model, _ = mutated(cls())
    model(x)
    frozen: Any = freeze(model, {"depth": 2})
    assert type(frozen.layers) is nn.Sequential
    assert set(frozen.layers.state_dict()) == {
        f"{i}.linear.{name}" for i in range(2) for name in ("weight", "bias")
    }
    file = io.BytesIO()
    torch.save(frozen.layers, file)
    assert b"oneshot_core" not in file.getvalue()
    for again in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        assert torch.equal(again(x), frozen(x))
        with torch.no_grad():
            again.layers[0].linear.weight.zero_()
        assert not torch.equal(again(x), frozen(x))
        double = again.double()
        assert double(x.double()).dtype == torch.float64


def test_outside_of_a_pass_all_blocks_are_there() -> None:
    model, table = mutated(Looped())
    table["depth"].pin(1)
    assert len(model.layers) == len(list(model.layers)) == len(model.layers[:]) == 3
    assert isinstance(model.layers[1:], nn.ModuleList)
    assert model.layers[-1].index == 2
    with pytest.raises(IndexError):
        model.layers[3]


def test_blocks_cannot_be_gone_over_while_their_number_is_weighted() -> None:
    x = torch.randn(3, 4)
    called, _ = mutated(Called((1, 3)), AllAtOnce)
    assert called(x).shape == x.shape
    model, _ = mutated(Looped((1, 3)), AllAtOnce)
    with pytest.raises(StrategyError, match=r"(?s)'layers'.*one by one.*expected:.*fix:"):
        model(x)
