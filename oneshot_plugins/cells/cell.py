"""Choose the wiring of a small graph, and the operation on each of its edges."""

from __future__ import annotations

import copy
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import chain
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, fx, nn

from oneshot_core.errors import SpaceError
from oneshot_core.space import (
    Branches,
    Choice,
    Declared,
    Diagram,
    LabelInside,
    LayerChoice,
    Link,
    MutableModule,
    Node,
    ParameterSpec,
    Taken,
    Value,
    check_label,
    label_below,
)

MergeOp = Literal["all", "loose_end"]
Inputs = Literal["free", "distinct"]
OpFactory: TypeAlias = Callable[[int, "int | None", int], Any]
"""``(node_index, op_index, input_index) -> module``; see :class:`Cell`."""
Candidates: TypeAlias = (
    "Mapping[str, nn.Module | OpFactory] | Sequence[nn.Module | OpFactory] | OpFactory"
)
Edge: TypeAlias = "Callable[[LayerChoice, int, int | None, int], nn.Module]"
"""``(choice, node_index, op_index, input_index) -> module``; see :class:`Cell`."""
Active: TypeAlias = "Sequence[tuple[int, Tensor | None]]"
"""States that go into a node, each with its weight; None is "as it is"."""


@dataclass(frozen=True)
class Slot:
    """One decision of a node: which of the states before it go in, and through what.

    Args:
        name: what follows the cell's label in that of the decision.
        node: number of the node, which is the number of states before it.
        n_chosen: how many states are taken.
        operations: for each state before the node, the name in :attr:`Cell.ops`.
    """

    name: str
    node: int
    n_chosen: int
    operations: tuple[str, ...]

    def spec(self, label: str) -> ParameterSpec:
        """Describe the decision of a cell with that label."""
        return ParameterSpec(label_below(label, self.name), tuple(range(self.node)), self.n_chosen)

    def members(self, choice: Choice) -> tuple[int, ...]:
        """Return the numbers of the states that ``choice`` takes."""
        taken = choice if isinstance(choice, tuple) else (choice,)
        return tuple(index for index in taken if isinstance(index, int))


