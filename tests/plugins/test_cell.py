"""Cells in a supernet: what is active runs, and an architecture is its frozen network."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import Active, Cell, Decision, DecisionTable, ModelSpace, ParameterSpec, freeze
from oneshot_core import nn as onn
from oneshot_core.errors import StrategyError
from oneshot_core.space import LayerChoice, Repeat
from oneshot_plugins.cells.supernet import MixedCell
from oneshot_plugins.checks.decisions import Drawn
from oneshot_plugins.elastic.supernet import ElasticLayer
from oneshot_plugins.supernets.modules import MixedInput, MixedLayer, MixedRepeat

HOOKS = [m.mutate for m in (MixedCell, MixedLayer, MixedInput, MixedRepeat, ElasticLayer)]
WIDTH = 3


class Weighted(Decision):
    """Superpose all candidates with weights of its own, that sum to how many are taken."""

    superposes = True

    def __init__(self, spec: ParameterSpec) -> None:
        super().__init__(spec)
        generator = torch.Generator().manual_seed(sum(map(ord, spec.label)))
        logits = torch.randn(len(spec.candidates), generator=generator, dtype=torch.float64)
        self.logits = nn.Parameter(logits)

    def probabilities(self) -> Tensor:
        return self.logits.softmax(0) * (self.spec.n_chosen or 1)

    def mixture(self) -> list[Active]:
        weights = self.probabilities().unbind()
        return [Active(c, w) for c, w in zip(self.spec.candidates, weights, strict=True)]


class Counting(nn.Linear):
    """Counts how often it runs."""

    def __init__(self) -> None:
        super().__init__(WIDTH, WIDTH)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


def edge(node: int, op: int | None, state: int) -> dict[str, nn.Module]:
    return {"linear": nn.Linear(WIDTH, WIDTH), "tanh": nn.Tanh()}


class Net(nn.Module):
    """Calls each of its cells with what the two before it returned."""

    def __init__(self, *cells: nn.Module) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)

    def forward(self, *inputs: Tensor) -> Tensor:
        out = inputs
        for cell in self.cells:
            out = (*out, cell(*out[-2:]))
        return out[-1]


def supernet(model: nn.Module, make: Callable[[ParameterSpec], Decision]) -> DecisionTable:
    table = DecisionTable(make)
    oneshot.traverse_and_mutate_submodules(model, HOOKS, {"decisions": table})
    return table


@contextmanager
def at(table: DecisionTable, chosen: Mapping[str, Any]) -> Iterator[None]:
    for decision in table:
        decision.pin(chosen.get(decision.spec.label))
    yield
    for decision in table:
        decision.pin(None)


def inputs(n: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, WIDTH, generator=generator, dtype=torch.float64) for _ in range(n)]


def run_by_hand(cell: Any, label: str, table: DecisionTable, given: list[Tensor]) -> Tensor:
    """Compute the superposed cell from its definition: sum over states and operations."""
    states = list(given)
    for node in range(2, 2 + cell.num_nodes):
        total = torch.zeros_like(states[0])
        distinct = cell.inputs == "distinct"
        for k in range(1 if distinct else cell.num_ops_per_node):
            into = table[f"{label}/input_{node}" if distinct else f"{label}/input_{node}_{k}"]
            for j, state in enumerate(states):
                name = f"{node}_{j}" if distinct else f"{node}_{k}"
                key = name if distinct or f"{node}_{k}" in cell.ops else f"{name}_{j}"
                op = table[f"{label}/op_{name}"]
                layers = cell.ops[key].candidates
                outputs = [layers[name](state) for name in op.spec.candidates]
                mixed = sum(w * out for w, out in zip(op.probabilities(), outputs, strict=True))
                total = total + into.probabilities()[j] * mixed
        states.append(total)
    return torch.cat(states[2:], 1)


CELLS: dict[str, Callable[[], Cell]] = {
    "distinct": lambda: Cell(edge, 3, 2, 2, inputs="distinct", label="c"),
    "free-factory": lambda: Cell(edge, 2, 2, 2, label="c"),
    "free-modules": lambda: Cell([nn.Linear(WIDTH, WIDTH), nn.Tanh()], 2, 2, 2, label="c"),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_superposed_cell_is_the_weighted_sum_over_states_and_operations(name: str) -> None:
    torch.manual_seed(0)
    model = Net(CELLS[name]()).double()
    table = supernet(model, Weighted)
    cell: Any = model.cells[0]
    wanted = run_by_hand(cell.original, "c", table, inputs())
    found = model(*inputs())
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    weights = [*table.parameters(), *model.parameters()]
    ours = torch.autograd.grad(found.square().sum(), weights)
    theirs = torch.autograd.grad(wanted.square().sum(), weights)
    for one, other in zip(ours, theirs, strict=True):
        assert one.abs().sum() > 0
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


class Before(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = LayerChoice([nn.Linear(WIDTH, WIDTH), nn.Identity()], label="pre")

    def forward(self, states: list[Tensor]) -> list[Tensor]:
        return [self.scale(states[0]), states[1]]


class After(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, output: Tensor, inputs: list[Tensor]) -> Tensor:
        return self.narrow(output) + inputs[0]


def elastic(node: int, op: int | None, state: int) -> dict[str, nn.Module]:
    hidden = oneshot.choice([2, 4], label="hidden")
    return {
        "wide": nn.Sequential(onn.Linear(WIDTH, hidden), nn.Tanh(), onn.Linear(hidden, WIDTH)),
        "deep": Repeat(lambda i: nn.Linear(WIDTH, WIDTH), (0, 2), label=f"depth{node}"),
        "skip": nn.Identity(),
    }


class Loose(nn.Module):
    """A cell of varying width, and a layer that takes what comes."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = Cell(edge, 3, 1, 2, "loose_end", label="c")
        self.head = onn.Linear(self.cell.output_width(WIDTH), 2)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.head(self.cell(*inputs))


