"""Weighted sizes: the weighted sum of the outputs of the networks, feature by feature."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core import DecisionTable, traverse_and_mutate_submodules
from oneshot_core.errors import StrategyError
from oneshot_plugins.checks.decisions import Weighted
from oneshot_plugins.elastic.classes import ElasticSuperNetModule
from oneshot_plugins.elastic.extent import Extent, Size
from oneshot_plugins.elastic.module import make_elastic

from .nets import Task, elastic_mlp, of, prefix

A, B, N = Size("a", 12), Size("b", 8), Size("n", 4)
CHOICES = {A: (2, 6, 12), B: (2, 4, 8), N: (1, 2, 4)}
NORM = ("weight", "bias", "running_mean", "running_var")


class Case(NamedTuple):
    """A layer, its table, an input, which dimensions of both sides are what."""

    build: Callable[[], nn.Module]
    table: dict[str, dict[int, Extent]]
    x: Tensor
    inside: tuple[int, Extent] | None
    outside: tuple[int, Extent]


def _rows(*extents: Extent | None) -> dict[str, dict[int, Extent]]:
    weight = {dim: extent for dim, extent in enumerate(extents) if extent is not None}
    return {"weight": weight, "bias": {0: weight[0]}}


def _case(build: Callable[[], nn.Module], shape: tuple[int, ...], out: Extent, dim: int) -> Case:
    return Case(build, _rows(out, of(B)), torch.randn(shape), (dim, of(B)), (dim, out))


def _norm(build: Callable[[], nn.Module], *shape: int, dim: int = 1, names: Any = NORM) -> Case:
    table = {name: {0: of(B)} for name in names}
    return Case(build, table, torch.randn(shape), (dim, of(B)), (dim, of(B)))


CASES = {
    "linear": _case(lambda: nn.Linear(8, 12), (3, 8), of(A), -1),
    "packed": _case(lambda: nn.Linear(8, 12), (3, 8), of(3, N), -1),
    "concatenated": _case(lambda: nn.Linear(8, 12), (3, 8), of(B) + of(N), -1),
    "conv": _case(lambda: nn.Conv2d(8, 12, 3), (2, 8, 5, 5), of(A), 1),
    "depthwise": Case(
        lambda: nn.Conv2d(8, 8, 3, groups=8), _rows(of(B)), torch.randn(2, 8, 5, 5),
        (1, of(B)), (1, of(B)),
    ),
    "transposed": Case(
        lambda: nn.ConvTranspose1d(8, 12, 3), {"weight": {0: of(B), 1: of(A)}, "bias": {0: of(A)}},
        torch.randn(2, 8, 5), (1, of(B)), (1, of(A)),
    ),
    "embedding": Case(
        lambda: nn.Embedding(5, 12), {"weight": {1: of(A)}}, torch.tensor([0, 3, 2]),
        None, (-1, of(A)),
    ),
    "layer norm": _norm(lambda: nn.LayerNorm(8), 3, 8, dim=-1, names=NORM[:2]),
    "rms norm": _norm(lambda: nn.RMSNorm(8), 3, 8, dim=-1, names=NORM[:1]),
    "batch norm": _norm(lambda: nn.BatchNorm1d(8), 3, 8),
    "instance norm": _norm(lambda: nn.InstanceNorm1d(8, affine=True), 3, 8, 4, names=NORM[:2]),
    "group norm": Case(
        lambda: nn.GroupNorm(4, 8), {n: {0: of(N, 2)} for n in NORM[:2]}, torch.randn(3, 8, 4),
        (1, of(N, 2)), (1, of(N, 2)),
    ),
}  # fmt: skip


def _superposed(case: Case) -> tuple[nn.Module, list[Any]]:
    torch.manual_seed(0)
    sizes = {s for dims in case.table.values() for e in dims.values() for s in e.sizes}
    layer = make_elastic(case.build(), case.table, {size: CHOICES[size] for size in sizes})
    root = nn.Sequential(layer).double()
    table = DecisionTable(Weighted)
    traverse_and_mutate_submodules(root, [ElasticSuperNetModule.mutate], {"decisions": table})
    table.double()
    for decision in table:
        with torch.no_grad():
            decision.weights.copy_(torch.rand(3).double())  # need not sum to one
    return root, list(table)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_gradients_are_those_of_the_weighted_sum_of_networks(
    name: str, training: bool
) -> None:
    case = CASES[name]
    root, decisions = _superposed(case)
    root.train(training)
    x = case.x.double() if case.x.is_floating_point() else case.x
    by_name = {s.name: s for s in CHOICES}
    dim, extent = case.outside
    wanted: Any = 0
    for index in itertools.product(range(3), repeat=len(decisions)):
        pairs = list(zip(decisions, index, strict=True))
        architecture = {d.spec.label: d.spec.candidates[i] for d, i in pairs}
        values = {by_name[label]: value for label, value in architecture.items()}
        narrow = x
        if case.inside is not None:
            narrow = x.index_select(case.inside[0], case.inside[1].kept(values))
        output = oneshot.freeze(root, architecture).train(training)(narrow)
        shape = list(output.shape)
        shape[dim] = extent.full
        padded = output.new_zeros(shape).index_copy(dim, extent.kept(values), output)
        weight = torch.stack([d.weights[i] for d, i in pairs]).prod()
        wanted = wanted + weight * padded
    found = root(x)
    torch.testing.assert_close(found, wanted)
    probe = torch.arange(found.numel()).reshape(found.shape)
    weights = [decision.weights for decision in decisions]
    grads = [torch.autograd.grad((y * probe).sum(), weights) for y in (found, wanted)]
    torch.testing.assert_close(*grads)
    assert all(bool((grad != 0).all()) for grad in grads[0])


def test_attributes_are_those_of_the_largest_that_takes_part() -> None:
    root, (a, b) = _superposed(CASES["linear"])
    seen = []
    root[0].register_forward_pre_hook(lambda m, _: seen.append((m.in_features, m.out_features)))
    a.pin(6)
    root(CASES["linear"].x.double())
    a.pin(6)
    b.pin(4)
    root(CASES["linear"].x.double()[:, :4])
    assert seen == [(8, 6), (4, 6)]


def data() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.ones(4, 8)), 2)


@pytest.mark.parametrize("strategy", ["darts", "gdas", "gumbel", "proxyless"])
def test_strategies_that_weight_candidates_train_elastic_networks(strategy: str) -> None:
    from pytorch_lightning import Trainer

    search = oneshot.search(Task(elastic_mlp()), strategy, arch_dataloader=data(), seed=0)
    before = {label: p.clone() for label, p in probabilities(search).items()}
    trainer = Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(search, data(), data())
    after = probabilities(search)
    assert any(not torch.equal(before[label], after[label]) for label in before)
    oneshot.freeze(search, search.export())


def probabilities(search: Any) -> dict[str, Tensor]:
    return {d.spec.label: d.probabilities().detach() for d in search.decisions}


class Raw(nn.Module):
    """Scales and moves its input."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma + self.beta


