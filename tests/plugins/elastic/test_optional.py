"""Blocks that can be left out: of lists that their parents go over, and of what is called."""

from __future__ import annotations

import copy
import pickle
import random
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint_sequential

import oneshot_core as oneshot
from oneshot_core.errors import SpaceError, StrategyError
from oneshot_plugins.elastic.extent import Size
from oneshot_plugins.elastic.module import make_elastic, restore
from oneshot_plugins.elastic.optional import make_optional

from .nets import Task, of, prefix, searched

X = torch.linspace(-1, 1, 20).reshape(5, 4)


class Block(nn.Module):
    """A residual block that knows its number."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)
        self.inner = nn.Module()
        self.inner.layer_idx = index  # type: ignore[assignment]

    def forward(self, x: Tensor, seen: list[Any] | None = None) -> Tensor:
        if seen is not None:
            seen.append(self.inner.layer_idx)
        return x + self.lin(x).tanh()


class Net(nn.Module):
    """Goes over its blocks as models do: by number, by slice, and one by one."""

    def __init__(self, how: str = "iterate") -> None:
        super().__init__()
        self.how, self.depth = how, 4
        self.layers = nn.ModuleList(Block(i) for i in range(4))
        self.scales = nn.Parameter(torch.arange(1.0, 5.0))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Any]]:
        seen: list[Any] = []
        match self.how:
            case "iterate":
                for i, layer in enumerate(self.layers):
                    x = layer(x, seen) * self.scales[i]
            case "slice":
                for layer in self.layers[: self.depth]:
                    x = layer(x, seen)
                x = x * len(self.layers)
            case "index":
                for i in range(self.depth):
                    x = self.layers[i](x, seen=seen)
                x = self.layers[-1](x)
        return x, seen


PATHS = [f"layers.{i}" for i in range(4)]
NUMBERED: dict[str, Any] = {"index": "inner.layer_idx", "count": "depth"}


@pytest.mark.parametrize("how", ["iterate", "slice", "index"])
def test_every_choice_of_blocks_equals_its_frozen_network_bit_for_bit(how: str) -> None:
    net = make_optional(Net(how), PATHS, keep=["layers.2"], **NUMBERED)
    plain = copy.deepcopy(net)
    search = searched(net)
    assert search.space.size == 8
    for architecture in search.space.architectures():
        frozen = oneshot.freeze(search, architecture)
        kept = 1 + sum(map(bool, architecture.values()))
        assert (len(frozen.net.layers), frozen.net.depth) == (kept, kept)
        assert [m.inner.layer_idx for m in frozen.net.layers] == list(range(kept))
        assert {type(m).__module__.split(".")[0] for m in frozen.net.modules()} == {
            "torch",
            "tests",
        }
        with search.at(architecture):
            (found, order), (wanted, _) = search.model(X), frozen(X)
        assert torch.equal(found, wanted)
        assert order == list(range(kept))
    everything = oneshot.freeze(plain, {path: True for path in PATHS if path != "layers.2"})
    assert torch.equal(everything(X)[0], plain(X)[0])


def test_one_choice_of_several_sets_of_blocks() -> None:
    sets = {1: [2], 2: [0, 2], 4: range(4)}
    search = searched(make_optional(Net(), PATHS, label="depth", kept=sets, **NUMBERED))
    assert search.search_space_spec()["depth"].candidates == (1, 2, 4)
    for depth, kept in sets.items():
        frozen = oneshot.freeze(search, {"depth": depth})
        for got, origin in zip(frozen.net.layers, kept, strict=True):
            assert torch.equal(
                got.lin.weight, search.model.net.layers._modules[str(origin)].lin.weight
            )
        with search.at({"depth": depth}):
            assert torch.equal(search.model(X)[0], frozen(X)[0])
    tuples = make_optional(Net(), PATHS, label="which", kept=[(0, 3), (0, 1, 2, 3)])
    frozen = oneshot.freeze(nn.Sequential(tuples), {"which": (0, 3)})
    assert len(frozen[0].layers) == 2


class Stage(nn.Sequential):
    """Names its blocks, and calls them through a tool that does not go over the list."""

    def forward(self, x: Tensor) -> Tensor:
        for block in self.children():
            x = block(x)
        return x


@pytest.mark.parametrize("kind", ["sequential", "children", "dict", "checkpointed"])
def test_lists_of_all_kinds_go_without(kind: str) -> None:
    class Dict(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleDict({name: Block(0) for name in "abc"})

        def forward(self, x: Tensor) -> Tensor:
            for _, block in self.blocks.items():
                x = block(x)
            return x

    class Checkpointed(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return checkpoint_sequential(self, 1, x, use_reentrant=False)  # type: ignore[no-any-return]

    torch.manual_seed(0)
    named = {name: Block(0) for name in "abc"}
    net: nn.Module = {
        "sequential": lambda: nn.Sequential(*named.values()),
        "children": lambda: Stage(OrderedDict(named)),
        "dict": Dict,
        "checkpointed": lambda: Checkpointed(*named.values()),
    }[kind]()
    paths = [name for name, m in net.named_modules() if isinstance(m, Block)][1:]
    search = searched(make_optional(net, paths))
    for architecture in search.space.architectures():
        frozen = oneshot.freeze(search, architecture)
        with search.at(architecture):
            assert torch.equal(search.model(X), frozen(X))
    small = oneshot.freeze(search, dict.fromkeys(search.search_space_spec(), False))
    names = [n for n, m in small.net.named_modules() if isinstance(m, Block)]
    assert len(names) == 1


def test_blocks_with_sizes_of_their_own_decide_nothing_where_they_are_left_out() -> None:
    sizes = [Size(f"width{i}", 4) for i in range(2)]
    net = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), nn.Linear(4, 4))
    table = {**prefix(sizes[0], "0.0.weight", "0.0.bias"), **prefix(sizes[0], "0.1.weight", dim=1)}
    make_elastic(net, table, {sizes[0]: (2, 4)})
    make_optional(net, ["0"])
    search = searched(net)
    assert search.space.size == 3
    frozen = oneshot.freeze(search, {"net.0": False})
    with search.at({"net.0": False}):
        assert torch.equal(search.model(X), frozen(X))
    for width in (2, 4):
        architecture = {"net.0": True, "width0": width}
        with search.at(architecture):
            assert torch.equal(search.model(X), oneshot.freeze(search, architecture)(X))


@pytest.mark.parametrize("optional_first", [True, False])
def test_a_block_can_be_optional_and_elastic_in_any_order(optional_first: bool) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gamma, self.up = nn.Parameter(torch.ones(6)), nn.Linear(4, 6)
            self.down = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = x + self.down(self.up(x) * self.gamma)
            return output

    size = Size("inner", 6)
    net = nn.Sequential(Scaled(), Scaled())
    table = {
        **prefix(size, "1.gamma", "1.up.weight", "1.up.bias"),
        **prefix(size, "1.down.weight", dim=1),
    }
    if optional_first:
        make_optional(net, ["1"])
    make_elastic(net, table, {size: (2, 6)})
    if not optional_first:
        make_optional(net, ["1"])
    classes = [type(m) for m in net.modules()]
    search = searched(net)
    assert search.space.size == 3
    for architecture in search.space.architectures():
        with search.at(architecture):
            assert torch.equal(search.model(X), oneshot.freeze(search, architecture)(X))
    assert classes[1]._oneshot_plain is Scaled  # type: ignore[attr-defined]


def test_what_returns_more_than_a_tensor_says_what_a_block_gives_back() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = nn.Linear(4, 4)

        def forward(self, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
            return x + self.lin(x), bias

    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([Pair(), Pair(), Pair()])

        def forward(self, x: Tensor) -> Tensor:
            bias = x.mean()
            for layer in self.layers.children():
                x = layer(x, bias)[0]
            return x + bias

    search = searched(make_optional(Pairs(), ["layers.1"]))
    with (
        search.at({"net.layers.1": False}),
        pytest.raises(StrategyError, match="returned no tensor"),
    ):
        search.model(X)
    search = searched(make_optional(Pairs(), ["layers.1"], give=lambda x, bias: (x, bias)))
    frozen = oneshot.freeze(search, {"net.layers.1": False})
    with search.at({"net.layers.1": False}):
        assert torch.equal(search.model(X), frozen(X))


def test_copies_decide_about_blocks_of_their_own() -> None:
    net = make_optional(Net(), PATHS, label="depth", kept={1: [2], 4: range(4)}, **NUMBERED)
    search = searched(net)
    with search.at({"depth": 1}):
        twin = copy.deepcopy(search.model)
        again = pickle.loads(pickle.dumps(search.model))
        wanted = search.model(X)[0]
    for copied in (twin, again):
        assert torch.equal(copied(X)[0], wanted)
        container = copied.net.layers
        assert container.__dict__["_oneshot_layout"].depth.container is container
    assert len(search.model.net.layers) == 4  # no pass is running


def test_superposed_blocks_are_weighted_sums_of_both_ways() -> None:
    arch = torch.utils.data.DataLoader(torch.ones(4, 4), 2)
    net = nn.Sequential(Block(0), Block(1))
    torch.manual_seed(0)
    search: Any = oneshot.search(Task(make_optional(net, ["1"])), "darts", arch_dataloader=arch)
    search.model.eval()
    p = search.decisions["net.1"].probabilities()
    both = net._modules["0"](X)  # type: ignore[misc]
    wanted = p[0] * (both + net._modules["1"].lin(both).tanh()) + p[1] * both  # type: ignore
    torch.testing.assert_close(search.model(X), wanted)
    sets = make_optional(Net(), PATHS, label="depth", kept={1: [2], 4: range(4)})
    with pytest.raises(StrategyError, match="is about 4 blocks at once"):
        oneshot.search(Task(sets), "darts", arch_dataloader=arch)


def test_restoring_gives_lists_and_blocks_their_classes_back() -> None:
    net = restore(make_optional(Net(), PATHS, **NUMBERED))
    assert type(net.layers) is nn.ModuleList
    assert {type(block) for block in net.layers} == {Block}
    assert not any("_oneshot_layout" in vars(m) for m in net.modules())


@pytest.mark.parametrize(
    ("match", "paths", "options"),
    [
        ("no module 'layers.7'", ["layers.7"], {}),
        ("no module 'stack.0'", ["stack.0"], {}),
        ("the paths of optional blocks", [], {}),
        ("the paths of optional blocks", ["layers.0", "layers.0"], {}),
        ("the block 'layers.0.lin' is in a Block", ["layers.0.lin"], {}),
        ("have names=", PATHS, {"names": ["a"]}),
        ("have names=", PATHS, {"names": ["a", "b", "b", "c"]}),
        ("about 4 blocks has kept=None", PATHS, {"label": "depth"}),
        ("about 4 blocks has kept=", PATHS, {"label": "depth", "kept": [(0, 1)]}),
        ("about 4 blocks has kept=", PATHS, {"label": "depth", "kept": [(0, 9), range(4)]}),
        ("no attribute 'layer_idx' at 'layers.0'", PATHS, {"index": "layer_idx"}),
        ("no attribute 'layers' at ''", PATHS, {"count": "layers"}),
        ("the attribute 'how' at '' is 'iterate'", PATHS, {"count": "how"}),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_changed(
    match: str, paths: list[str], options: dict[str, Any]
) -> None:
    net = Net()
    classes = [type(module) for module in net.modules()]
    with pytest.raises(SpaceError, match=match):
        make_optional(net, paths, **options)
    assert [type(module) for module in net.modules()] == classes


def test_blocks_are_made_optional_once() -> None:
    net = make_optional(Net(), PATHS[:2])
    with pytest.raises(SpaceError, match="already"):
        make_optional(net, PATHS[2:])


@pytest.mark.parametrize("name", ["bert", "llama", "gpt2", "t5", "resnet50"])
@pytest.mark.slow
def test_unmodified_models_without_some_of_their_blocks(name: str) -> None:
    from ...models import build

    built = build(name)
    stack, index = {
        "bert": ("encoder.layer", ()),
        "llama": ("model.layers", "self_attn.layer_idx"),
        "gpt2": ("transformer.h", "attn.layer_idx"),
        "t5": ("encoder.block", ()),
        "resnet50": ("layer3", ()),
    }[name]
    paths = [f"{stack}.{n}" for n, _ in built.model.get_submodule(stack).named_children()]
    keep = {"t5": paths[:1], "resnet50": paths[:1]}.get(name, [])
    search = searched(make_optional(built.model, paths, keep=keep, index=index))
    rng = random.Random(0)
    for _ in range(4):
        architecture = search.space.sample(rng)
        frozen = oneshot.freeze(search, architecture)
        with torch.no_grad(), search.at(architecture):
            found = search.model(*built.args, **built.kwargs)
            wanted = frozen(*built.args, **built.kwargs)
        first = (
            found if isinstance(found, Tensor) else found[0],
            wanted if isinstance(wanted, Tensor) else wanted[0],
        )
        assert torch.equal(*first)


@pytest.mark.slow
@pytest.mark.parametrize("use_cache", [True, False])
def test_text_is_generated_alike_without_the_first_block(use_cache: bool) -> None:
    from ...models import build

    built = build("llama")
    paths = [f"model.layers.{i}" for i in range(3)]
    names = ["0", "1", "2"]
    search = searched(make_optional(built.model, paths, names=names, index="self_attn.layer_idx"))
    architecture = {"0": False, "1": True, "2": True}
    frozen = oneshot.freeze(search, architecture)
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "use_cache": use_cache}
    ids = built.kwargs["input_ids"]
    with search.at(architecture):
        found = search.model.net.generate(ids, **options)
    assert torch.equal(found, frozen.net.generate(ids, **options))


def test_a_size_that_is_used_nowhere_else_is_cut_in_kept_blocks_only() -> None:
    size = Size("width", 4)
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    make_elastic(net, {"0.weight": {0: of(size)}, "0.bias": {0: of(size)}}, {size: (4,)})
    assert type(net[0]) is nn.Linear
