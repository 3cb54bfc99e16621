"""Which adapters a model has, and what they say with the names of that model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from oneshot_core.discovery import Registry, default_registry
from oneshot_core.errors import PluginError
from oneshot_core.hookspecs import Component
from oneshot_plugins.elastic.extent import Extent, Size
from oneshot_plugins.pretrained.adapter import Adapter, Blocks
from oneshot_plugins.pretrained.adapting import Adapters, Following, Found, find_adapters
from oneshot_plugins.pretrained.expression import Dim
from oneshot_plugins.pretrained.trace import Follow, trace

from ...models import build, package, timm, torchvision


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads, self.head_dim, self.width = 3, 4, 12
        self.query, self.out = nn.Linear(8, 12), nn.Linear(12, 8)


class Layer(nn.Module):
    def __init__(self, skips: bool) -> None:
        super().__init__()
        self.attention, self.skips = Attention(), skips


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(skips) for skips in (False, True, True, True))


class Wider(Model):
    """A class that somebody derived."""


ADAPTER = Adapter(
    heads="layers.*.attention.query.weight:0 / head_dim",
    follows={
        "layers.*.attention": {
            "heads": "query.weight:0 / head_dim",
            "width": ("missing.weight:0", "query.weight:0"),
            "not_there": "query.weight:0",
        }
    },
    depth=Blocks("layers.*", where="skips", keep=(-1,)),
)


def registry(*handles: type, adapter: object = ADAPTER, name: str = "own") -> Registry:
    found = Registry(entry_points=False)
    paths = tuple(f"{cls.__module__}:{cls.__qualname__}" for cls in handles)
    found.register("adapter", name, adapter, handles=paths)
    return found


def test_the_adapter_of_the_nearest_class_is_found_wherever_the_module_is() -> None:
    known = registry(Model)
    known.register("adapter", "layer", Adapter(), handles=(f"{__name__}:Attention",))
    task = nn.Sequential(nn.Linear(2, 2), Wider())
    found = find_adapters(task, registry=known)
    assert [(f.path, f.name) for f in found.found] == [
        ("1", "adapter:own"),
        *((f"1.layers.{n}.attention", "adapter:layer") for n in range(4)),
    ]
    known.register("adapter", "nearer", Adapter(), handles=(f"{__name__}:Wider",))
    assert find_adapters(task, registry=known).found[0].name == "adapter:nearer"


def test_an_adapter_that_is_given_takes_the_place_of_that_of_the_model() -> None:
    found = find_adapters(Model(), adapter=Adapter(), registry=registry(Model))
    assert found.found == (Found("", Adapter(), "adapter="),)


def test_a_model_without_adapter_has_none_and_nothing_to_say() -> None:
    model = nn.Linear(2, 2)
    found = find_adapters(model, registry=registry(Model))
    assert not found
    assert found.stacks(model) == []
    assert found.traced_attributes(model) == found.run_time_attributes(model, {}) == {}


def test_a_component_that_is_no_adapter_is_refused() -> None:
    with pytest.raises(PluginError, match=r"adapter:own of .* is a dict"):
        find_adapters(Model(), registry=registry(Model, adapter={}))


def test_attributes_follow_where_they_are_and_of_several_expressions_the_first_that_can() -> None:
    model = nn.Sequential(Model())
    found = find_adapters(model, registry=registry(Model))
    table = found.traced_attributes(model)
    assert list(table) == [f"0.layers.{n}.attention" for n in range(4)]
    tensor = "0.layers.2.attention.query.weight"
    assert table["0.layers.2.attention"] == {
        "heads": Follow(tensor, 0, 1, 4),
        "width": Follow(tensor, 0),
    }


def test_attributes_follow_at_run_time_what_the_extents_say() -> None:
    model, heads = Model(), Size("heads", 3)
    found = find_adapters(model, registry=registry(Model))
    extents = {"layers.1.attention.query.weight": {0: Extent.of(heads, 4)}}
    table = found.run_time_attributes(model, extents)
    assert list(table) == ["layers.1.attention"]  # where nothing changes, nothing follows
    assert {name: f({heads: 2}) for name, f in table["layers.1.attention"].items()} == {
        "heads": 2,
        "width": 8,
    }
    assert all(f.sizes == (heads,) for f in table["layers.1.attention"].values())


def test_the_queries_of_a_group_follow_the_quotient_of_two_dimensions() -> None:
    groups, queries = Size("kv", 2), Size("queries", 3)
    following = Following(
        "q.weight:0 / k.weight:0",
        {
            Dim("q.weight", 0): Extent.of(groups, queries, 8),
            Dim("k.weight", 0): Extent.of(groups, 8),
        },
        {},
    )
    assert following({groups: 1, queries: 2}) == 2
    assert following({}) == 3


def test_an_expression_with_another_value_than_the_attribute_is_refused() -> None:
    wrong = Adapter(follows={"layers.*.attention": {"heads": "query.weight:0"}})
    model = Model()
    with pytest.raises(PluginError) as caught:
        find_adapters(model, registry=registry(Model, adapter=wrong)).traced_attributes(model)
    assert "heads of the Attention at 'layers.0.attention' is 'query.weight:0'" in str(caught.value)
    assert "which is 12, and it is 3" in str(caught.value)
    assert "disable('adapter:own')" in caught.value.fix


def test_of_two_adapters_the_outer_one_counts() -> None:
    known = registry(Model)
    inner = Adapter(follows={"": {"heads": "out.weight:1 / head_dim", "width": "out.weight:1"}})
    known.register("adapter", "inner", inner, handles=(f"{__name__}:Attention",))
    model = Model()
    found = {
        (f.module, f.attribute): f for f in find_adapters(model, registry=known).followed(model)
    }
    assert found["layers.0.attention", "heads"].adapter == "adapter:own"


def test_blocks_that_cannot_be_skipped_are_left_out() -> None:
    model = nn.Sequential(Model(), nn.Identity())
    (stack,) = find_adapters(model, registry=registry(Model)).stacks(model)
    assert stack.path == "0.layers"
    assert stack.blocks == tuple(f"0.layers.{n}" for n in range(4))
    assert stack.optional == ("0.layers.1", "0.layers.2")  # the first does not skip, the last stays


def test_not_before_a_condition_turns_it_around() -> None:
    adapter = Adapter(depth=Blocks("layers.*", where="not skips"))
    model = Model()
    (stack,) = Adapters((Found("", adapter, "own"),)).stacks(model)
    assert stack.optional == ("layers.0",)


def test_a_size_that_counts_heads_is_never_the_hidden_size() -> None:
    model, heads, groups = Model(), Size("heads", 3), Size("groups", 1)
    adapter = Adapter(
        hidden="layers.0.attention.query.weight:0",
        heads="layers.*.attention.query.weight:0 / head_dim",
        kv="layers.*.attention.out.weight:1 / head_dim",
    )
    found = Adapters((Found("", adapter, "own"),))
    of = "layers.0.attention"
    assert found.roles(model, {f"{of}.query.weight": {0: Extent.of(heads, 4)}}) == {heads: "heads"}
    extents = {
        f"{of}.query.weight": {0: Extent.of(groups, heads, 4)},
        f"{of}.out.weight": {1: Extent.of(groups, 12)},
    }
    assert found.roles(model, extents) == {groups: "kv", heads: "queries"}


# --- our adapters --------------------------------------------------------------------------------

ROLES = {
    "bert": {"hidden", "ffn", "heads"},
    "llama": {"hidden", "ffn", "kv", "queries"},
    "qwen3": {"hidden", "ffn", "kv", "queries"},
    "gemma3": {"hidden", "ffn", "kv", "queries"},
    "gpt2": {"hidden", "ffn", "heads"},
    "t5": {"hidden", "ffn", "heads"},
    "vit": {"hidden", "ffn", "heads"},
    "dinov2": {"hidden", "ffn", "heads"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ROLES)
def test_our_adapters_give_each_size_of_a_transformer_its_role(name: str) -> None:
    built = build(name)
    adapters = find_adapters(built.model)
    given = adapters.traced_attributes(built.model)
    traced = trace(built.model, built.args, built.kwargs, attributes=given)
    roles = adapters.roles(built.model, traced.extents)
    assert set(roles.values()) == ROLES[name]
    assert {size for size in traced.sizes if size not in roles} <= set(traced.outputs)


STACKS: dict[str, tuple[int, int]] = {
    "bert": (3, 3),
    "llama": (3, 3),
    "gemma3": (3, 3),
    "gpt2": (3, 3),
    "t5": (4, 2),
    "vit": (3, 3),
    "dinov2": (3, 3),
    "resnet50": (16, 12),
    "mobilenet_v3_small": (13, 6),
    "convnext_tiny": (18, 18),
    "efficientnet_b0": (14, 9),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STACKS)
def test_our_adapters_know_which_blocks_can_be_skipped(name: str) -> None:
    model = build(name).model
    stacks = find_adapters(model).stacks(model)
    counts = sum(len(s.blocks) for s in stacks), sum(len(s.optional) for s in stacks)
    assert counts == STACKS[name]


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "torchvision vit": lambda: torchvision("vit_b_16", 224).model,
    "torchvision swin": lambda: torchvision("swin_t", 224).model,
    "timm vit": lambda: timm("vit_tiny_patch16_224").model,
    "timm resnet": lambda: timm("resnet18").model,
    "timm convnext": lambda: timm("convnext_atto").model,
    "timm efficientnet": lambda: timm("efficientnet_b0").model,
    "timm mobilenet": lambda: timm("mobilenetv3_small_050").model,
    "nn.Transformer": lambda: nn.Transformer(8, 2, 2, 2, 16, batch_first=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_adapters_are_found_for_timm_torchvision_and_torch(name: str) -> None:
    with torch.device("meta"):
        model = OTHERS[name]()
    adapters = find_adapters(model)
    assert adapters.found[0].path == ""
    assert adapters.stacks(model)
    assert bool(adapters.followed(model)) == ("vit" in name or name == "nn.Transformer")


@pytest.mark.slow
def test_every_class_that_an_adapter_handles_exists() -> None:
    for name in ("transformers", "timm", "torchvision"):
        package(name)
    import importlib

    for record in default_registry().find("adapter"):
        for handled in record.component.handles:
            module, _, cls = handled.partition(":")
            assert isinstance(getattr(importlib.import_module(module), cls), type), handled


def test_adapters_are_listed_without_the_packages_of_their_models() -> None:
    component = default_registry().get("adapter:bert").component
    assert isinstance(component, Component)
    assert component.handles[0] == "transformers.models.bert.modeling_bert:BertModel"