def _attention() -> nn.Module:
    heads = Size("heads", 2)
    packed = {"0.in_proj_weight": {0: of(3, heads, 4), 1: of(heads, 4)}}
    return make_elastic(nn.Sequential(nn.MultiheadAttention(8, 2)), packed, {heads: (1, 2)})


def _attribute() -> nn.Module:
    net = nn.Sequential(nn.Softmax(-1))
    return make_elastic(net, {}, {B: (2, 8)}, {"0": {"dim": lambda v: -1 if v[B] else 0}})


REFUSED = {
    "is not known to be affine": lambda: make_elastic(
        nn.Sequential(Raw()), prefix(B, "0.gamma", "0.beta"), {B: (2, 8)}
    ),
    "MultiheadAttention at 'net.0' cannot be superposed": _attention,
    "are not its tensors but its attributes": _attribute,
    "max_norm": lambda: make_elastic(
        nn.Sequential(nn.Embedding(5, 8, max_norm=1.0)), prefix(B, "0.weight", dim=1), {B: (2, 8)}
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_no_sum_of_networks_is_refused_before_training(why: str) -> None:
    with pytest.raises(StrategyError, match=why):
        oneshot.search(Task(REFUSED[why]()), "darts", arch_dataloader=data())
    oneshot.search(Task(REFUSED[why]()), "random")


def test_a_module_can_be_declared_to_be_affine() -> None:
    table = prefix(B, "0.gamma", "0.beta")
    net = make_elastic(nn.Sequential(Raw()), table, {B: (2, 8)}, linear=["0"])
    search: Any = oneshot.search(Task(net), "darts", arch_dataloader=data())
    x = torch.randn(3, 8)
    p = search.decisions["b"].probabilities()
    layer = net[0]
    small = torch.nn.functional.pad((x * layer.gamma + layer.beta)[:, :2], (0, 6))
    torch.testing.assert_close(
        search.model(x), p[0] * small + p[1] * (x * layer.gamma + layer.beta)
    )


def test_a_tensor_of_a_weighted_norm_can_be_looked_at_and_not_computed_with() -> None:
    root, _ = _superposed(CASES["layer norm"])

    def look(module: Any, _: Any) -> None:
        assert module.weight.shape == (8,)
        with pytest.raises(StrategyError, match="whose choices are weighted"):
            module.weight * 2

    root[0].register_forward_pre_hook(look)
    root(CASES["layer norm"].x.double())
    assert isinstance(root[0], ElasticSuperNetModule)
