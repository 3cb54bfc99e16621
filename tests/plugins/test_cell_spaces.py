"""The cell spaces: what they build, what it is frozen to, and published numbers."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import DecisionTable, ModelSpace, freeze
from oneshot_core.errors import SpaceError, StrategyError
from oneshot_core.lightning.plugin_hooks import plugin_hooks
from oneshot_plugins.checks.decisions import Drawn, Weighted
from oneshot_plugins.spaces import published
from oneshot_plugins.spaces.cell_network import CellNetwork
from oneshot_plugins.spaces.cell_spaces import AmoebaNet, Darts, Enas, NasNet, Pnas
from oneshot_plugins.spaces.genotypes import LABELS, Genotype, from_genotype
from oneshot_plugins.spaces.operations import OPERATIONS, DropPath, FactorizedReduce, Zero

SPACES: list[type[CellNetwork]] = [Darts, Enas, NasNet, AmoebaNet, Pnas]
ONE_CELL = {"normal": "cell", "reduce": "cell"}


def images(size: int = 8, batch: int = 2, dtype: Any = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 3, size, size, generator=generator, dtype=dtype)


def mutated(model: nn.Module, decision: Any) -> DecisionTable:
    table = DecisionTable(decision)
    oneshot.traverse_and_mutate_submodules(
        model, [*plugin_hooks(oneshot.registry)], {"decisions": table}
    )
    return table


def pin(table: DecisionTable, chosen: Mapping[str, Any]) -> None:
    for decision in table:
        decision.pin(chosen.get(decision.spec.label))


@pytest.mark.parametrize("space", SPACES)
def test_an_architecture_of_the_supernet_is_its_frozen_network(space: type[CellNetwork]) -> None:
    torch.manual_seed(0)
    model = space(4, 3, drop_path=0.2).double()
    names = set(model.state_dict())
    table = mutated(model, Drawn)
    assert set(model.state_dict()) == names
    model.eval()
    for seed in range(2):  # that every candidate runs and freezes is a check of each space
        chosen = ModelSpace(model).sample(random.Random(seed))
        frozen = freeze(model, chosen)
        pin(table, chosen)
        found, wanted = model(images()), frozen(images())
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
        assert found.shape == (2, 10)
        modules = {type(module).__module__ for module in frozen.modules()}
        assert not any(name.startswith("oneshot") for name in modules)


@pytest.mark.parametrize(
    ("space", "nodes", "operations"),
    [(Enas, 5, 5), (NasNet, 5, 13), (AmoebaNet, 5, 8), (Pnas, 5, 8)],
)
def test_spaces_of_free_inputs_are_as_large_as_their_papers_say(
    space: type[CellNetwork], nodes: int, operations: int
) -> None:
    one = 1
    for node in range(2, 2 + nodes):
        one *= (node * operations) ** 2
    assert ModelSpace(space(4, 3)).size == (one if space is Pnas else one**2)


def test_the_space_of_darts_has_ten_to_the_eighteen_networks() -> None:
    """Section 3.1: 7 operations, 14 edges, two kinds of cells: about 10^18."""
    one = (1 * 3 * 6 * 10) * 7**8
    assert ModelSpace(Darts(4, 3)).size == one**2
    assert 1e18 < one**2 < 2e18


def count(
    space: type[CellNetwork],
    genotype: Genotype,
    width: int,
    layers: int,
    labels: Mapping[str, str] = LABELS,
    **options: Any,
) -> tuple[int, int]:
    """Count the parameters of a published network, and of its auxiliary classifier."""
    operations = sorted({name for name, _ in [*genotype.normal, *genotype.reduce]})
    with torch.device("meta"):
        model = space(width, layers, operations=operations, **options)
    frozen = freeze(model, from_genotype(genotype, model, labels))
    sizes = {name: p.numel() for name, p in frozen.named_parameters()}
    extra = sum(size for name, size in sizes.items() if name.startswith("auxiliary."))
    return sum(sizes.values()) - extra, extra


def test_the_network_of_darts_has_its_published_parameters() -> None:
    """3.3 million on CIFAR-10; its code prints 3.349342 MB."""
    assert count(Darts, published.DARTS_V2, 36, 20) == (3_349_342, 0)


def test_the_auxiliary_classifier_adds_its_own_parameters_only() -> None:
    with_it = count(Darts, published.DARTS_V2, 36, 20, auxiliary=True)
    last = 4 * 144
    head = last * 128 + 2 * 128 + 128 * 768 * 4 + 2 * 768 + 768 * 10 + 10
    assert with_it == (3_349_342, head)


def test_the_network_of_darts_on_imagenet_has_its_published_parameters() -> None:
    """4.7 million."""
    found = count(Darts, published.DARTS_V2, 48, 14, classes=1000, stem="imagenet")
    assert found == (4_718_752, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "genotype", "width", "layers", "labels", "parameters", "millions"),
    [
        pytest.param(Darts, published.PC_DARTS, 36, 20, LABELS, 3_634_678, 3.6, id="pc-darts"),
        pytest.param(Darts, published.P_DARTS, 36, 20, LABELS, 3_433_798, 3.4, id="p-darts"),
        pytest.param(Pnas, published.PNASNET_5, 48, 9, ONE_CELL, 3_176_602, 3.2, id="pnasnet-5"),
    ],
)
def test_other_networks_have_their_published_parameters(
    space: type[CellNetwork],
    genotype: Genotype,
    width: int,
    layers: int,
    labels: dict[str, str],
    parameters: int,
    millions: float,
) -> None:
    assert count(space, genotype, width, layers, labels) == (parameters, 0)
    assert round(parameters / 1e6, 1) == millions


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "genotype", "width", "layers", "parameters", "millions", "apart"),
    [
        pytest.param(Darts, published.DARTS_V1, 36, 20, 3_169_414, 3.3, 0.05, id="darts-v1"),
        pytest.param(NasNet, published.NASNET_A, 32, 20, 3_061_738, 3.3, 0.08, id="nasnet-a"),
        pytest.param(AmoebaNet, published.AMOEBANET_A, 36, 20, 3_145_078, 3.2, 0.02, id="amoeba"),
        pytest.param(Enas, published.ENAS_MICRO, 36, 17, 3_729_430, 4.6, 0.2, id="enas"),
    ],
)
def test_networks_that_do_not_match_are_as_far_apart_as_is_documented(
    space: type[CellNetwork],
    genotype: Genotype,
    width: int,
    layers: int,
    parameters: int,
    millions: float,
    apart: float,
) -> None:
    """The docstrings of the spaces say why, as far as it is known."""
    assert count(space, genotype, width, layers) == (parameters, 0)
    assert abs(parameters / 1e6 / millions - 1) < apart


def test_reduction_cells_come_after_a_third_and_two_thirds() -> None:
    model = Darts(4, 7)
    chosen = ModelSpace(model).default()
    frozen = freeze(model, chosen)
    sizes: list[tuple[int, int]] = []
    for cell in frozen.cells.children():
        cell.register_forward_hook(lambda m, args, out: sizes.append(tuple(out.shape[1:3])))
    frozen(images(16, dtype=torch.float32))
    assert sizes == [(16, 16), (16, 16), (32, 8), (32, 8), (64, 4), (64, 4), (64, 4)]


@pytest.mark.parametrize("space", [Darts, NasNet])
def test_the_imagenet_stem_divides_the_resolution_by_eight(space: type[CellNetwork]) -> None:
    model = space(4, 3, classes=7, stem="imagenet", auxiliary=True)
    frozen = freeze(model, ModelSpace(model).sample(random.Random(0)))
    shapes: list[tuple[int, ...]] = []
    first = next(frozen.cells.children())
    first.register_forward_hook(lambda m, args, out: shapes.append(tuple(out.shape[2:])))
    logits, extra = frozen(images(224, dtype=torch.float32))
    assert shapes == [(28, 28)]
    assert logits.shape == extra.shape == (2, 7)


@pytest.mark.parametrize("training", [True, False])
def test_the_auxiliary_classifier_is_returned_beside_the_other(training: bool) -> None:
    model = Darts(4, 3, auxiliary=True).train(training)
    frozen = freeze(model, ModelSpace(model).default())
    for network in (model, frozen):
        logits, extra = network(images(32, dtype=torch.float32))
        assert logits.shape == extra.shape == (2, 10)


def test_a_darts_network_is_superposed_and_every_decision_gets_a_gradient() -> None:
    model = Darts(4, 3, affine=False, pool_norm=True).double()
    table = mutated(model, Weighted)
    model(images()).square().sum().backward()
    for decision in table:
        assert decision.weights.grad is not None
        assert decision.weights.grad.any()


def test_loose_ends_are_refused_by_strategies_that_weight_and_all_nodes_are_not() -> None:
    with pytest.raises(StrategyError, match="with merge_op='loose_end'"):
        mutated(Enas(4, 3), Weighted)
    model = Enas(4, 3, merge_op="all")
    mutated(model.double(), Weighted)
    assert model(images()).shape == (2, 10)


def test_what_is_searched_without_weights_in_norms_has_none() -> None:
    model = Darts(4, 3, affine=False, pool_norm=True)
    norms = [m for m in model.cells.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.affine for norm in norms)
    pools = [m for m in model.modules() if isinstance(m, nn.MaxPool2d)]
    assert len(pools) == 3 * (2 + 3 + 4 + 5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("size", [8, 7], ids=["even", "odd"])
def test_operations_keep_the_width_and_divide_by_the_stride(
    name: str, stride: int, size: int
) -> None:
    out = OPERATIONS[name](4, stride, True)(torch.randn(2, 4, size, size))
    assert out.shape == (2, 4, -(-size // stride), -(-size // stride))


def test_a_factorized_reduction_sees_even_and_odd_pixels() -> None:
    layer = FactorizedReduce(1, 2)
    layer.eval()
    with torch.no_grad():
        layer.even.weight.fill_(1)
        layer.odd.weight.fill_(1)
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    even, odd = layer(x)[0]
    scale = (1 + layer.norm.eps) ** 0.5
    assert torch.allclose(even * scale, torch.tensor([[0.0, 2], [8, 10]]))
    assert torch.allclose(odd * scale, torch.tensor([[5.0, 7], [13, 15]]))


def test_nothing_is_zeros() -> None:
    assert not Zero(2)(torch.ones(1, 1, 4, 4)).any()


def test_a_dropped_path_is_zero_for_a_sample_or_scaled_up() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25)
    out = drop(torch.ones(400, 2, 3, 3))
    per_sample = out.flatten(1)
    assert ((per_sample == 0).all(1) | torch.isclose(per_sample, torch.tensor(4 / 3)).all(1)).all()
    assert 0.65 < (per_sample[:, 0] > 0).float().mean() < 0.85
    x = torch.randn(4, 2, 3, 3)
    assert torch.equal(drop.eval()(x), x)


def test_frozen_paths_are_dropped_in_training_only_and_as_often_as_is_set() -> None:
    model = Darts(4, 3, drop_path=0.5, operations=["sep_conv_3x3", "skip_connect"])
    chosen = {label: "sep_conv_3x3" for label in ModelSpace(model).specs if "/op_" in label}
    chosen |= {k: v for k, v in ModelSpace(model).default().items() if "input" in k}
    frozen = freeze(model, chosen)
    x = images(8, 4, torch.float32)
    drops = [m for m in frozen.modules() if isinstance(m, nn.Dropout)]
    assert len(drops) == 3 * 8
    frozen.eval()
    assert torch.equal(frozen(x), frozen(x))
    frozen.train()
    assert not torch.equal(frozen(x), frozen(x))
    for drop in drops:
        drop.p = 0.0
    assert torch.equal(frozen(x), frozen(x))


@pytest.mark.parametrize(
    ("options", "words"),
    [({"operations": ["conv_9x9"]}, "operation 'conv_9x9'"), ({"stem": "mnist"}, "stem='mnist'")],
)
def test_what_makes_no_network_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SpaceError, match=f"Darts got (the )?{words}"):
        Darts(4, 3, **options)
