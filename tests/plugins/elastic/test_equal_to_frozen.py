"""An elastic module computes what its frozen network computes, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import oneshot_core as oneshot
from oneshot_plugins.elastic.extent import Extent, Size
from oneshot_plugins.elastic.module import make_elastic

from .nets import elastic_mlp, of, prefix, searched


def conv() -> tuple[nn.Module, Tensor]:
    """Convolutions, batch norm, a depthwise and a grouped one, and a pooled head."""
    a, b, groups = Size("a", 8), Size("b", 12), Size("groups", 4)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 1), nn.GroupNorm(3, 12),
        nn.Conv2d(12, 8, 1), nn.Conv2d(8, 16, 3, groups=4), nn.ConvTranspose2d(16, 6, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2),
    )  # fmt: skip
    norms = ("weight", "bias", "running_mean", "running_var")
    inner, outer = of(groups, 2), of(groups, 4)
    table = {
        **prefix(a, "0.weight", "0.bias", *(f"{i}.{name}" for i in (1, 4) for name in norms)),
        **prefix(a, "3.weight", "3.bias"),
        "6.weight": {0: of(b), 1: of(a)},
        **prefix(b, "6.bias", "7.weight", "7.bias"),
        "8.weight": {0: inner, 1: of(b)},
        "8.bias": {0: inner},
        "9.weight": {0: outer},
        "9.bias": {0: outer},
        "10.weight": {0: outer},
    }
    choices = {a: (2, 3, 8), b: (3, 6, 12), groups: (1, 3, 4)}
    return make_elastic(net, table, choices), torch.randn(2, 3, 8, 8)


class Packed(nn.Module):
    """Attention with queries, keys and values in one linear layer, and a raw parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.features = 4, 6
        self.token = nn.Parameter(torch.randn(1, 1, 10))
        self.qkv = nn.Linear(10, 3 * 4 * 6)
        self.out = nn.Linear(4 * 6, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        shape = (*x.shape[:2], 3, self.heads, self.features)
        q, k, v = self.qkv(x).view(shape).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))


def attention() -> tuple[nn.Module, Tensor]:
    heads, features, hidden = Size("heads", 4), Size("features", 6), Size("hidden", 10)
    packed = of(3, heads, features)
    table: dict[str, dict[int, Extent]] = {
        "0.weight": {0: of(hidden)},
        "0.bias": {0: of(hidden)},
        "1.token": {2: of(hidden)},
        "1.qkv.weight": {0: packed, 1: of(hidden)},
        "1.qkv.bias": {0: packed},
        "1.out.weight": {1: of(heads, features)},
    }
    net = nn.Sequential(nn.Linear(5, 10), Packed())
    choices = {heads: (1, 2, 4), features: (2, 4, 6), hidden: (3, 7, 10)}
    attributes = {"1": {"heads": of(heads), "features": of(features)}}
    return make_elastic(net, table, choices, attributes), torch.randn(2, 3, 5)


def of_torch() -> tuple[nn.Module, Tensor]:
    """torch's own encoder layer, of which heads and width can be chosen."""
    heads, ffn = Size("heads", 4), Size("ffn", 32)
    hidden, packed = of(heads, 4), of(3, heads, 4)
    table: dict[str, dict[int, Extent]] = {
        "0.weight": {0: hidden},
        "0.bias": {0: hidden},
        "1.self_attn.in_proj_weight": {0: packed, 1: hidden},
        "1.self_attn.in_proj_bias": {0: packed},
        "1.self_attn.out_proj.weight": {0: hidden, 1: hidden},
        "1.self_attn.out_proj.bias": {0: hidden},
        "1.linear1.weight": {0: of(ffn), 1: hidden},
        "1.linear1.bias": {0: of(ffn)},
        "1.linear2.weight": {0: hidden, 1: of(ffn)},
        "1.linear2.bias": {0: hidden},
        **{f"1.norm{i}.{name}": {0: hidden} for i in (1, 2) for name in ("weight", "bias")},
    }
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, dropout=0.0)
    net = nn.Sequential(nn.Linear(8, 16), layer)
    choices = {heads: (1, 2, 3, 4), ffn: (5, 8, 32)}
    return make_elastic(net, table, choices), torch.randn(2, 5, 8)