class Cell(MutableModule):
    """A graph of nodes, each the sum of operations on states before it.

    States are numbered: first the ``num_predecessors`` inputs of the cell, then its nodes. A node
    takes ``num_ops_per_node`` states before it, applies an operation to each and adds them up.
    Nodes are concatenated to the output. Both the states and the operations are chosen:

    - ``inputs="free"`` (NASNet, ENAS, and the reference): under ``{label}/input_{i}_{k}`` the
      state that operation ``k`` of node ``i`` takes, under ``{label}/op_{i}_{k}`` the operation. A
      state may be taken twice.
    - ``inputs="distinct"`` (DARTS): under ``{label}/input_{i}`` the different states that node
      ``i`` takes, under ``{label}/op_{i}_{j}`` the operation on state ``j``, which decides
      something only if ``j`` is taken.

    If a strategy weights candidates, a node is the sum over all states of the weight of the state
    times the weighted sum of operations on it.

    Cells with one label decide together and have weights of their own. Until a search replaces
    it, a cell runs the first operations on the first states.

    Args:
        op_candidates: a dict or list of operations: modules, of which every place gets deep
            copies, or factories ``(node_index, op_index, input_index) -> module``, with node and
            input numbered as states; then every input has modules of its own. ``op_index`` is
            None for ``inputs="distinct"``. Or one factory that returns a module, a list or a
            dict of modules. All operations must return one shape.
        num_nodes: how many nodes there are.
        num_ops_per_node: how many states each takes.
        num_predecessors: how many inputs the cell has.
        merge_op: ``"all"`` concatenates every node, ``"loose_end"`` those that no other node
            takes, so that the width of the output depends on the architecture; see
            :meth:`output_width`. Strategies that weight candidates refuse the latter.
        preprocessor: a module or function, called with the list of inputs; returns as many
            tensors, the first states.
        postprocessor: a module or function, called with the concatenated output and the list of
            inputs; what it returns is returned.
        concat_dim: dimension of the concatenation.
        inputs: see above.
        packed: whether the cell is called with one list of its inputs, as where it is a block of
            Repeat or Sequential, instead of with ``num_predecessors`` tensors.
        label: first part of the labels; None takes the dotted path of the cell in the model.

    Raises:
        SpaceError: a number is out of range, a word is unknown, ``inputs="distinct"`` asks for
            more states than there are, an operation is neither module nor factory, or what ``edge``
            returns does not hold the choice.

    Source: Liu et al., "DARTS", arXiv:1806.09055, section 2.1; Zoph et al., "Learning Transferable
    Architectures", arXiv:1707.07012, section 3; ``nni.nas.nn.pytorch.Cell``.
    """

    ops: nn.ModuleDict

    def __init__(
        self,
        op_candidates: Candidates,
        num_nodes: int,
        num_ops_per_node: int = 1,
        num_predecessors: int = 1,
        merge_op: MergeOp = "all",
        preprocessor: nn.Module | Callable[[list[Tensor]], Sequence[Tensor]] | None = None,
        postprocessor: nn.Module | Callable[[Tensor, list[Tensor]], Any] | None = None,
        concat_dim: int = 1,
        *,
        inputs: Inputs = "free",
        packed: bool = False,
        edge: Edge | None = None,
        label: str | None = None,
    ) -> None:
        super().__init__()
        check_label(label, self)
        _check_numbers(num_nodes, num_ops_per_node, num_predecessors)
        _check_word("merge_op", merge_op, get_args(MergeOp))
        _check_word("inputs", inputs, get_args(Inputs))
        if inputs == "distinct" and num_ops_per_node > num_predecessors:
            raise SpaceError(
                f"Cell takes num_ops_per_node={num_ops_per_node} distinct inputs, and its first "
                f"node has num_predecessors={num_predecessors} to choose from",
                expected="as many predecessors as distinct inputs",
                fix="inputs='free', or correct the numbers",
            )
        self.num_nodes = num_nodes
        self.num_ops_per_node = num_ops_per_node
        self.num_predecessors = num_predecessors
        self.merge_op: MergeOp = merge_op
        self.concat_dim = concat_dim
        self.inputs: Inputs = inputs
        self.packed = packed
        self.label = label
        self.preprocessor = _check_processor("preprocessor", preprocessor)
        self.ops = nn.ModuleDict()
        self.postprocessor = _check_processor("postprocessor", postprocessor)
        build = _Builder(op_candidates, edge)
        make = self._distinct if inputs == "distinct" else self._free
        first = num_predecessors
        self.nodes = tuple(make(node, build) for node in range(first, first + num_nodes))

    def _free(self, node: int, build: _Builder) -> tuple[Slot, ...]:
        slots = []
        for k in range(self.num_ops_per_node):
            if build.by_input:
                keys = [f"{node}_{k}_{state}" for state in range(node)]
            else:
                keys = [f"{node}_{k}"] * node
            for state, key in enumerate(keys):
                if key not in self.ops:
                    self._add(key, f"op_{node}_{k}", build, node, k, state)
            slots.append(Slot(f"input_{node}_{k}", node, 1, tuple(keys)))
        return tuple(slots)

    def _distinct(self, node: int, build: _Builder) -> tuple[Slot, ...]:
        keys = tuple(f"{node}_{state}" for state in range(node))
        for state, key in enumerate(keys):
            self._add(key, f"op_{key}", build, node, None, state)
        return (Slot(f"input_{node}", node, self.num_ops_per_node, keys),)

    def _add(self, key: str, name: str, build: _Builder, *place: Any) -> None:
        choice = LayerChoice(build(*place))
        self.ops[key], inside = build.edge(choice, *place)
        if self.label is None:
            choice.label = LabelInside(f"ops.{key}{inside}", name)
        else:
            choice.label = label_below(self.label, name)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The decisions about states, in the order of nodes."""
        return tuple(chain.from_iterable(self.nodes))

    def label_at(self, path: str) -> str:
        """Return the first part of the labels of a cell at ``path``."""
        return path if self.label is None else self.label

    def specs_at(self, path: str) -> tuple[ParameterSpec, ...]:
        label = self.label_at(path)
        return tuple(slot.spec(label) for slot in self.slots)

    def branches_at(self, path: str) -> Branches:
        label = self.label_at(path)
        return {
            slot.spec(label).label: {
                state: (self.ops[key],) for state, key in enumerate(slot.operations)
            }
            for slot in self.slots
            if len(set(slot.operations)) == slot.node  # else it runs on whatever is taken
        }

    def diagram_at(self, path: str) -> Diagram:
        """Return the graph of inputs and nodes; operations are on its edges."""
        label, first = self.label_at(path), self.num_predecessors
        inputs = [Node(f"in {i}" if first > 1 else "in") for i in range(first)]
        nodes = [Node(str(i)) for i in range(first, first + self.num_nodes)]
        links = []
        for slot in self.slots:
            taken_by = slot.spec(label).label
            name = slot.name.replace("input", "op", 1)
            for state in range(slot.node):
                operation = name if self.inputs == "free" else f"{name}_{state}"
                links.append(Link(state, slot.node, label_below(label, operation), taken_by))
        return Diagram(label or type(self).__name__, [*inputs, *nodes], links)

    @property
    def loose_ends(self) -> Value | int:
        """How many nodes are concatenated, as a value that follows from the architecture.

        Raises:
            SpaceError: the cell has no label, so that it is not known yet what decides.
        """
        if self.merge_op == "all":
            return self.num_nodes
        if self.label is None:
            raise SpaceError(
                "the width of a Cell's loose ends is asked for, and the Cell has no label",
                expected="a label, for that is what other layers know the choice by",
                fix="Cell(..., merge_op='loose_end', label='normal')",
            )
        taken = [Taken(slot.spec(self.label)) for slot in self.slots]
        return Declared(
            f"loose_ends({self.label})",
            partial(_count_loose_ends, self.num_predecessors, self.num_nodes),
            *taken,
            domain=range(1, self.num_nodes + 1),
        )

    def output_width(self, width: Any) -> Any:
        """Return how wide the concatenated output is if each node is ``width`` wide.

        With ``merge_op="loose_end"`` that is a value, for layers of :mod:`oneshot_core.nn`.

        Args:
            width: a number, or a value.

        Raises:
            SpaceError: see :attr:`loose_ends`.
        """
        return self.loose_ends * width

    def compute(self, inputs: Sequence[Any], active: Callable[[Slot], Active]) -> Any:
        """Compute the cell with what is active, and run no operation on anything else.

        Args:
            inputs: what the cell was called with.
            active: says of each slot which states go in, with their weights.
        """
        given = self._gather(inputs)
        states = list(given if self.preprocessor is None else self.preprocessor(given))
        taken: set[int] = set()
        for slots in self.nodes:
            terms = []
            for slot in slots:
                for state, weight in active(slot):
                    taken.add(state)
                    out = self.ops[slot.operations[state]](states[state])
                    terms.append(out if weight is None else weight * out)
            states.append(reduce(operator.add, terms))
        output = torch.cat([states[node] for node in self._merged(taken)], self.concat_dim)
        return output if self.postprocessor is None else self.postprocessor(output, given)

    def forward(self, *inputs: Any) -> Any:
        """Apply the first operations to the first states.

        Args:
            *inputs: ``num_predecessors`` tensors, or one list of them if ``packed``.
        """
        return self.compute(inputs, lambda slot: [(state, None) for state in range(slot.n_chosen)])

    def select_at(self, path: str, chosen: Mapping[str, Choice]) -> nn.Module:
        label = self.label_at(path)
        members = {slot: slot.members(chosen[slot.spec(label).label]) for slot in self.slots}
        taken = set(chain.from_iterable(members.values()))
        sketch = _Sketch(self)
        given = sketch.inputs()
        first = given if self.preprocessor is None else sketch.call("preprocessor", given)
        states = [
            sketch.item(first, index) if index in taken else None
            for index in range(self.num_predecessors)
        ]
        for slots in self.nodes:
            terms = [
                sketch.call(f"ops.{slot.operations[state]}", states[state])
                for slot in slots
                for state in members[slot]
            ]
            states.append(reduce(sketch.add, terms))
        output = sketch.concatenate([states[node] for node in self._merged(taken)])
        if self.postprocessor is not None:
            output = sketch.call("postprocessor", output, given)
        return sketch.finish(output)

    def _merged(self, taken: set[int]) -> list[int]:
        nodes = range(self.num_predecessors, self.num_predecessors + self.num_nodes)
        return [node for node in nodes if self.merge_op == "all" or node not in taken]

    def _gather(self, inputs: Sequence[Any]) -> list[Tensor]:
        lists = [isinstance(given, (list, tuple)) for given in inputs]
        given = inputs[0] if self.packed and lists == [True] else inputs
        if any(lists) != self.packed or len(given) != self.num_predecessors:
            what = [type(given).__name__ for given in inputs]
            wanted = f"{self.num_predecessors} tensors"
            raise ValueError(
                f"Cell {self.label or ''!r} was called with {', '.join(what) or 'nothing'}.\n"
                f"  expected: {f'one list of {wanted}' if self.packed else wanted}\n"
                "  fix: pass one tensor for each of num_predecessors; packed=True takes one list"
            )
        return given if isinstance(given, list) else list(given)

    def extra_repr(self) -> str:
        """Show the numbers."""
        return (
            f"num_nodes={self.num_nodes}, num_ops_per_node={self.num_ops_per_node}, "
            f"num_predecessors={self.num_predecessors}, merge_op={self.merge_op!r}, "
            f"inputs={self.inputs!r}, packed={self.packed}, label={self.label!r}"
        )


class _Sketch:
    """Write down what a cell computes as a graph of plain torch, which needs nothing of ours."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.graph = fx.Graph()
        self.parts: dict[str, nn.Module] = {}

    def inputs(self) -> Any:
        if self.cell.packed:
            return self.graph.placeholder("inputs")
        numbers = range(self.cell.num_predecessors)
        return [self.graph.placeholder(f"input_{number}") for number in numbers]

    def call(self, name: str, *args: Any) -> fx.Node:
        if name in self.cell.__dict__:  # a function
            return self.graph.call_function(getattr(self.cell, name), args)
        self.parts[name] = self.cell.get_submodule(name)
        return self.graph.call_module(name, args)

    def item(self, states: Any, index: int) -> Any:
        if isinstance(states, list):
            return states[index]
        return self.graph.call_function(operator.getitem, (states, index))

    def add(self, one: fx.Node, other: fx.Node) -> fx.Node:
        return self.graph.call_function(operator.add, (one, other))

    def concatenate(self, nodes: Sequence[Any]) -> fx.Node:
        return self.graph.call_function(torch.cat, (list(nodes), self.cell.concat_dim))

    def finish(self, output: fx.Node) -> fx.GraphModule:
        self.graph.output(output)
        module = fx.GraphModule(self.parts, self.graph, class_name="Cell")
        parts = set(self.parts.values())
        for each in [module, *(child for child in module.children() if child not in parts)]:
            each.training = self.cell.training  # children keep their own mode
        return module


