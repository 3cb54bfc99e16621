"""Partial channels: equation 2 of PC-DARTS, in every strategy, and what is retrained afterwards."""

from __future__ import annotations

import random
from itertools import combinations
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core import DecisionTable, LayerChoice, ModelSpace, freeze
from oneshot_core.errors import SpaceError
from oneshot_core.lightning.plugin_hooks import plugin_hooks
from oneshot_plugins.checks.decisions import Drawn, Weighted
from oneshot_plugins.spaces.cell_spaces import Darts
from oneshot_plugins.spaces.chain import Chain1d
from oneshot_plugins.spaces.partial_channels import PartialChannels
from oneshot_plugins.strategies.darts import SoftmaxDecision
from oneshot_plugins.strategies.selection import select_by_product

FEW = ("skip_connect", "sep_conv_3x3", "max_pool_3x3")


def images(dtype: Any = torch.float64) -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)


def mutated(model: nn.Module, decision: Any) -> DecisionTable:
    table = DecisionTable(decision)
    hooks = [*plugin_hooks(oneshot.registry)]
    oneshot.traverse_and_mutate_submodules(model, hooks, {"decisions": table})
    return table


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_a_mixed_edge_is_equation_2_followed_by_a_shuffle(parts: int) -> None:
    """f(x; S) = sum_o softmax(alpha)_o o(S * x) + (1 - S) * x."""
    torch.manual_seed(0)
    width, part = 8, 8 // parts
    operations = {"conv": nn.Conv1d(part, part, 3, padding=1), "skip": nn.Identity()}
    model = nn.Sequential(PartialChannels(LayerChoice(operations, label="edge"), width, parts))
    table = mutated(model.double(), Weighted)
    weights = table["edge"].probabilities()
    x = torch.randn(2, width, 5, dtype=torch.float64)
    mixed = weights[0] * operations["conv"](x[:, :part]) + weights[1] * x[:, :part]
    passed = torch.cat([mixed, x[:, part:]], 1)
    # Channel c of part p goes to place c * parts + p.
    order = [p * part + c for c in range(part) for p in range(parts)]
    torch.testing.assert_close(model(x), passed[:, order], rtol=1e-12, atol=1e-12)


def test_weights_of_candidates_get_no_gradient_from_channels_that_pass() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        PartialChannels(LayerChoice({"skip": nn.Identity(), "tanh": nn.Tanh()}, label="edge"), 4, 2)
    )
    table = mutated(model, Weighted)
    x = torch.randn(3, 4, 2)
    model(x)[:, 1::2].sum().backward()  # the places of the second part
    weights = table["edge"].get_parameter("weights")
    assert weights.grad is None or not weights.grad.any()


def test_operations_see_a_part_of_the_channels_only() -> None:
    model = Darts(8, 3, partial_channels=4, affine=False, pool_norm=True)
    mutated(model, Weighted)
    seen: dict[str, set[int]] = {}
    for name, module in model.named_modules():
        if name.rsplit(".", 1)[-1] == "inner":
            cell = ".".join(name.split(".")[:2])
            found = seen.setdefault(cell, set())
            module.register_forward_pre_hook(lambda m, args, f=found: f.add(args[0].shape[1]))
    model(images(torch.float32))
    # The first cell is normal, the other two reduce and double the width.
    assert seen == {"cells.0": {2}, "cells.1": {4}, "cells.2": {8}}


@pytest.mark.parametrize("size", [8, 7], ids=["even", "odd"])
@pytest.mark.parametrize(
    "build",
    [
        lambda: Darts(8, 3, partial_channels=4, operations=FEW),
        lambda: Darts(8, 3, partial_channels=2, drop_path=0.2, operations=FEW),
    ],
)
def test_an_architecture_of_the_supernet_is_its_frozen_network(build: Any, size: int) -> None:
    torch.manual_seed(0)
    model = build().double()
    names = set(model.state_dict())
    table = mutated(model, Drawn)
    assert set(model.state_dict()) == names
    model.eval()
    x = images()[..., :size, :size]
    for seed in range(3):
        chosen = ModelSpace(model).sample(random.Random(seed))
        frozen = freeze(model, chosen)
        for decision in table:
            decision.pin(chosen.get(decision.spec.label))
        torch.testing.assert_close(model(x), frozen(x), rtol=1e-10, atol=1e-10)
        modules = {type(module).__module__ for module in frozen.modules()}
        assert not any(name.startswith("oneshot") for name in modules)


def test_what_was_found_on_a_part_is_built_with_all_channels() -> None:
    part, whole = Darts(16, 3, partial_channels=4), Darts(16, 3)
    assert ModelSpace(part).size == ModelSpace(whole).size
    chosen = ModelSpace(part).sample(random.Random(0))
    found = freeze(whole, chosen, weights="fresh")
    convolutions = [m for m in found.cells.modules() if isinstance(m, nn.Conv2d)]
    assert min(m.in_channels for m in convolutions) >= 16
    chain = ModelSpace(Chain1d(partial_channels=4)).sample(random.Random(0))
    assert freeze(Chain1d(), chain)(torch.ones(2, 40)).shape == (2, 10)


