"""Importance of items: each score against its equation, computed by brute force in float64."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import oneshot_core as oneshot
from oneshot_core.errors import SpaceError
from oneshot_plugins.elastic.extent import Extent, Size
from oneshot_plugins.pretrained.arrangement import items, outer_sizes, positions
from oneshot_plugins.pretrained.blocks import block_importance, cosine
from oneshot_plugins.pretrained.importance import activation, head_output, magnitude, taylor

from ...models import build
from .by_hand import bert_extents, llama_extents

ALL = [activation, head_output, taylor, magnitude]


class Attention(nn.Module):
    """Grouped queries with a packed projection of keys and values, and a feed-forward network."""

    def __init__(self) -> None:
        super().__init__()
        self.kv, self.q, self.d = Size("kv", 2), Size("q", 3), 4
        self.width, self.ffn = Size("width", 6), Size("ffn", 10)
        self.queries = nn.Linear(6, 24)
        self.packed = nn.Linear(6, 16)
        self.out = nn.Linear(24, 6)
        self.up, self.down = nn.Linear(6, 10), nn.Linear(10, 6)
        self.double()

    def heads(self, x: Tensor) -> Tensor:
        q = self.queries(x).unflatten(-1, (2, 3, 4)).permute(0, 2, 3, 1, 4)
        k, v = self.packed(x).unflatten(-1, (2, 2, 4)).permute(2, 0, 3, 1, 4)[:, :, :, None]
        mixed = F.scaled_dot_product_attention(q, k.expand_as(q), v.expand_as(q))
        return mixed.permute(0, 3, 1, 2, 4).flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.out(self.heads(x))
        return y + self.down(F.relu(self.up(y)))

    def extents(self) -> dict[str, dict[int, Extent]]:
        queries = Extent.of(self.kv, self.q, self.d)
        packed = Extent.of(2, self.kv, self.d)
        width, ffn = Extent.of(self.width), Extent.of(self.ffn)
        return {
            "queries.weight": {0: queries, 1: width},
            "queries.bias": {0: queries},
            "packed.weight": {0: packed, 1: width},
            "packed.bias": {0: packed},
            "out.weight": {0: width, 1: queries},
            "out.bias": {0: width},
            "up.weight": {0: ffn, 1: width},
            "up.bias": {0: ffn},
            "down.weight": {0: width, 1: ffn},
            "down.bias": {0: width},
        }


@pytest.fixture
def net() -> Attention:
    torch.manual_seed(0)
    return Attention()


def batches() -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(3, 5, 6).double(), torch.randn(2, 7, 6).double()]


def inputs_of(net: Attention) -> dict[str, Tensor]:
    """What goes into each weight, over all batches."""
    found: dict[str, list[Tensor]] = {}
    for x in batches():
        heads = net.heads(x)
        y = x + net.out(heads)
        given = {"queries": x, "packed": x, "out": heads, "up": y, "down": F.relu(net.up(y))}
        for name, value in given.items():
            found.setdefault(name, []).append(value.flatten(0, 1))
    return {name: torch.cat(values).detach() for name, values in found.items()}


def index(kv: int, q: int) -> list[int]:
    return [(kv * 3 + q) * 4 + d for d in range(4)]


def test_activation_is_the_norm_of_what_comes_in_times_the_norm_of_what_goes_out(
    net: Attention,
) -> None:
    scores = activation(net, net.extents(), batches())
    given = inputs_of(net)
    weights = {name: getattr(net, name).weight.detach() for name in given}

    def score(name: str, j: int) -> float:
        return float(given[name][:, j].norm() * weights[name][:, j].norm())

    for item in range(6):
        expected = sum(score(name, item) for name in ("queries", "packed", "up"))
        assert scores[net.width][item].item() == pytest.approx(expected, rel=1e-12)
    for item in range(10):
        assert scores[net.ffn][item].item() == pytest.approx(score("down", item), rel=1e-12)
    assert scores[net.q].shape == (2, 3)
    for kv in range(2):
        of_group = [sum(score("out", j) for j in index(kv, q)) for q in range(3)]
        assert scores[net.q][kv].tolist() == pytest.approx(of_group, rel=1e-12)
        assert scores[net.kv][kv].item() == pytest.approx(sum(of_group), rel=1e-12)


def test_head_output_is_the_norm_of_what_a_head_adds_to_the_output(net: Attention) -> None:
    scores = head_output(net, net.extents(), batches())
    x, w = inputs_of(net)["out"], net.out.weight.detach()
    for kv in range(2):
        for q in range(3):
            own = index(kv, q)
            expected = (x[:, own] @ w[:, own].T).norm()
            assert scores[net.q][kv, q].item() == pytest.approx(float(expected), rel=1e-12)
        group = [j for q in range(3) for j in index(kv, q)]
        expected = (x[:, group] @ w[:, group].T).norm()
        assert scores[net.kv][kv].item() == pytest.approx(float(expected), rel=1e-12)


def test_of_single_features_head_output_is_activation(net: Attention) -> None:
    first = head_output(net, net.extents(), batches())
    second = activation(net, net.extents(), batches())
    for size in (net.width, net.ffn):
        torch.testing.assert_close(first[size], second[size], rtol=1e-10, atol=0)


def brute(
    net: Attention, change: dict[str, Tensor], size: Size, item: tuple[int, ...]
) -> list[Any]:
    """The parts of tensors that belong to an item, found from the names of the factors."""
    found = []
    for name, dims in net.extents().items():
        for dim, extent in dims.items():
            (term,) = extent.terms
            if size not in term:
                continue
            wanted = {size: item[-1], **({net.kv: item[0]} if len(item) > 1 else {})}
            lengths = [f.full if isinstance(f, Size) else f for f in term]
            rows = [
                number
                for number, place in enumerate(itertools.product(*map(range, lengths)))
                if all(place[i] == wanted[f] for i, f in enumerate(term) if f in wanted)
            ]
            found.append(change[name].index_select(dim, torch.tensor(rows)))
    return found


def every_item(scores: dict[Size, Tensor]) -> Any:
    for size, values in scores.items():
        for item in itertools.product(*map(range, values.shape)):
            yield size, item, values[item].item()


def test_magnitude_is_the_norm_of_the_weights_of_an_item(net: Attention) -> None:
    weights = {name: p.detach() for name, p in net.named_parameters()}
    for size, item, value in every_item(magnitude(net, net.extents())):
        expected = sum(float(part.norm()) for part in brute(net, weights, size, item))
        assert value == pytest.approx(expected, rel=1e-12)


def test_taylor_is_gradient_times_weight_of_an_item(net: Attention) -> None:
    def loss(y: Tensor) -> Tensor:
        return y.pow(3).sum()

    total = sum(loss(net(x)) for x in batches())
    names = [name for name, _ in net.named_parameters()]
    gradients = torch.autograd.grad(total, list(net.parameters()))
    change = {
        name: (g * p.detach()).abs()
        for name, g, p in zip(names, gradients, net.parameters(), strict=True)
    }
    for size, item, value in every_item(taylor(net, net.extents(), batches(), loss=loss)):
        expected = sum(float(part.sum()) for part in brute(net, change, size, item))
        assert value == pytest.approx(expected, rel=1e-10)


def test_taylor_predicts_what_is_lost_without_an_item(net: Attention) -> None:
    """With a loss that is linear in the last weights, the first order is exact."""
    width = {net.ffn: Extent.of(net.ffn)}
    extents = {"down.weight": {1: width[net.ffn]}}
    net.down.weight.data.abs_()
    scores = taylor(net, extents, batches(), loss=torch.sum)[net.ffn]
    whole = sum(net(x).sum().item() for x in batches())
    for item in range(10):
        kept = net.down.weight.data[:, item].clone()
        net.down.weight.data[:, item] = 0
        lost = whole - sum(net(x).sum().item() for x in batches())
        net.down.weight.data[:, item] = kept
        assert scores[item].item() == pytest.approx(lost, abs=1e-9)


def test_convolutions_score_by_channel_also_in_groups_and_transposed() -> None:
    torch.manual_seed(0)
    mid, out, up = Size("mid", 3), Size("out", 8), Size("up", 4)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.Conv2d(6, 8, 3, groups=2), nn.ConvTranspose2d(8, 4, 2), nn.Flatten()
    ).double()
    extents = {
        "0.weight": {0: Extent.of(2, mid)},
        "1.weight": {0: Extent.of(out), 1: Extent.of(mid)},
        "2.weight": {0: Extent.of(out), 1: Extent.of(up)},
    }
    x = torch.randn(2, 1, 8, 8).double()
    scores = activation(net, extents, [x])
    a, b = net[0](x), net[1](net[0](x))
    w, t = net[1].weight, net[2].weight
    for item in range(3):
        first = a[:, item].norm() * w[:4, item].norm()
        second = a[:, 3 + item].norm() * w[4:, item].norm()
        assert scores[mid][item].item() == pytest.approx((first + second).item(), rel=1e-12)
    for item in range(8):
        expected = (b[:, item].norm() * t[item].norm()).item()
        assert scores[out][item].item() == pytest.approx(expected, rel=1e-12)
    assert torch.equal(scores[up], magnitude(net, extents)[up])  # it goes into no weight


def test_weights_that_a_parent_reads_are_found(net: Attention) -> None:
    """nn.MultiheadAttention calls no module for its projections, and packs three into one."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, dropout=0.5).double()
    width, heads = Size("width", 8), Size("heads", 2)
    table = {
        "self_attn.in_proj_weight": {0: Extent.of(3, heads, 4), 1: Extent.of(width)},
        "self_attn.out_proj.weight": {1: Extent.of(heads, 4)},
    }
    x = torch.randn(2, 5, 8).double()
    kept: dict[str, Tensor] = {}
    handle = layer.norm1.register_forward_pre_hook(lambda m, a: kept.update(y=a[0]))
    scores = activation(layer, table, [x])
    handle.remove()
    norms = x.flatten(0, 1).norm(dim=0)
    w = layer.self_attn.in_proj_weight
    expected = norms * w.norm(dim=0)
    torch.testing.assert_close(scores[width], expected.detach(), rtol=1e-10, atol=0)
    assert scores[heads].min() > 0
    assert layer.training  # as it was


