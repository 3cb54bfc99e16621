"""A cell before any search: what it computes, what it offers, what it is frozen to."""

from __future__ import annotations

import copy
import io
import math
import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import Cell, ModelSpace, freeze
from oneshot_core import nn as onn
from oneshot_core.errors import LabelError, SpaceError
from oneshot_core.space import LayerChoice, Repeat


class Times(nn.Module):
    """Multiplies, so that the output tells what ran."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(float(factor)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Model(nn.Module):
    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, *inputs: Any) -> Any:
        return self.cell(*inputs)


OPS = {"two": Times(2), "three": Times(3), "five": Times(5)}


def by_place(node: int, op: int | None, state: int) -> dict[str, nn.Module]:
    return {"a": Times(node + 10 * state), "b": Times(-node - 10 * state)}


def first_doubled(states: list[Tensor]) -> list[Tensor]:
    return [2 * states[0], states[1]]


def with_inputs(output: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    return (output, *inputs)


@pytest.fixture
def x() -> Tensor:
    return torch.tensor([[1.0]])


@pytest.fixture
def y() -> Tensor:
    return torch.tensor([[100.0]])


def test_a_cell_runs_the_first_operations_on_the_first_states(x: Tensor, y: Tensor) -> None:
    free = Cell(OPS, 2, 2, 2)
    assert free(x, y).tolist() == [[4.0, 4.0]]  # 2x + 2x, both nodes
    distinct = Cell(OPS, 2, 2, 2, inputs="distinct")
    assert distinct(x, y).tolist() == [[202.0, 202.0]]  # 2x + 2y


def test_an_architecture_of_free_inputs_is_the_sum_of_its_operations(x: Tensor, y: Tensor) -> None:
    model = Model(Cell(OPS, 2, 2, 2, label="c"))
    chosen = {
        "c/input_2_0": 1, "c/op_2_0": "three", "c/input_2_1": 1, "c/op_2_1": "five",
        "c/input_3_0": 2, "c/op_3_0": "two", "c/input_3_1": 0, "c/op_3_1": "three",
    }  # fmt: skip
    node2 = 3 * 100 + 5 * 100
    assert freeze(model, chosen)(x, y).tolist() == [[node2, 2 * node2 + 3]]


def test_an_architecture_of_distinct_inputs_is_the_sum_of_its_edges(x: Tensor, y: Tensor) -> None:
    model = Model(Cell(by_place, 2, 2, 2, inputs="distinct", label="c"))
    chosen = {
        "c/input_2": (0, 1), "c/op_2_0": "b", "c/op_2_1": "a",
        "c/input_3": (0, 2), "c/op_3_0": "a", "c/op_3_2": "b",
    }  # fmt: skip
    node2 = -2 * 1 + 12 * 100
    assert freeze(model, chosen)(x, y).tolist() == [[node2, 3 * 1 - 23 * node2]]


def test_loose_ends_are_the_nodes_that_no_other_takes(x: Tensor, y: Tensor) -> None:
    model = Model(Cell(OPS, 3, 1, 2, "loose_end", label="c"))
    op = {f"c/op_{node}_0": "two" for node in (2, 3, 4)}
    chain = {"c/input_2_0": 0, "c/input_3_0": 2, "c/input_4_0": 3}
    assert freeze(model, op | chain)(x, y).tolist() == [[8.0]]
    fan = {"c/input_2_0": 0, "c/input_3_0": 1, "c/input_4_0": 2}
    assert freeze(model, op | fan)(x, y).tolist() == [[200.0, 4.0]]


def test_labels_count_states_from_the_first_predecessor_on() -> None:
    """As the reference exports them."""
    free = ModelSpace(Model(Cell(OPS, 1, 2, 2, label="normal")))
    assert list(free.specs) == [
        "normal/input_2_0", "normal/input_2_1", "normal/op_2_0", "normal/op_2_1",
    ]  # fmt: skip
    distinct = ModelSpace(Model(Cell(OPS, 1, 2, 2, inputs="distinct", label="normal")))
    assert list(distinct.specs) == ["normal/input_2", "normal/op_2_0", "normal/op_2_1"]


@pytest.mark.parametrize("inputs", ["free", "distinct"])
@pytest.mark.parametrize("candidates", [OPS, by_place], ids=["modules", "factory"])
def test_without_a_label_all_labels_start_with_the_path(candidates: Any, inputs: Any) -> None:
    model = nn.Sequential(nn.Identity(), Model(Cell(candidates, 2, 1, 1, inputs=inputs)))
    labels = ModelSpace(model).specs
    assert all(label.startswith("1.cell/") for label in labels)
    labelled = nn.Sequential(Cell(candidates, 2, 1, 1, inputs=inputs, label="1.cell"))
    assert list(ModelSpace(labelled).specs) == list(labels)
    alone = ModelSpace(Cell(candidates, 2, 1, 1, inputs=inputs))
    assert [f"1.cell/{label}" for label in alone.specs] == list(labels)


def enumerate_free(first: int, nodes: int, ops: int, per_node: int) -> int:
    """Count one by one, without any formula."""
    count = 1
    for node in range(first, first + nodes):
        for _ in range(per_node):
            count *= len([(i, o) for i in range(node) for o in range(ops)])
    return count


@pytest.mark.parametrize("candidates", [OPS, lambda *place: OPS], ids=["modules", "factory"])
def test_free_inputs_are_counted_as_the_reference_counts_them(candidates: Any) -> None:
    """A state may be taken twice, and the order of two operations counts."""
    wrapped = candidates if isinstance(candidates, dict) else (lambda *p: copy.deepcopy(OPS))
    space = ModelSpace(Model(Cell(wrapped, 2, 2, 2, "loose_end", label="c")))
    assert space.size == enumerate_free(2, 2, 3, 2) == (2 * 3) ** 2 * (3 * 3) ** 2
    assert space.size == len({tuple(sorted(a.items())) for a in space.architectures()})


def test_distinct_inputs_are_counted_as_subsets_with_an_operation_for_each_edge() -> None:
    space = ModelSpace(Model(Cell(OPS, 3, 2, 2, inputs="distinct")))
    assert space.size == math.prod(math.comb(n, 2) * 3**2 for n in (2, 3, 4))


def test_the_space_of_the_largest_cells_is_counted_at_once() -> None:
    """Thirteen operations, five nodes, two cells of each label: 10^23 architectures."""

    def ops(node: int, op: int | None, state: int) -> dict[str, nn.Module]:
        return {str(n): nn.Identity() for n in range(13)}

    cells = [Cell(ops, 5, 2, 2, "loose_end", label=label) for label in "abab"]
    layers = [onn.Linear(cell.output_width(2), 3) for cell in cells]
    one = (2 * 3 * 4 * 5 * 6) ** 2 * 13**10
    assert ModelSpace(nn.ModuleList([*cells, *layers])).size == one**2


def test_cells_of_one_label_decide_together_and_keep_their_weights() -> None:
    model = nn.ModuleList([Cell(OPS, 1, 1, 1, label="n"), Cell(OPS, 1, 1, 1, label="n")])
    assert list(ModelSpace(model).specs) == ["n/input_1_0", "n/op_1_0"]
    assert len(list(model.parameters())) == 6
    one, other = freeze(model, {"n/input_1_0": 0, "n/op_1_0": "five"})
    assert [p.item() for p in one.parameters()] == [p.item() for p in other.parameters()] == [5.0]


def test_cells_of_one_label_and_different_operations_are_refused() -> None:
    model = nn.ModuleList([Cell(OPS, 1, label="n"), Cell([nn.Identity()], 1, label="n")])
    with pytest.raises(LabelError, match="'n/op_1_0' names two different choices"):
        ModelSpace(model)


def test_given_modules_are_copied_for_every_place() -> None:
    cell = Cell(OPS, 2, 2, 2)
    weights = [p for p in cell.parameters()]
    assert len(weights) == len({id(p) for p in weights}) == 2 * 2 * 3
    assert not {id(p) for p in weights} & {id(p) for op in OPS.values() for p in op.parameters()}


def test_factories_are_told_node_operation_and_input() -> None:
    seen: list[tuple[int, int | None, int]] = []

    def factory(node: int, op: int | None, state: int) -> nn.Module:
        seen.append((node, op, state))
        return Times(node)

    Cell({"one": factory}, 2, 2, 1)
    assert seen == [
        (1, 0, 0), (1, 1, 0), (2, 0, 0), (2, 0, 1), (2, 1, 0), (2, 1, 1),
    ]  # fmt: skip
    seen.clear()
    Cell([factory], 2, 1, 1, inputs="distinct")
    assert seen == [(1, None, 0), (2, None, 0), (2, None, 1)]


@pytest.mark.parametrize(
    "candidates",
    [
        lambda *place: Times(2),
        lambda *place: [Times(2)],
        [lambda *place: Times(2)],
        [Times(2)],
        (Times(2),),
    ],
    ids=["module", "list", "factories", "modules", "tuple"],
)
def test_operations_without_names_are_numbered(candidates: Any) -> None:
    cell = Cell(candidates, 1, label="c")
    assert ModelSpace(Model(cell)).specs["c/op_1_0"].candidates == ("0",)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("module", [False, True], ids=["function", "module"])
def test_processors_see_all_inputs(module: bool, packed: bool, x: Tensor, y: Tensor) -> None:
    class First(nn.Module):
        def forward(self, states: list[Tensor]) -> list[Tensor]:
            return first_doubled(states)

    class Last(nn.Module):
        def forward(self, output: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
            return with_inputs(output, inputs)

    pre, post = (First(), Last()) if module else (first_doubled, with_inputs)
    cell = Cell(OPS, 1, 1, 2, preprocessor=pre, postprocessor=post, packed=packed, label="c")
    model = Model(cell)
    given = ([x, y],) if packed else (x, y)
    for network in (model, freeze(model, {"c/input_2_0": 0, "c/op_2_0": "two"})):
        output, first, second = network(*given)
        assert output.tolist() == [[4.0]]
        assert first is x
        assert second is y


def test_packed_cells_can_be_chained(x: Tensor, y: Tensor) -> None:
    class Last(nn.Module):
        def forward(self, output: Tensor, inputs: list[Tensor]) -> list[Tensor]:
            return [inputs[1], output]

    def block(index: int) -> nn.Module:
        return Cell(OPS, 1, 2, 2, inputs="distinct", postprocessor=Last(), packed=True, label="c")

    model = Model(Repeat(block, (1, 3), label="depth"))
    space = ModelSpace(model)
    assert space.size == 3 * 9
    chosen = {"depth": 2, "c/input_2": (0, 1), "c/op_2_0": "two", "c/op_2_1": "three"}
    one = 2 * 1 + 3 * 100
    two = 2 * 100 + 3 * one
    assert [t.item() for t in freeze(model, chosen)([x, y])] == [one, two]


@pytest.mark.parametrize(
    ("packed", "given"),
    [(False, 1), (False, 3), (True, 1), (True, 2), (False, "list"), (True, "short")],
)
def test_another_number_or_form_of_inputs_is_refused(packed: bool, given: Any, x: Tensor) -> None:
    cell = Cell(OPS, 1, 1, 2, packed=packed, label="normal")
    inputs = {"list": ([x, x],), "short": ([x],)}.get(given) or (x,) * given
    with pytest.raises(ValueError, match=r"Cell 'normal' was called with (Tensor|list)"):
        cell(*inputs)


def test_a_frozen_cell_holds_what_is_chosen_and_nothing_of_ours(x: Tensor, y: Tensor) -> None:
    model = Model(Cell(by_place, 2, 2, 2, label="c"))
    space = ModelSpace(model)
    for seed in range(10):
        chosen = space.sample(random.Random(seed))
        frozen = freeze(model, chosen)
        names = {
            f"cell.ops.{node}_{k}_{chosen[f'c/input_{node}_{k}']}.factor"
            for node in (2, 3)
            for k in (0, 1)
        }
        assert set(frozen.state_dict()) == names
        assert not any(type(m).__module__.startswith("oneshot") for m in frozen.modules())


def test_the_mode_is_kept() -> None:
    for training in (True, False):
        model = Model(Cell(OPS, 1)).train(training)
        frozen = freeze(model, ModelSpace(model).default())
        assert {m.training for m in frozen.modules()} == {training}


def test_a_frozen_cell_is_saved_exported_and_compiled(x: Tensor, y: Tensor) -> None:
    model = Model(Cell(by_place, 2, 1, 2, "loose_end", label="c"))
    frozen = freeze(model, ModelSpace(model).sample(random.Random(1)))
    wanted = frozen(x, y)
    buffer = io.BytesIO()
    torch.save(frozen.cell, buffer)
    buffer.seek(0)
    again = torch.load(buffer, weights_only=False)
    assert torch.equal(again(x, y), wanted)
    assert list(again.state_dict()) == list(frozen.cell.state_dict())
    assert torch.equal(torch.export.export(frozen, (x, y)).module()(x, y), wanted)
    assert torch.equal(torch.fx.symbolic_trace(frozen.cell)(x, y), wanted)


@pytest.mark.parametrize(
    "make",
    [copy.deepcopy, lambda cell: pickle.loads(pickle.dumps(cell))],
    ids=["deepcopy", "pickle"],
)
def test_a_copy_is_the_same_choice(make: Callable[[Any], Any], x: Tensor, y: Tensor) -> None:
    cell = Cell({"a": Times(2), "b": Times(3)}, 2, 1, 2, "loose_end", label="c")
    model = nn.ModuleList([cell, onn.Linear(cell.output_width(4), 2)])
    twin = make(model)
    assert ModelSpace(twin).fingerprint == ModelSpace(model).fingerprint
    assert torch.equal(twin[0](x, y), cell(x, y))
    chosen = ModelSpace(model).sample(random.Random(2))
    assert freeze(twin, chosen)[1].in_features == freeze(model, chosen)[1].in_features


def test_choices_inside_operations_decide_only_where_the_operation_runs() -> None:
    inner = LayerChoice({"c": Times(1), "d": Times(2)}, label="inner")
    model = Model(Cell({"a": Times(2), "b": inner}, 1, 1, 1, label="c"))
    assert ModelSpace(model).size == 1 + 2
    unlabelled = LayerChoice([Times(1), Times(2)])
    model = Model(Cell({"a": Times(2), "b": unlabelled}, 2, 1, 1))
    assert ModelSpace(model).size == (1 * (1 + 2)) * (2 * (1 + 2))


def test_operations_of_other_inputs_decide_nothing() -> None:
    def factory(node: int, op: int | None, state: int) -> nn.Module:
        return LayerChoice([Times(1), Times(2)]) if state == 0 else Times(1)

    free = ModelSpace(Model(Cell([factory], 1, 1, 2)))
    assert free.size == 2 + 1  # the first input with two layers, or the second with one
    distinct = ModelSpace(Model(Cell([factory], 1, 1, 2, inputs="distinct")))
    assert distinct.size == 2 + 1


def test_the_width_of_all_nodes_is_a_number() -> None:
    cell = Cell(OPS, 3)
    assert cell.loose_ends == 3
    assert cell.output_width(8) == 24
    width = oneshot.choice([2, 4], label="w")
    assert cell.output_width(width).evaluate({"w": 4}) == 12


@pytest.mark.parametrize("inputs", ["free", "distinct"])
def test_the_width_of_loose_ends_follows_from_the_architecture(inputs: Any) -> None:
    """Too many cells to list, and a layer of four widths."""
    cell = Cell([nn.Identity()], 4, 2, 2, "loose_end", inputs=inputs, label="c")
    width = oneshot.choice([2, 3], label="w")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = onn.Linear(5, width)
            self.cell = cell
            self.head = onn.Linear(cell.output_width(width), 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.head(self.cell(x, -x))

    model = Net()
    assert model.head.in_features == 4 * 3
    assert len(model.head.templates()) == len({n * w for n in (1, 2, 3, 4) for w in (2, 3)})
    model(torch.ones(1, 5))
    space, seen = ModelSpace(model), set()
    for seed in range(40):
        chosen = space.sample(random.Random(seed))
        taken = [
            s
            for label, c in chosen.items()
            if "input" in label
            for s in (c if isinstance(c, tuple) else (c,))
        ]
        loose = [node for node in range(2, 6) if node not in taken]
        frozen = freeze(model, chosen)
        assert frozen.head.in_features == len(loose) * chosen["w"]
        frozen(torch.ones(1, 5))
        seen.add(len(loose))
    assert len(seen) > 1


def test_the_width_of_loose_ends_needs_a_label() -> None:
    with pytest.raises(SpaceError, match="the Cell has no label"):
        Cell(OPS, 3, merge_op="loose_end").output_width(3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_nodes": 0}, "num_nodes=0"),
        ({"num_ops_per_node": 0}, "num_ops_per_node=0"),
        ({"num_predecessors": 1.5}, "num_predecessors=1.5"),
        ({"merge_op": "some"}, "merge_op='some'"),
        ({"inputs": "twice"}, "inputs='twice'"),
        ({"inputs": "distinct", "num_ops_per_node": 2}, "num_ops_per_node=2 distinct inputs"),
        ({"label": ""}, "label=''"),
        ({"op_candidates": [3]}, "the operation 3"),
        ({"op_candidates": nn.Identity()}, r"the operation Identity\(\)"),
        ({"op_candidates": {}}, "no candidates"),
        ({"preprocessor": lambda x: x}, "preprocessor=<function"),
        ({"postprocessor": 3}, "postprocessor=3"),
    ],
)
def test_what_makes_no_cell_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        Cell(**{"op_candidates": OPS, "num_nodes": 2, **arguments})


class Around(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Identity(), inner)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.body(x)


@pytest.mark.parametrize("label", ["cell", None])
@pytest.mark.parametrize("inputs", ["free", "distinct"])
def test_what_stands_on_an_edge_holds_the_choice_and_changes_no_label(
    inputs: Any, label: str | None
) -> None:
    places: list[tuple[int, int | None, int]] = []

    def edge(choice: nn.Module, node: int, op: int | None, state: int) -> nn.Module:
        places.append((node, op, state))
        return Around(choice)

    def net(**options: Any) -> nn.Module:
        operations = {"tanh": lambda *place: nn.Tanh(), "skip": lambda *place: nn.Identity()}
        cell = Cell(operations, 2, 1, 1, inputs=inputs, label=label, **options)
        return nn.ModuleDict({"cell": cell})

    plain, dressed = net(), net(edge=edge)
    assert ModelSpace(dressed).describe() == ModelSpace(plain).describe()
    assert places == [(1, 0 if inputs == "free" else None, 0)] + [
        (2, 0 if inputs == "free" else None, state) for state in (0, 1)
    ]
    x = torch.ones(1, 1)
    chosen = {**ModelSpace(dressed).default()}
    frozen = freeze(dressed, chosen)["cell"]
    assert frozen(x).tolist() == [[2 * torch.tanh(x).item()] * 2]
    assert any(isinstance(module, Around) for module in frozen.modules())


@pytest.mark.parametrize("made", [nn.Identity(), None])
def test_an_edge_without_the_choice_is_refused(made: Any) -> None:
    with pytest.raises(SpaceError, match=r"edge of Cell returned .* for the state 0 of node 1"):
        Cell([nn.Tanh()], 1, edge=lambda *place: made)