def test_what_a_backward_pass_keeps_shrinks_with_the_part() -> None:
    """Section 3.2: about 1/K of the memory of the operations."""

    def kept(parts: int) -> int:
        model = Darts(16, 3, partial_channels=parts, affine=False, pool_norm=True)
        mutated(model, Weighted)
        sizes: dict[int, int] = {}

        def count(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            out = model(images(torch.float32)).sum()
            total = sum(size for at, size in sizes.items() if at not in parameters)
        out.backward()
        return total

    assert kept(4) < 0.45 * kept(1)


class Model(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = Darts(8, 3, classes=3, partial_channels=4, operations=FEW, affine=False)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def loader() -> DataLoader[Any]:
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x, torch.arange(4) % 3), batch_size=2)


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("darts", {"perturbation": 0.1}),
        ("darts", {"order": 2}),
        ("gdas", {}),
        ("drnas", {}),
        ("proxyless", {}),
    ],
    ids=["perturbed", "second-order", "gdas", "drnas", "proxyless"],
)
def test_partial_channels_and_edge_weights_compose_with_every_relaxation(
    strategy: str, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    search = oneshot.search(
        Model(), strategy, arch_dataloader=loader(), seed=0, arc_learning_rate=0.1, **options
    )
    before = {d.spec.label: d.probabilities().detach().clone() for d in search.decisions}
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(search, loader())
    edges = {
        d.spec.label for d in search.decisions if "/input_" in d.spec.label and d.spec.size > 1
    }
    moved = {
        label
        for label in before
        if not search.decisions[label].probabilities().equal(before[label])
    }
    assert edges
    assert edges <= moved  # edge normalisation: weights of states are learned with the others
    found = search.export()
    full = Darts(8, 3, classes=3, operations=FEW)
    assert freeze(full, found)(images(torch.float32)).shape == (2, 3)


def test_edges_are_weighted_by_the_normalised_weights_of_equation_3() -> None:
    """x_j = sum_i softmax(beta)_ij f(x_i); here times the number of states that are taken."""
    torch.manual_seed(0)
    cell = oneshot.Cell({"tanh": nn.Tanh()}, 2, 2, 2, inputs="distinct", label="cell")
    model = nn.ModuleList([cell])
    table = mutated(model, lambda spec: SoftmaxDecision(spec, seed=3))
    beta = table["cell/input_3"].get_parameter("alpha")
    with torch.no_grad():
        beta.copy_(torch.tensor([0.3, -0.2, 1.1]))
    x, y = torch.randn(2, 3), torch.randn(2, 3)
    first = x.tanh() + y.tanh()  # takes both of its states: nothing to weigh
    share = torch.exp(beta) / torch.exp(beta).sum()
    second = 2 * (share[0] * x.tanh() + share[1] * y.tanh() + share[2] * first.tanh())
    torch.testing.assert_close(model[0](x, y), torch.cat([first, second], 1))


def test_selection_by_product_takes_the_strongest_edges_of_each_node() -> None:
    """Section 3.3: an edge is as strong as the product of both normalised coefficients."""
    torch.manual_seed(0)
    search = oneshot.search(Model(), "darts", arch_dataloader=loader(), seed=0)
    generator = torch.Generator().manual_seed(5)
    for decision in search.decisions:
        alpha = decision.get_parameter("alpha")
        # Operations differ more than states do, so that they decide between edges, too.
        scale = 0.3 if "/input_" in decision.spec.label else 2.0
        alpha.data.copy_(scale * torch.randn(alpha.shape, generator=generator))
    probabilities = search.export_probs()
    wanted: dict[str, Any] = {}
    for kind in ("normal", "reduce"):
        for node in range(2, 6):
            states = probabilities[f"{kind}/input_{node}"]
            best = {
                state: max(probabilities[f"{kind}/op_{node}_{state}"].items(), key=lambda p: p[1])
                for state in range(node)
            }
            strength = {state: states[state] * best[state][1] for state in range(node)}
            pairs = combinations(range(node), 2)
            taken = max(pairs, key=lambda pair: strength[pair[0]] * strength[pair[1]])
            wanted[f"{kind}/input_{node}"] = taken
            wanted |= {f"{kind}/op_{node}_{state}": best[state][0] for state in taken}
    assert dict(select_by_product(search)) == wanted
    assert select_by_product(search) != search.export()  # which asks each label by itself


@pytest.mark.parametrize(("width", "parts"), [(6, 4), (4, 8), (4, 0)])
def test_a_width_that_cannot_be_divided_is_refused(width: int, parts: int) -> None:
    message = f"{width} channels cannot be divided into {parts} parts"
    with pytest.raises(SpaceError, match=message):
        PartialChannels(nn.Identity(), width, parts)
    if parts > 1:
        with pytest.raises(SpaceError, match=message):
            Chain1d(width=width, partial_channels=parts)