@pytest.mark.parametrize("method", ALL)
def test_a_model_is_left_as_it_was(method: Any, net: Attention) -> None:
    net.train()
    net.up.eval()
    net.out.weight.requires_grad_(False)
    net.up.weight.grad = torch.ones_like(net.up.weight)
    before = {name: p.clone() for name, p in net.named_parameters()}
    given = batches()
    state = torch.get_rng_state()
    method(net, net.extents(), given)
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    assert not net.up.training
    assert not net.out.weight.requires_grad
    assert torch.equal(net.up.weight.grad, torch.ones_like(net.up.weight))
    assert net.down.weight.grad is None


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_every_importance_scores_every_size_of_unmodified_models(method: Any, name: str) -> None:
    built = build(name)
    sizes, extents = (bert_extents if name == "bert" else llama_extents)(built.model)
    scores = method(built.model, extents, [built.kwargs])
    assert set(scores) == set(sizes.values())
    for size, values in scores.items():
        assert values.shape[-1] == size.full
        assert values.dtype is torch.float64
        assert (values > 0).all()
        assert len(values.unique()) == values.numel()


def test_all_importances_are_components() -> None:
    found = {record.name for record in oneshot.registry.find("importance")}
    assert {"activation", "head-output", "taylor", "magnitude"} <= found
    assert oneshot.registry.load("importance", "activation") is activation