class _Builder:
    """Make the candidates of one place after the other, and what stands around the choice."""

    def __init__(self, given: Candidates, around: Edge | None) -> None:
        self.given = given
        self.around = around
        one = not isinstance(given, (Mapping, list, tuple))
        parts: list[Any] = [given] if one else list(_named(given).values())
        self.by_input = any(not isinstance(part, nn.Module) for part in parts)
        for part in parts:
            if not callable(part) or (one and isinstance(part, nn.Module)):
                raise SpaceError(
                    f"Cell got the operation {part!r}",
                    expected="a dict or list of modules or of factories (node_index, op_index, "
                    "input_index) -> module, or one factory",
                    fix="correct op_candidates",
                )

    def __call__(self, node: int, op: int | None, state: int) -> dict[str, nn.Module]:
        if not isinstance(self.given, (Mapping, list, tuple)):
            made = self.given(node, op, state)  # type: ignore[operator]
            return _named([made] if isinstance(made, nn.Module) else made)
        return {
            name: copy.deepcopy(part) if isinstance(part, nn.Module) else part(node, op, state)
            for name, part in _named(self.given).items()
        }

    def edge(
        self, choice: LayerChoice, node: int, op: int | None, state: int
    ) -> tuple[nn.Module, str]:
        """Return what stands on an edge, and the path of the choice in it, from a dot on."""
        if self.around is None:
            return choice, ""
        made = self.around(choice, node, op, state)
        for path, module in made.named_modules() if isinstance(made, nn.Module) else ():
            if module is choice:
                return made, f".{path}" if path else ""
        raise SpaceError(
            f"edge of Cell returned {type(made).__name__} for the state {state} of node {node}",
            expected="a module that holds the choice it was called with",
            fix="return a torch.nn.Module of which the choice is a submodule, or the choice",
        )


