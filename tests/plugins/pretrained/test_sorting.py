"""Sorting: every tensor moves once and consistently, and the model computes what it did."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oneshot_core.errors import SpaceError
from oneshot_plugins.elastic.extent import Extent, Size
from oneshot_plugins.pretrained.importance import activation, magnitude
from oneshot_plugins.pretrained.sorting import sort_by_importance

from ...models import build
from .by_hand import bert_extents, llama_extents


def prepared(name: str) -> tuple[Any, dict[str, Size], dict[str, dict[int, Extent]]]:
    built = build(name)
    sizes, extents = (bert_extents if name == "bert" else llama_extents)(built.model)
    return built, sizes, extents


def two_layers() -> tuple[nn.Module, Size, dict[str, dict[int, Extent]]]:
    torch.manual_seed(0)
    size = Size("width", 6)
    one = Extent.of(size)
    net = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    net[1].running_mean.normal_()
    names = ["0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"]
    table = {"0.weight": {0: one}, **{name: {0: one} for name in names}, "3.weight": {1: one}}
    return net, size, table


def test_the_whole_model_stays_equal_and_every_prefix_scores_most() -> None:
    built, sizes, extents = prepared("llama")
    scores = activation(built.model, extents, [built.kwargs])
    before = built.model(**built.kwargs)[0].detach()
    done = sort_by_importance(built.model, extents, scores, batches=[built.kwargs])
    after = built.model(**built.kwargs)[0].detach()
    deviation = float((before - after).abs().max() / before.abs().max())
    assert done.deviation == pytest.approx(deviation)
    assert 0 < deviation < 1e-5
    assert done.left == ()
    assert set(done.orders) == set(sizes.values())
    again = activation(built.model, extents, [built.kwargs])
    for size, values in again.items():
        assert (values.diff(dim=-1) <= values.max() * 1e-5).all(), size
        if values.dim() == 1:
            expected = scores[size].sort(descending=True).values
            torch.testing.assert_close(values, expected, rtol=1e-4, atol=0)


def test_the_size_of_the_results_is_sorted_only_if_the_results_may_be_permuted() -> None:
    built, sizes, extents = prepared("bert")
    hidden = sizes["hidden"]
    scores = activation(built.model, extents, [built.kwargs])
    before = built.model(**built.kwargs)
    with pytest.raises(SpaceError, match="the items of 'hidden' change places"):
        sort_by_importance(built.model, extents, scores, batches=[built.kwargs])
    other = copy.deepcopy(built.model)
    done = sort_by_importance(other, extents, scores, batches=[built.kwargs], strict=False)
    assert done.left == (hidden,)
    assert done.deviation is not None
    assert done.deviation < 1e-5
    torch.testing.assert_close(other(**built.kwargs)[0], before[0], rtol=0, atol=1e-5)
    done = sort_by_importance(
        built.model, extents, scores, batches=[built.kwargs], permuted=[hidden]
    )
    assert done.left == ()
    assert done.deviation is not None
    assert done.deviation < 1e-5
    after = built.model(**built.kwargs)
    expected = before.last_hidden_state[..., done.orders[hidden]]
    torch.testing.assert_close(after.last_hidden_state, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(after.pooler_output, before.pooler_output, rtol=0, atol=1e-5)


def test_only_whole_heads_move() -> None:
    built, sizes, extents = prepared("bert")
    query = built.model.encoder.layer[0].attention.self.query
    before = query.weight.detach().clone()
    scores = {sizes["heads"]: torch.tensor([1.0, 5.0, 3.0, 2.0, 6.0, 4.0])}
    sort_by_importance(built.model, extents, scores, batches=[built.kwargs])
    expected = before.unflatten(0, (6, 8))[[4, 1, 5, 2, 3, 0]].flatten(0, 1)
    assert torch.equal(query.weight, expected)


def test_queries_are_sorted_within_each_of_their_groups() -> None:
    built, sizes, extents = prepared("llama")
    attention = built.model.model.layers[1].self_attn
    before = attention.q_proj.weight.detach().clone().unflatten(0, (2, 3, 8))
    keys = attention.k_proj.weight.detach().clone().unflatten(0, (2, 8))
    scores = {
        sizes["kv"]: torch.tensor([1.0, 2.0]),
        sizes["q"]: torch.tensor([[1.0, 2.0, 3.0], [2.0, 3.0, 1.0]]),
    }
    done = sort_by_importance(built.model, extents, scores, batches=[built.kwargs])
    expected = torch.stack([before[1][[1, 0, 2]], before[0][[2, 1, 0]]])
    assert torch.equal(attention.q_proj.weight, expected.flatten(0, 2))
    assert torch.equal(attention.k_proj.weight, keys[[1, 0]].flatten(0, 1))
    assert done.deviation is not None
    assert done.deviation < 1e-5


def test_one_order_of_queries_for_all_groups_is_possible_too() -> None:
    built, sizes, extents = prepared("llama")
    scores = {sizes["q"]: torch.tensor([1.0, 2.0, 3.0])}
    done = sort_by_importance(built.model, extents, scores, batches=[built.kwargs])
    assert done.orders[sizes["q"]].tolist() == [2, 1, 0]
    assert done.deviation is not None
    assert done.deviation < 1e-5


def test_the_present_order_changes_nothing_not_a_bit() -> None:
    built, sizes, extents = prepared("bert")
    versions = {name: p._version for name, p in built.model.named_parameters()}
    falling = {size: torch.arange(size.full, 0, -1) for size in sizes.values()}
    same = {size: torch.ones(size.full) for size in sizes.values()}
    for scores in (falling, same, {}):
        done = sort_by_importance(built.model, extents, scores, batches=[built.kwargs])
        assert (done.orders, done.tensors, done.deviation) == ({}, (), 0.0)
    assert {name: p._version for name, p in built.model.named_parameters()} == versions


def test_a_tied_tensor_moves_once() -> None:
    torch.manual_seed(0)
    size = Size("hidden", 4)
    net = nn.Sequential(nn.Embedding(9, 4), nn.LayerNorm(4), nn.Linear(4, 9, bias=False))
    net[2].weight = net[0].weight
    one = Extent.of(size)
    table = {
        "0.weight": {1: one},
        "1.weight": {0: one},
        "1.bias": {0: one},
        "2.weight": {1: one},
    }
    before = net[0].weight.detach().clone()
    scores = {size: torch.tensor([0.0, 2.0, 3.0, 1.0])}
    done = sort_by_importance(net, table, scores, batches=[torch.arange(9)])
    assert torch.equal(net[0].weight, before[:, [2, 1, 3, 0]])
    assert net[2].weight is net[0].weight
    assert done.tensors == ("0.weight", "1.weight", "1.bias")
    table["2.weight"] = {1: Extent.of(Size("another", 4))}
    with pytest.raises(SpaceError, match="one tensor"):
        sort_by_importance(net, table, scores)


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_training_goes_on_as_if_nothing_had_moved(kind: str) -> None:
    net, size, table = two_layers()
    x, y = torch.randn(8, 3), torch.randint(2, (8,))

    def make(model: nn.Module) -> torch.optim.Optimizer:
        more: dict[str, Any] = {"momentum": 0.9} if kind == "SGD" else {}
        return getattr(torch.optim, kind)(model.parameters(), lr=0.1, **more)

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    other = copy.deepcopy(net)
    first, second = make(net), make(other)
    step(net, first)
    step(other, second)
    scores = {size: torch.tensor([3.0, 1.0, 6.0, 2.0, 5.0, 4.0])}
    sort_by_importance(net, table, scores, batches=[x], optimizers=[first])
    order = scores[size].argsort(descending=True)
    assert torch.equal(net[0].weight.grad, other[0].weight.grad[order])
    for _ in range(3):
        step(net, first)
        step(other, second)
    torch.testing.assert_close(net(x), other(x))
    torch.testing.assert_close(net[0].weight, other[0].weight[order])
    torch.testing.assert_close(net[1].running_var, other[1].running_var[order])


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def unchanged(model: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_optimizers_with_state_of_another_shape_are_refused() -> None:
    net, size, table = two_layers()
    optimizer = torch.optim.Adafactor(net.parameters())
    net(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    before = snapshot(net)
    with pytest.raises(SpaceError, match="Adafactor remembers"):
        sort_by_importance(net, table, {size: torch.arange(6)}, optimizers=[optimizer])
    assert unchanged(net, before)


def test_an_order_that_matters_is_found_and_everything_put_back() -> None:
    torch.manual_seed(0)
    free, fixed = Size("free", 4), Size("fixed", 4)
    # Groups of two channels are normalized together: the channels cannot change places.
    net = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 4), nn.GroupNorm(2, 4), nn.Linear(4, 2))
    table = {
        "0.weight": {0: Extent.of(free)},
        "0.bias": {0: Extent.of(free)},
        "1.weight": {0: Extent.of(fixed), 1: Extent.of(free)},
        "1.bias": {0: Extent.of(fixed)},
        "2.weight": {0: Extent.of(fixed)},
        "2.bias": {0: Extent.of(fixed)},
        "3.weight": {1: Extent.of(fixed)},
    }
    scores = {free: torch.tensor([1.0, 3.0, 2.0, 4.0]), fixed: torch.tensor([1.0, 3.0, 2.0, 4.0])}
    x, before = torch.randn(5, 2), snapshot(net)
    with pytest.raises(SpaceError, match="the items of 'fixed' change places"):
        sort_by_importance(net, table, scores, batches=[x])
    assert unchanged(net, before)
    done = sort_by_importance(net, table, scores, batches=[x], strict=False)
    assert (list(done.orders), done.left) == ([free], (fixed,))
    assert torch.equal(net[0].weight, before["0.weight"][[3, 1, 2, 0]])
    assert torch.equal(net[3].weight, before["3.weight"])
    assert "fixed" in str(done)


def test_without_batches_nothing_is_measured() -> None:
    net, _, table = two_layers()
    done = sort_by_importance(net, table, magnitude(net, table))
    assert done.deviation is None
    assert "not measured" in str(done)


class Breaks(nn.Sequential):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == 2:
            raise KeyboardInterrupt
        return super().forward(x)


def test_an_interrupt_in_the_middle_puts_everything_back() -> None:
    net, size, table = two_layers()
    net = Breaks(*net)
    before = snapshot(net)
    with pytest.raises(KeyboardInterrupt):
        sort_by_importance(net, table, {size: torch.arange(6)}, batches=[torch.randn(4, 3)])
    assert unchanged(net, before)
    assert net.training


def test_a_tensor_that_cannot_be_written_puts_the_others_back() -> None:
    net, size, table = two_layers()
    net[3].weight = nn.Parameter(torch.randn(2, 1).expand(2, 6))
    before = snapshot(net)
    with pytest.raises(SpaceError, match=r"'3\.weight' cannot be permuted"):
        sort_by_importance(net, table, {size: torch.arange(6)})
    assert unchanged(net, before)


def test_a_parametrized_weight_is_refused_by_its_computed_name() -> None:
    net, size, table = two_layers()
    nn.utils.parametrizations.weight_norm(net[0])
    with pytest.raises(SpaceError, match=r"'0\.weight', it is computed from others"):
        sort_by_importance(net, table, {size: torch.arange(6)})


def test_the_tensors_behind_a_parametrized_weight_can_be_sorted() -> None:
    net, size, table = two_layers()
    nn.utils.parametrizations.weight_norm(net[0])
    one = table.pop("0.weight")[0]
    for i in (0, 1):
        table[f"0.parametrizations.weight.original{i}"] = {0: one}
    x = torch.randn(4, 3)
    done = sort_by_importance(net, table, {size: torch.arange(6)}, batches=[x])
    assert done.orders[size].tolist() == [5, 4, 3, 2, 1, 0]
    assert done.deviation is not None
    assert done.deviation < 1e-6


@pytest.mark.parametrize(
    ("scores", "word"),
    [
        (torch.arange(5), "another shape"),
        (torch.arange(12).reshape(2, 6), "another shape"),
        (torch.tensor([float("nan")] * 6), "NaN"),
    ],
)
def test_scores_that_do_not_fit_are_refused(scores: Tensor, word: str) -> None:
    net, size, table = two_layers()
    with pytest.raises(SpaceError, match=word):
        sort_by_importance(net, table, {size: scores})


def test_extents_that_do_not_fit_are_refused() -> None:
    net, size, table = two_layers()
    with pytest.raises(SpaceError, match="which no extent has"):
        sort_by_importance(net, table, {Size("width", 6): torch.arange(6)})
    with pytest.raises(SpaceError, match=r"dimension 1 of '0\.weight'"):
        sort_by_importance(net, {"0.weight": {1: Extent.of(size)}}, {size: torch.arange(6)})
    with pytest.raises(SpaceError, match="on 'meta'"):
        sort_by_importance(net.to("meta"), table, {size: torch.arange(6)})