def test_a_tied_weight_counts_once() -> None:
    torch.manual_seed(0)
    size = Size("hidden", 4)
    table = nn.Embedding(9, 4)
    head = nn.Linear(4, 9, bias=False)
    head.weight = table.weight
    net = nn.Sequential(table, head)
    both = {"0.weight": {1: Extent.of(size)}, "1.weight": {1: Extent.of(size)}}
    one = {"0.weight": {1: Extent.of(size)}}
    for method in ALL:
        first = method(net, both, [torch.arange(9)])[size]
        assert torch.equal(first, method(net, one, [torch.arange(9)])[size])


def test_a_sum_of_products_counts_every_place_of_an_item() -> None:
    left, right = Size("left", 2), Size("right", 3)
    both = Extent.of(left, 2) + Extent.of(right) + Extent.of(left)
    assert items(both, left).tolist() == [[0, 1, 7], [2, 3, 8]]
    assert items(both, right).tolist() == [[4], [5], [6]]
    net = nn.Linear(9, 2, bias=False).double()
    x = torch.randn(4, 9).double()
    each = x.norm(dim=0) * net.weight.detach().norm(dim=0)
    scores = activation(net, {"weight": {1: both}}, [x])
    assert scores[left][1].item() == pytest.approx(float(each[[2, 3, 8]].sum()), rel=1e-12)
    own = [2, 3, 8]
    expected = (x[:, own] @ net.weight.detach()[:, own].T).norm()
    found = head_output(net, {"weight": {1: both}}, [x])[left][1].item()
    assert found == pytest.approx(float(expected), rel=1e-12)