def narrow(label: str | None) -> Cell:
    return Cell(edge, 2, 2, 2, inputs="distinct", postprocessor=After(), label=label)


def shared() -> nn.Module:
    cell = narrow("c")
    return Net(cell, narrow("c"), cell)


MODELS: dict[str, Callable[[], nn.Module]] = {
    **{name: lambda make=make: Net(make()) for name, make in CELLS.items()},
    "unlabelled": lambda: Net(narrow(None), narrow(None)),
    "one-label": lambda: Net(narrow("c"), narrow("c")),
    "in-two-places": shared,
    "processors": lambda: Net(
        Cell(edge, 2, 1, 2, preprocessor=Before(), postprocessor=After(), label="c")
    ),
    "choices-inside": lambda: Net(Cell(elastic, 2, 2, 2, inputs="distinct", label="c")),
    "a-choice-as-processor": lambda: Net(
        Cell(edge, 2, 1, 2, preprocessor=LayerChoice([Before(), nn.Identity()]), label="c")
    ),
    "loose-end": Loose,
}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_is_the_frozen_network_bit_for_bit(name: str, training: bool) -> None:
    torch.manual_seed(0)
    bare = MODELS[name]().double().train(training)
    model = copy.deepcopy(bare)
    table = supernet(model, Drawn)
    model.train(training)
    space = ModelSpace(model)
    assert (space.fingerprint, space.size) == (ModelSpace(bare).fingerprint, ModelSpace(bare).size)
    assert list(model.state_dict()) == list(bare.state_dict())
    for seed in range(12):
        chosen = space.sample(random.Random(seed))
        frozen = freeze(model, chosen)
        assert {m.training for m in frozen.modules()} == {training}
        unsearched = freeze(bare, chosen)
        with at(table, chosen):
            found = model(*inputs())
        wanted = frozen(*inputs())
        assert torch.equal(found, wanted)
        assert torch.equal(unsearched(*inputs()), wanted)
        assert list(unsearched.state_dict()) == list(frozen.state_dict())
        model.zero_grad()
        if not wanted.requires_grad:
            continue
        found.square().sum().backward()
        wanted.square().sum().backward()
        ours = [p.grad for p in model.parameters() if p.grad is not None and p.grad.any()]
        theirs = [p.grad for p in frozen.parameters() if p.grad is not None and p.grad.any()]
        assert sum(g.abs().sum() for g in ours) == pytest.approx(
            float(sum(g.abs().sum() for g in theirs)), rel=1e-12
        )
        if "inside" not in name and "loose" not in name:  # no layer is cut: they match one to one
            assert len(ours) == len(theirs)
            for one in theirs:
                assert any(torch.equal(one, other) for other in ours)


def test_a_cell_in_two_places_stays_one_cell_when_frozen() -> None:
    model = shared()
    table = supernet(model, Drawn)
    assert model.cells[0] is model.cells[2]
    assert len(table) == 2 + 2 + 3  # input_2, input_3, and five edges
    frozen = freeze(model, ModelSpace(model).default())
    assert frozen.cells[0] is frozen.cells[2]
    assert frozen.cells[0] is not frozen.cells[1]


def test_cells_of_one_label_always_agree() -> None:
    model = Net(narrow("c"), narrow("c"))
    table = supernet(model, Drawn)
    one, other = (set(map(id, cell.decisions)) for cell in model.cells)
    assert one == other
    assert len(table) == 2 + 5


@pytest.mark.parametrize("inputs_", ["free", "distinct"])
def test_only_active_operations_run(inputs_: Any) -> None:
    cell = Cell(lambda *p: [Counting(), Counting()], 2, 2, 2, inputs=inputs_, label="c")
    model = Net(cell).double()
    table = supernet(model, Drawn)
    space = ModelSpace(model)
    for seed in range(20):
        chosen = space.sample(random.Random(seed))
        layers = [m for m in model.modules() if isinstance(m, Counting)]
        for layer in layers:
            layer.calls = 0
        with at(table, chosen):
            model(*inputs())
        assert sum(layer.calls for layer in layers) == 2 * 2
        assert max(layer.calls for layer in layers) == 1