def concatenated() -> tuple[nn.Module, Tensor]:
    """A norm and a layer behind two that are concatenated."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(4, 6), nn.Linear(4, 8)
            self.norm, self.out = nn.BatchNorm1d(14), nn.Linear(14, 2)

        def forward(self, x: Tensor) -> Tensor:
            joined = self.norm(torch.cat([self.left(x), self.right(x)], 1))
            output: Tensor = self.out(joined)
            return output

    left, right = Size("left", 6), Size("right", 8)
    both = of(left) + of(right)
    table = {
        **prefix(left, "left.weight", "left.bias"),
        **prefix(right, "right.weight", "right.bias"),
        **{f"norm.{n}": {0: both} for n in ("weight", "bias", "running_mean", "running_var")},
        "out.weight": {1: both},
    }
    return make_elastic(Both(), table, {left: (2, 6), right: (1, 5, 8)}), torch.randn(5, 4)


NETS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "mlp": lambda: (elastic_mlp(), torch.randn(5, 8)),
    "mlp on sequences": lambda: (elastic_mlp(), torch.randn(3, 5, 8)),
    "convolutions": conv,
    "packed attention": attention,
    "torch's encoder layer": of_torch,
    "concatenation": concatenated,
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_every_size_equals_its_frozen_network_bit_for_bit(
    name: str, grad: bool, training: bool
) -> None:
    torch.manual_seed(0)
    net, x = NETS[name]()
    search = searched(net)
    rng = random.Random(0)
    for _ in range(20):
        architecture = search.space.sample(rng)
        frozen = oneshot.freeze(search, architecture).train(training)
        search.model.train(training)
        with torch.set_grad_enabled(grad), search.at(architecture):
            found = search.model(x)
        with torch.set_grad_enabled(grad):
            assert torch.equal(found, frozen(x))


@pytest.mark.parametrize("name", NETS)
def test_gradients_are_those_of_the_frozen_network_and_zero_beside(name: str) -> None:
    torch.manual_seed(0)
    net, x = NETS[name]()
    search = searched(net)
    rng = random.Random(1)
    for _ in range(5):
        architecture = search.space.sample(rng)
        frozen = oneshot.freeze(search, architecture)
        search.model.zero_grad()
        with search.at(architecture):
            search.model(x).square().sum().backward()
        frozen(x).square().sum().backward()
        for (_, whole), (_, part) in zip(
            search.model.named_parameters(), frozen.named_parameters(), strict=True
        ):
            assert whole.grad is not None
            assert part.grad is not None
            assert whole.grad.shape == whole.shape
            torch.testing.assert_close(whole.grad.norm(), part.grad.norm())
            assert int((whole.grad != 0).sum()) <= part.numel()


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("grad", [True, False])
def test_recurrent_layers_equal_their_frozen_networks_bit_for_bit(
    kind: type[nn.RNNBase], grad: bool
) -> None:
    hidden, gates = Size("hidden", 8), {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}[kind]
    layer: Any = kind(6, 8, 2, batch_first=True, bidirectional=True)
    table: dict[str, dict[int, Extent]] = {
        n: {0: of(gates, hidden)} for n, _ in layer.named_parameters()
    }
    for name in table:
        if "weight_hh" in name:
            table[name][1] = of(hidden)
        elif "weight_ih_l1" in name:
            table[name][1] = of(2, hidden)
    search = searched(nn.Sequential(make_elastic(layer, table, {hidden: (2, 5, 8)})))
    x = torch.randn(3, 4, 6)
    for size in (2, 5, 8):
        frozen = oneshot.freeze(search, {"hidden": size})
        with torch.set_grad_enabled(grad):
            with search.at({"hidden": size}):
                found = search.model(x)
            assert all(map(torch.equal, tree_leaves(found), tree_leaves(frozen(x))))
        assert frozen.net[0].hidden_size == size
        frozen.net[0].weight_hh_l0.data.zero_()  # it computes with the tensors that it holds
        assert not torch.equal(frozen(x)[0], found[0])


def test_a_read_of_a_childs_weight_gives_the_part_that_is_computed_with() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.conv = nn.Embedding(11, 8), nn.Conv1d(8, 6, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.table(x)
            y = F.conv1d(h.transpose(1, 2), self.conv.weight, self.conv.bias)
            return torch.cat([(h @ self.table.weight.T).flatten(), y.flatten()])

    width, out = Size("width", 8), Size("out", 6)
    table: dict[str, dict[int, Extent]] = {
        "table.weight": {1: of(width)},
        "conv.weight": {0: of(out), 1: of(width)},
        "conv.bias": {0: of(out)},
    }
    search = searched(make_elastic(Reader(), table, {width: (3, 8), out: (2, 6)}))
    x = torch.randint(11, (2, 5))
    for grad in (True, False):
        for architecture in search.space.architectures():
            frozen = oneshot.freeze(search, architecture)
            with torch.set_grad_enabled(grad), search.at(architecture):
                assert torch.equal(search.model(x), frozen(x))


def test_a_tied_head_stays_tied_when_it_is_frozen() -> None:
    width = Size("width", 8)
    net = nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 11, bias=False))
    net[1].weight = net[0].weight
    table = prefix(width, "0.weight", "1.weight", dim=1)
    search = searched(make_elastic(net, table, {width: (3, 8)}))
    x = torch.randint(11, (2, 5))
    for size in (3, 8):
        frozen = oneshot.freeze(search, {"width": size})
        assert frozen.net[0].weight is frozen.net[1].weight
        with search.at({"width": size}):
            assert torch.equal(search.model(x), frozen(x))


def test_weight_norm_that_was_there_before_is_cut_where_its_weight_comes_out() -> None:
    size = Size("size", 16)
    net = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(8, 16)), nn.ReLU(), nn.Linear(16, 3)
    )
    table = {**prefix(size, "0.weight", "0.bias"), **prefix(size, "2.weight", dim=1)}
    search = searched(make_elastic(net, table, {size: (4, 16)}))
    x = torch.randn(5, 8)
    for value in (4, 16):
        frozen = oneshot.freeze(search, {"size": value})
        assert type(frozen.net[0]) is nn.Linear
        with search.at({"size": value}):
            assert torch.equal(search.model(x), frozen(x))
    search.model(x).sum().backward()
    assert net[0].parametrizations.weight.original1.grad is not None


def test_statistics_of_a_concatenation_reach_the_buffers_they_belong_to() -> None:
    net, x = concatenated()
    search = searched(net)
    frozen = oneshot.freeze(search, {"left": 2, "right": 5}).train()
    search.model.train()
    with search.at({"left": 2, "right": 5}):
        search.model(x)
    frozen(x)
    kept = net.norm.running_mean[[0, 1, 6, 7, 8, 9, 10]]  # type: ignore[union-attr,index]
    assert torch.equal(kept, frozen.net.norm.running_mean)
    assert int((net.norm.running_mean != 0).sum()) == 7  # type: ignore[union-attr,arg-type]


def test_what_a_module_writes_to_a_buffer_in_its_forward_is_kept() -> None:
    class Average(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(3, 4))

        def forward(self, x: Tensor) -> Tensor:
            self.mean.mul_(0.5).add_(x.mean())
            return x @ self.mean.T

    size = Size("size", 4)
    net = nn.Sequential(Average())
    search = searched(make_elastic(net, prefix(size, "0.mean", dim=1), {size: (2, 4)}))
    with search.at({"size": 2}):
        search.model(torch.ones(2, 2))
    assert net[0].mean.tolist() == [[1.0, 1.0, 0.0, 0.0]] * 3