def test_orders_within_groups_follow_their_groups() -> None:
    kv, q = Size("kv", 2), Size("q", 3)
    extent = Extent.of(kv, q, 2)
    outer = outer_sizes([extent, Extent.of(kv, 2)])
    orders = {kv: torch.tensor([1, 0]), q: torch.tensor([[2, 1, 0], [1, 2, 0]])}
    index = positions(extent, orders, outer)
    expected = [
        ((g * 3) + i) * 2 + d for g in (1, 0) for i in orders[q][g].tolist() for d in (0, 1)
    ]
    assert index.tolist() == expected
    assert outer_sizes([extent, Extent.of(kv), Extent.of(q)])[q] == ()


def test_a_size_that_stands_twice_in_a_product_is_ordered_in_both_places() -> None:
    n = Size("n", 3)
    order = torch.tensor([2, 0, 1])
    extent = Extent.of(n, n)
    grid = torch.arange(9).reshape(3, 3)[order][:, order]
    assert positions(extent, {n: order}, outer_sizes([extent])).tolist() == grid.flatten().tolist()
    assert items(extent, n).shape == (3, 6)


@pytest.mark.parametrize(
    ("extents", "given", "word"),
    [
        ({"nothing.weight": {0: Extent.of(Size("a", 4))}}, [torch.ones(1, 4)], "nothing.weight"),
        ({"weight": {0: Extent.of(Size("a", 5))}}, [torch.ones(1, 4)], "shape"),
        ({"weight": {2: Extent.of(Size("a", 4))}}, [torch.ones(1, 4)], "shape"),
        ({"weight": {1: Extent.of(Size("a", 4))}}, [], "batches"),
    ],
)
def test_what_does_not_fit_is_refused(extents: Any, given: Any, word: str) -> None:
    with pytest.raises(SpaceError, match=word):
        activation(nn.Linear(4, 4), extents, given)


def test_a_loss_without_gradient_is_refused() -> None:
    table = {"weight": {1: Extent.of(Size("a", 4))}}
    with pytest.raises(SpaceError, match="does not depend"):
        taylor(nn.Linear(4, 4), table, [torch.ones(1, 4)], loss=lambda y: torch.zeros(()))
    with pytest.raises(SpaceError, match="without tensors"):
        taylor(Nothing(), {"0.weight": {1: Extent.of(Size("a", 4))}}, [torch.ones(1, 4)])