def _named(parts: Any) -> dict[str, Any]:
    if isinstance(parts, Mapping):
        return dict(parts)
    return {str(index): part for index, part in enumerate(parts)}


def _count_loose_ends(first: int, nodes: int, *chosen: Any) -> int:
    taken = {s for choice in chosen for s in (choice if isinstance(choice, tuple) else (choice,))}
    return sum(node not in taken for node in range(first, first + nodes))


def _check_numbers(nodes: object, ops: object, predecessors: object) -> None:
    given = {"num_nodes": nodes, "num_ops_per_node": ops, "num_predecessors": predecessors}
    for name, number in given.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise SpaceError(
                f"Cell got {name}={number!r}", expected="a whole number from 1 on", fix="correct it"
            )


def _check_word(name: str, word: object, words: tuple[str, ...]) -> None:
    if word not in words:
        raise SpaceError(
            f"Cell got {name}={word!r}",
            expected=f"one of {list(words)}",
            fix="correct it; see the docstring of Cell",
        )


def _check_processor(name: str, processor: Any) -> Any:
    """Return a module or function that a frozen network can hold, or None."""
    if processor is None or isinstance(processor, nn.Module):
        return processor
    home = sys.modules.get(getattr(processor, "__module__", None) or "")
    if getattr(home, getattr(processor, "__name__", ""), None) is not processor:
        raise SpaceError(
            f"Cell got {name}={processor!r}",
            expected="a module, or a function that can be imported by its name; a frozen network "
            "must find it again",
            fix="write it as a torch.nn.Module",
        )
    return processor