def test_choices_of_edges_that_are_not_taken_are_not_exported() -> None:
    model = Net(CELLS["distinct"]())
    supernet(model, Drawn)
    chosen = ModelSpace(model).default()
    assert sum("op" in label for label in chosen) == 3 * 2


def test_a_superposed_choice_of_all_states_needs_no_weight() -> None:
    """Two of two states are taken anyway; a strategy need not weight them."""

    class Plain(Weighted):
        def mixture(self) -> list[Active]:
            if self.spec.size == 1:
                return [Active(c) for c in self.spec.members(self.spec.default)]
            return super().mixture()

    model = Net(Cell(edge, 1, 2, 2, inputs="distinct", label="c")).double()
    table = supernet(model, Plain)
    x, y = inputs()
    p, q = (table[f"c/op_2_{j}"].probabilities() for j in (0, 1))
    one, other = (model.cells[0].ops[f"2_{j}"].candidates["linear"] for j in (0, 1))
    wanted = p[0] * one(x) + p[1] * x.tanh() + q[0] * other(y) + q[1] * y.tanh()
    torch.testing.assert_close(model(x, y), wanted)


def test_loose_ends_cannot_be_superposed_and_the_walk_says_so() -> None:
    model = Net(Cell(edge, 2, 1, 2, "loose_end", label="c"))
    before = model.cells[0]
    with pytest.raises(StrategyError, match=r"Cell at 'cells\.0' cannot be superposed"):
        supernet(model, Weighted)
    assert model.cells[0] is before


def test_layers_as_wide_as_loose_ends_cannot_be_superposed() -> None:
    """Even where the cell itself is sampled, by a decision that somebody else made."""
    cell = Cell(edge, 2, 1, 2, "loose_end", label="c")
    for layer in (
        onn.Linear(cell.output_width(2), 1),
        onn.BatchNorm1d(cell.output_width(oneshot.choice([2, 4], label="w"))),
    ):
        with pytest.raises(StrategyError, match=r"at '0' cannot be superposed: an argument"):
            supernet(nn.Sequential(layer), Weighted)


def test_a_subclass_of_a_cell_is_left_to_other_hooks() -> None:
    class Special(Cell): ...

    assert MixedCell.mutate(Special(edge, 1), "x", {}, {"decisions": DecisionTable(Drawn)}) is None
    assert MixedCell.mutate(nn.Linear(1, 1), "x", {}, {}) is None


def test_a_deep_copy_of_a_mutated_cell_follows_copied_decisions_and_parts() -> None:
    model = Net(CELLS["distinct"]()).double()
    table = supernet(model, Drawn)
    twin, decisions = copy.deepcopy((model, table))
    chosen = ModelSpace(model).sample(random.Random(3))
    with at(decisions, chosen):
        found = twin(*inputs())
    assert torch.equal(found, freeze(model, chosen)(*inputs()))
    parts = set(map(id, model.modules()))
    assert not parts & set(map(id, twin.modules()))


@settings(max_examples=40, deadline=None)
@given(
    nodes=st.integers(1, 3),
    ops=st.integers(1, 2),
    predecessors=st.integers(1, 2),
    merge=st.sampled_from(["all", "loose_end"]),
    kind=st.sampled_from(["free", "distinct"]),
    factory=st.booleans(),
    nested=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_cell_counts_exactly_and_equals_its_frozen_network(
    nodes: int, ops: int, predecessors: int, merge: Any, kind: Any,
    factory: bool, nested: bool, seed: int,
) -> None:  # fmt: skip
    def make(*place: Any) -> dict[str, nn.Module]:
        inner: nn.Module = nn.Linear(WIDTH, WIDTH)
        if nested:
            inner = LayerChoice([inner, nn.Tanh()])
        return {"a": nn.Sequential(inner), "b": nn.Identity()}

    if kind == "distinct":
        ops = min(ops, predecessors)
    torch.manual_seed(seed)
    candidates: Any = make if factory else make()
    model = Net(Cell(candidates, nodes, ops, predecessors, merge, inputs=kind)).double()
    if ModelSpace(model).size <= 3000:
        listed = [tuple(sorted(a.items(), key=str)) for a in ModelSpace(model).architectures()]
        assert len(listed) == len(set(listed)) == ModelSpace(model).size
    table = supernet(model, Drawn)
    chosen = ModelSpace(model).sample(random.Random(seed))
    with at(table, chosen):
        found = model(*inputs(predecessors))
    assert torch.equal(found, freeze(model, chosen)(*inputs(predecessors)))