class Nothing(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 4))

    def forward(self, x: Tensor) -> int:
        return 3


# --- blocks ---------------------------------------------------------------------------------------


class Residual(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale, self.calls = scale, 0

    def forward(self, x: Tensor, mask: None = None) -> Tensor:
        self.calls += 1
        return x + self.scale * x.roll(1, -1)


def test_blocks_are_scored_by_leaving_out_and_subsets_by_trying_all() -> None:
    scales = [0.1, 0.9, 0.3, 0.7]
    net = nn.Sequential(*map(Residual, scales))
    x = torch.randn(6, 5)
    found = block_importance(net, ["0", "1", "2", "3"], [x])
    assert found.whole == pytest.approx(1.0)
    assert len(found.measured) == 16
    for kept, value in found.measured.items():
        part = nn.Sequential(*(net[i] for i in kept))
        assert value == pytest.approx(cosine(part(x), net(x)), abs=1e-6)
    for i, score in enumerate(found.scores.tolist()):
        kept = tuple(j for j in range(4) if j != i)
        assert score == pytest.approx(found.whole - found.measured[kept])
    assert found.best(4) == (0, 1, 2, 3)
    assert found.best(2) == max(
        (kept for kept in found.measured if len(kept) == 2), key=lambda kept: found.measured[kept]
    )
    assert found.best(2) != (0, 1)


def test_greedy_and_each_measure_less() -> None:
    net = nn.Sequential(*map(Residual, [0.1, 0.9, 0.3, 0.7]))
    paths, x = ["0", "1", "2", "3"], torch.randn(6, 5)
    greedy = block_importance(net, paths, [x], method="greedy")
    assert len(greedy.measured) == 1 + 4 + 3 + 2 + 1
    assert set(greedy.best(1)) < set(greedy.best(2)) < set(greedy.best(3))
    each = block_importance(net, paths, [x], method="each")
    assert len(each.measured) == 5
    assert each.best(2) == tuple(sorted(each.scores.argsort(descending=True)[:2].tolist()))
    assert torch.equal(each.scores, greedy.scores)


def test_a_loss_is_a_measure_and_blocks_of_transformers_can_be_left_out() -> None:
    built = build("bert")
    paths = [f"encoder.layer.{i}" for i in range(3)]

    def size(result: Any, whole: Any) -> float:
        return -float((result.last_hidden_state - whole.last_hidden_state).detach().square().mean())

    found = block_importance(built.model, paths, [built.kwargs], measure=size)
    assert found.whole == 0
    assert (found.scores > 0).all()
    assert not any(module._forward_hooks for module in built.model.modules())
    layers = built.model.encoder.layer
    full = built.model(**built.kwargs)
    built.model.encoder.layer = nn.ModuleList([layers[0], layers[2]])
    part = built.model(**built.kwargs)
    assert found.measured[(0, 2)] == size(part, full)


def test_blocks_that_cannot_be_left_out_are_refused_and_no_hook_stays() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))
    with pytest.raises(SpaceError, match="'0' turns the shape"):
        block_importance(net, ["1", "0"], [torch.ones(1, 2)])
    assert not net[0]._forward_hooks
    assert not net[1]._forward_hooks
    with pytest.raises(SpaceError, match="no block '7'"):
        block_importance(net, ["7"], [torch.ones(1, 2)])
    with pytest.raises(SpaceError, match="method="):
        block_importance(net, ["1"], [torch.ones(1, 2)], method="first")
    found = block_importance(net, ["0"], [torch.ones(1, 2)], give=lambda x: x.repeat(1, 2)[:, :3])
    with pytest.raises(SpaceError, match="3 blocks"):
        found.best(3)
