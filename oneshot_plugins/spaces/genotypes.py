"""Read and write genotypes, the notation of cells that DARTS made common."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from torch import nn

from oneshot_core import Architecture, Cell, ModelSpace
from oneshot_core.errors import ArchitectureError


class Genotype(NamedTuple):
    """What the cells of a network are.

    Attributes:
        normal: for each node in turn as many pairs (operation, state) as it adds up. States are
            numbered: first the inputs of the cell, then its nodes.
        normal_concat: the states that are concatenated to the output.
        reduce: the same for reduction cells.
        reduce_concat: the same for reduction cells.

    Source: Liu et al., "DARTS", arXiv:1806.09055, code.
    """

    normal: Sequence[tuple[str, int]]
    normal_concat: Sequence[int]
    reduce: Sequence[tuple[str, int]]
    reduce_concat: Sequence[int]


LABELS = {"normal": "normal", "reduce": "reduce"}
"""Field of a genotype -> label of the cells that it describes."""


def from_genotype(
    genotype: Genotype | Mapping[str, Any] | tuple[Any, ...] | str,
    model: nn.Module,
    labels: Mapping[str, str] = LABELS,
) -> Architecture:
    """Return the architecture that a genotype stands for in a model with cells.

    Args:
        genotype: a :class:`Genotype`, any named tuple or dict with its fields, or text as DARTS
            logs it: ``"Genotype(normal=[('sep_conv_3x3', 1), ...], ...)"``. Text is parsed as
            literals, nothing in it is run.
        model: with a :class:`oneshot_core.Cell` for each label, before or after mutation; a network
            of :mod:`.cell_spaces`, for example.
        labels: field -> label, for cells with other labels. Where two fields have one label, as
            for :class:`~oneshot_plugins.spaces.cell_spaces.Pnas`, they must be equal.

    Raises:
        ArchitectureError: the text is no genotype, a field is missing, an operation or a state
            does not exist in the model, or the cells concatenate other nodes.
    """
    fields = _fields(genotype)
    choices: dict[str, object] = {}
    for field, label in labels.items():
        cell = _cell(model, label)
        pairs, concat = _field(fields, field), _field(fields, f"{field}_concat")
        found = _read(field, pairs, concat, cell)
        for name, choice in found.items():
            if choices.setdefault(name, choice) != choice:
                raise ArchitectureError(
                    f"the genotype decides {name!r} twice: {choices[name]!r} and {choice!r}",
                    expected=f"equal fields for cells of one label, {label!r}",
                    fix="correct the genotype, or labels={...}",
                )
    return Architecture(choices, ModelSpace(model))


def to_genotype(
    architecture: Mapping[str, object], model: nn.Module, labels: Mapping[str, str] = LABELS
) -> Genotype:
    """Return the genotype of an architecture; :func:`from_genotype` reads it back.

    Args:
        architecture: label -> choice, of ``model``.
        model: see :func:`from_genotype`.
        labels: see there; it must have the fields ``normal`` and ``reduce``.

    Raises:
        ArchitectureError: the architecture does not fit, or the model has no such cells.
    """
    known = Architecture(architecture, ModelSpace(model))
    fields: dict[str, Any] = {}
    for field, label in labels.items():
        cell = _cell(model, label)
        pairs = []
        taken: set[int] = set()
        for slot in cell.slots:
            for state in slot.members(known[f"{label}/{slot.name}"]):
                taken.add(state)
                pairs.append((str(known[f"{label}/{_operation_of(slot.name, state)}"]), state))
        fields[field], fields[f"{field}_concat"] = pairs, _concatenated(cell, taken)
    return Genotype(**fields)


def _read(field: str, pairs: Any, concat: Any, cell: Cell) -> dict[str, object]:
    given = _pairs(field, pairs)
    wanted = cell.num_nodes * cell.num_ops_per_node
    if len(given) != wanted:
        raise ArchitectureError(
            f"{field} of the genotype has {len(given)} pairs",
            expected=f"{wanted}, for {cell.num_nodes} nodes that add up {cell.num_ops_per_node} "
            "operations each",
            fix="use a genotype for cells of this size",
        )
    choices: dict[str, object] = {}
    remaining = iter(given)
    for slot in cell.slots:
        own = [next(remaining) for _ in range(slot.n_chosen)]
        states = [state for _, state in own]
        if len(set(states)) != len(states) or not all(0 <= s < slot.node for s in states):
            raise ArchitectureError(
                f"{field} of the genotype lets node {slot.node} take the states {states}",
                expected=f"{slot.n_chosen} of the states 0 to {slot.node - 1}, each once",
                fix="correct it, or use cells with inputs='free' if a state is taken twice",
            )
        choices[f"{cell.label}/{slot.name}"] = states if slot.n_chosen > 1 else states[0]
        for operation, state in own:
            name = f"{cell.label}/{_operation_of(slot.name, state)}"
            offered = _offered(cell, slot.operations[state])
            if operation not in offered:
                raise ArchitectureError(
                    f"{field} of the genotype has the operation {operation!r}, which {name!r} "
                    "does not offer",
                    expected=f"one of {offered}",
                    fix="build the model with that operation, or correct the name",
                )
            choices[name] = operation
    nodes = _concatenated(cell, {state for _, state in given})
    if sorted(concat) != nodes:
        raise ArchitectureError(
            f"{field}_concat of the genotype is {list(concat)}",
            expected=f"{nodes}, as cells with merge_op={cell.merge_op!r} return them",
            fix="build the model with the other merge_op",
        )
    return choices


def _operation_of(slot: str, state: int) -> str:
    """Return the name of an operation: ``input_2_0`` -> ``op_2_0``, ``input_2`` -> ``op_2_1``."""
    _, *numbers = slot.split("_")
    return "_".join(["op", *numbers, *([str(state)] if len(numbers) == 1 else [])])


def _offered(cell: Cell, key: str) -> list[str]:
    choice = cell.ops[key]
    candidates = choice.candidates
    assert isinstance(candidates, nn.ModuleDict)
    return list(candidates)


def _concatenated(cell: Cell, taken: Iterable[int]) -> list[int]:
    nodes = range(cell.num_predecessors, cell.num_predecessors + cell.num_nodes)
    return [node for node in nodes if cell.merge_op == "all" or node not in set(taken)]


def _cell(model: nn.Module, label: str) -> Cell:
    # A supernet module has the choice that it replaced as ``original``.
    for module in chain.from_iterable((m, getattr(m, "original", None)) for m in model.modules()):
        if isinstance(module, Cell) and module.label == label:
            return module
    raise ArchitectureError(
        f"the model has no Cell with the label {label!r}",
        expected="a model with cells, before it is frozen",
        fix="name the labels: labels={'normal': ..., 'reduce': ...}",
    )


def _pairs(field: str, given: Any) -> list[tuple[str, int]]:
    try:
        return [(str(operation), int(state)) for operation, state in given]
    except (TypeError, ValueError):
        raise ArchitectureError(
            f"{field} of the genotype is {given!r}",
            expected="pairs of operation and state, such as [('sep_conv_3x3', 0), ...]",
            fix="correct it",
        ) from None


def _field(fields: Mapping[str, Any], name: str) -> Any:
    if name not in fields:
        raise ArchitectureError(
            f"the genotype has no {name!r}",
            expected=f"the fields {list(Genotype._fields)}, it has {list(fields)}",
            fix="add it, or say with labels={...} which fields to read",
        )
    return fields[name]


def _fields(genotype: Any) -> dict[str, Any]:
    if isinstance(genotype, str):
        return _parse(genotype)
    if isinstance(genotype, Mapping):
        return dict(genotype)
    if isinstance(genotype, tuple):
        names = getattr(genotype, "_fields", Genotype._fields)
        return dict(zip(names, genotype, strict=False))
    raise _unreadable(genotype, "it is no named tuple, dict or text")


def _parse(text: str) -> dict[str, Any]:
    """Read text such as ``name = Genotype(normal=[...], normal_concat=range(2, 6), ...)``."""
    try:
        [statement] = ast.parse(text.strip()).body
    except (SyntaxError, ValueError) as error:
        raise _unreadable(text, f"it cannot be parsed ({error})") from None
    if not isinstance(statement, (ast.Assign, ast.Expr)):
        raise _unreadable(text, "it is no Genotype(...)")
    expression = statement.value
    try:
        if isinstance(expression, ast.Call):
            fields = dict(zip(Genotype._fields, map(_literal, expression.args), strict=False))
            named = {str(k.arg): _literal(k.value) for k in expression.keywords}
            return {**fields, **named}
        value = _literal(expression)
    except (ValueError, TypeError) as error:
        raise _unreadable(text, f"it holds more than literals ({error})") from None
    if not isinstance(value, dict):
        raise _unreadable(text, "it is no Genotype(...) and no dict")
    return value


def _literal(node: ast.expr) -> Any:
    """Evaluate a literal, or ``range(...)`` and ``list(range(...))`` of literals."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        arguments = [_literal(argument) for argument in node.args]
        if node.func.id in ("list", "tuple") and len(arguments) == 1:
            return list(arguments[0])
        if node.func.id == "range":
            return list(range(*arguments))
    if isinstance(node, ast.Dict):
        return {
            ast.literal_eval(key): _literal(value)
            for key, value in zip(node.keys, node.values, strict=True)
            if key is not None
        }
    return ast.literal_eval(node)


def _unreadable(genotype: object, why: str) -> ArchitectureError:
    shown = repr(genotype)
    return ArchitectureError(
        f"{shown if len(shown) < 200 else shown[:200] + '...'} cannot be read as a genotype: {why}",
        expected="Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=[...], reduce=[...], "
        "reduce_concat=[...])",
        fix="pass that, as a named tuple, a dict or text",
    )
