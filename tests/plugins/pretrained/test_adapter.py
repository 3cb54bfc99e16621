"""Adapters and their expressions: what is accepted, what is refused, and what it means."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from oneshot_core.errors import PluginError
from oneshot_plugins.pretrained.adapter import Adapter, Blocks
from oneshot_plugins.pretrained.expression import (
    Dim,
    fits,
    matching,
    number_of,
    parse,
    tensors_of,
)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head_dim, self.is_causal = 4, True
        self.query = nn.Linear(8, 12)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("query.weight:0", 12, id="a dimension"),
        pytest.param("query.weight:0 / head_dim", 3, id="divided by a number of the module"),
        pytest.param("2 * query.weight:1", 16, id="times a number"),
        pytest.param("query.weight:0 / head_dim * query.weight:1", 24, id="from left to right"),
        pytest.param("query.weight:1 ** 0.5", 8**0.5, id="to a power"),
        pytest.param("  7 ", 7, id="a number alone"),
    ],
)
def test_an_expression_has_the_value_that_it_says(text: str, value: float) -> None:
    module = Attention()
    tensors = tensors_of(module)

    def length(dim: Dim) -> int:
        return int(tensors[dim.tensor].shape[dim.dim])

    assert parse(text).evaluate(length, lambda name: number_of(module, "", name)) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.weight:0 /",
        "a.weight:0 a.weight:1",
        "a.weight:0/2",
        "__import__('os').getcwd()",
        "a + 1",
        "* 3",
        "a.weight:x",
        "a..b:0",
    ],
)
def test_what_is_no_expression_is_refused_and_never_evaluated(text: str) -> None:
    with pytest.raises(PluginError, match="is no expression") as caught:
        parse(text)
    assert "head_dim" in caught.value.fix


def test_a_division_that_leaves_a_rest_is_refused() -> None:
    with pytest.raises(PluginError, match="divides 7 by 2"):
        parse("7 / 2").evaluate(lambda dim: 0, lambda name: 0)


def test_a_star_stands_for_one_name_or_a_part_of_it_and_never_for_a_dot() -> None:
    names = ["layers.0.mlp", "layers.10.mlp", "layers.0.mlp.up", "layers.0.norm"]
    assert matching(names, "layers.*.mlp") == ["layers.0.mlp", "layers.10.mlp"]
    assert fits("encoder.block.3", "*coder.block.*")
    assert not fits("layers.0.mlp.up", "layers.*")


def test_a_number_is_looked_up_in_the_module_and_then_in_those_that_hold_it() -> None:
    outer = nn.Sequential(nn.Sequential(Attention()))
    outer.head_dim = 5  # type: ignore[assignment]
    assert number_of(outer, "0.0.query.weight", "head_dim") == 4
    assert number_of(outer, "0", "head_dim") == 5
    assert number_of(outer, "", "0.0.head_dim") == 4
    with pytest.raises(PluginError, match=r"at or above '0\.0' has a whole number 'heads'"):
        number_of(outer, "0.0", "heads")
    with pytest.raises(PluginError, match="is_causal"):  # a bool is no size
        number_of(outer, "0.0", "is_causal")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"hidden": "embedding.weight"}, "no expression|one dimension", id="no dim"),
        pytest.param({"ffn": "a.w:0 / b.w:0"}, "one dimension", id="two dims"),
        pytest.param({"heads": (3,)}, "one dimension", id="no text"),
        pytest.param({"follows": {"a b": {}}}, "dotted path", id="no path"),
        pytest.param({"follows": {"a": {"b": "c +"}}}, "no expression", id="no expression"),
        pytest.param({"follows": {"a": "b"}}, "path -> attribute", id="no table"),
        pytest.param({"follows": {"a": {"b.c": "d.w:0"}}}, "an attribute", id="no attribute"),
        pytest.param({"depth": "layers"}, "dotted path", id="a path of one module"),
        pytest.param({"depth": 3}, "Blocks got path=3", id="no blocks"),
        pytest.param({"config": {"hidden_size": "# layers"}}, "path of modules", id="no count"),
        pytest.param({"config": {3: "hidden"}}, "name -> expression", id="no name"),
        pytest.param({"needs": ("hidden",)}, "a pair", id="no pair"),
    ],
)
def test_an_adapter_that_is_written_wrongly_says_which_argument(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(PluginError, match=message):
        Adapter(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"give": ()}, "position of an argument", id="gives nothing"),
        pytest.param({"give": -1}, "position of an argument", id="negative"),
        pytest.param({"keep": 0}, "tuple of positions", id="keep is no tuple"),
        pytest.param({"where": "a or b"}, "an attribute", id="no attribute"),
        pytest.param({"index": "layer_idx"}, "tuple of names", id="index is no tuple"),
        pytest.param({"lists": ("layer_types",)}, "index, too", id="lists without index"),
    ],
)
def test_blocks_that_are_written_wrongly_say_which_argument(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(PluginError, match=message):
        Blocks("layers.*", **arguments)


def test_an_adapter_can_be_copied_pickled_and_shown() -> None:
    adapter = Adapter(
        hidden=("a.weight:1", "b.weight:0"),
        follows={"layers.*": {"heads": "q.weight:0 / head_dim"}},
        depth=("up.*", Blocks("down.*", keep=(0,))),
        config={"n": "#up.*"},
    )
    assert adapter == copy.deepcopy(adapter) == pickle.loads(pickle.dumps(adapter))
    assert "ffn" not in repr(adapter)
    assert [stack.path for stack in adapter.blocks] == ["up.*", "down.*"]
    assert [path for _, path in adapter.paths()] == [
        "a.weight", "b.weight", "layers.*", "up.*", "down.*", "up.*",
    ]  # fmt: skip


def test_a_tied_tensor_stands_under_each_of_its_names() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    model.register_buffer("scale", torch.ones(4))
    assert list(tensors_of(model)) == [
        "0.weight", "0.bias", "1.weight", "1.bias", "scale",
    ]  # fmt: skip
