"""NAS-Bench-101: cells that are any small graph, whose vertices share the channels of the output.

How wide a vertex is follows from the whole graph. The weights are kept once, for a vertex as wide
as the output, and a narrower one uses the first channels of everything. A forward pass builds the
cell that is asked for without data, gives it views of those weights, and runs it; the frozen cell
is built in the same way with copies of them. So both compute the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from oneshot_core import Architecture, BaseSuperNetModule, Decision, DecisionTable
from oneshot_core.errors import ArchitectureError, SpaceError, StrategyError
from oneshot_core.hooks import Memo, Options
from oneshot_core.space import (
    Choice,
    Diagram,
    Link,
    MutableModule,
    Node,
    ParameterSpec,
    Patch,
    Value,
    ValueChoice,
    apply,
    constrain,
)
from oneshot_plugins.elastic.rule import LayerRule, tensors_of
from oneshot_plugins.supernets.joint import joint

from .graph import GraphWhenFrozen

KEPT = 256
"""Cells without data that are kept for the next time."""

Sources = tuple[int, ...]
"""Vertices that edges come from; 0 is the input."""
UNUSED = "unused"
"""In the place of sources, for a vertex that is not in use."""


def _conv_bn_relu(inputs: int, outputs: int, kernel: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs, momentum=0.003),
        nn.ReLU(),
    )


def projection(inputs: int, outputs: int) -> nn.Module:
    """Return the layer that leads from the input into a vertex."""
    return _conv_bn_relu(inputs, outputs, 1)


def _conv3x3(channels: int) -> nn.Module:
    return _conv_bn_relu(channels, channels, 3)


def _conv1x1(channels: int) -> nn.Module:
    return _conv_bn_relu(channels, channels, 1)


def _maxpool3x3(channels: int) -> nn.Module:
    return nn.MaxPool2d(3, stride=1, padding=1)


OPERATIONS: dict[str, Callable[[int], nn.Module]] = {
    "conv3x3-bn-relu": _conv3x3,
    "conv1x1-bn-relu": _conv1x1,
    "maxpool3x3": _maxpool3x3,
}
"""The three operations under the names that the benchmark gives them."""


class Wiring(NamedTuple):
    """A cell: where the edges into each vertex come from, and what its vertices do.

    Args:
        sources: of vertices 1, 2, ...; only of those in use.
        output: where the edges into the output come from.
        operations: names, of vertices 1, 2, ...
    """

    sources: tuple[Sources, ...]
    output: Sources
    operations: tuple[str, ...]

    def channels(self, outputs: int) -> tuple[int, ...]:
        """Return how wide vertices 1, 2, ... are, if the output has ``outputs`` channels.

        Those that lead to the output share its channels, the first ones taking what is left over;
        each of the others is as wide as the widest that it leads to.

        Source: Ying et al., "NAS-Bench-101", arXiv:1902.09635, appendix S2, and
        ``compute_vertex_channels`` of its code.
        """
        last = [vertex for vertex in self.output if vertex]
        share, rest = divmod(outputs, len(last)) if last else (0, 0)
        widths = {vertex: share + (place < rest) for place, vertex in enumerate(last)}
        count = len(self.sources)
        for vertex in range(count, 0, -1):
            if vertex not in widths:
                after = range(vertex + 1, count + 1)
                widths[vertex] = max(widths[n] for n in after if vertex in self.sources[n - 1])
        return tuple(widths[vertex] for vertex in range(1, count + 1))


class WiredCell(GraphWhenFrozen):
    """One cell of NAS-Bench-101.

    Args:
        wiring: the graph.
        inputs: channels of the input.
        outputs: channels of the output.
        operations: name -> factory of an operation with so many channels.
        project: factory of the layer from the input into a vertex.
    """

    def __init__(
        self,
        wiring: Wiring,
        inputs: int,
        outputs: int,
        operations: Mapping[str, Callable[[int], nn.Module]],
        project: Callable[[int, int], nn.Module],
    ) -> None:
        super().__init__()
        self.wiring = wiring
        self.channels = wiring.channels(outputs)
        self.projections = nn.ModuleDict()
        self.operations = nn.ModuleDict()
        steps = zip(wiring.sources, wiring.operations, self.channels, strict=True)
        for vertex, (sources, name, channels) in enumerate(steps, start=1):
            if 0 in sources:
                self.projections[str(vertex)] = project(inputs, channels)
            self.operations[str(vertex)] = nn.ModuleDict({name: operations[name](channels)})
        if 0 in wiring.output:
            self.projections["output"] = project(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return shape ``(N, outputs, H, W)``."""
        known = [x]
        for vertex, sources in enumerate(self.wiring.sources, start=1):
            channels = self.channels[vertex - 1]
            parts = [
                self.projections[str(vertex)](x)
                if source == 0
                else known[source]
                if self.channels[source - 1] == channels
                else known[source][:, :channels]
                for source in sources
            ]
            (operation,) = self.operations[str(vertex)].values()  # type: ignore[operator]
            known.append(operation(_added(parts)))
        last = [known[source] for source in self.wiring.output if source]
        ends = [last[0] if len(last) == 1 else torch.cat(last, 1)] if last else []
        if 0 in self.wiring.output:
            ends.append(self.projections["output"](x))
        return _added(ends)


def _added(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


class NasBench101Cell(MutableModule):
    """A cell whose edges and operations are chosen.

    Labels: ``{label}/output`` and ``{label}/input{i}`` are tuples of the vertices that edges come
    from, 0 being the input, or ``"unused"`` for a vertex that is not in use; ``{label}/op{i}`` is
    the operation of vertex ``i``. Constraints make them cells: every vertex in use lies on a path
    from the input to the output, those in use come first, there are at most ``edges`` edges, and
    a vertex that is not in use has the first operation, so that no cell is counted twice under
    one numbering of its vertices. Cells with one label decide alike.

    With the defaults 1,293,208 cells. The paper counts 423,624: it identifies those that are the
    same graph with vertices numbered differently, as this space does not.

    It works with strategies that take one candidate at a time. Superposing edges would need
    vertices of several widths at once, which is no weighted sum of anything; it is refused.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        operations: name -> factory, called with the number of channels, in and out. Narrower ones
            take the first entries of every tensor of the widest.
        project: factory of the layer from the input into a vertex, called with channels in and out.
        vertices: how many at most, input and output included.
        edges: how many at most.
        label: see above.

    Raises:
        SpaceError: there are less than three vertices, or fewer edges than a path needs; an
            operation holds choices, or has tensors that cannot be cut.

    Source: Ying et al., "NAS-Bench-101", arXiv:1902.09635, section 2;
    ``nni.nas.hub.pytorch.modules.NasBench101Cell``, which no one-shot strategy there can train.
    """

    sealed = True  # operations are cut to the width of a vertex: others in their place would not be

    def __init__(
        self,
        inputs: int,
        outputs: int,
        operations: Mapping[str, Callable[[int], nn.Module]] | None = None,
        project: Callable[[int, int], nn.Module] = projection,
        *,
        vertices: int = 7,
        edges: int = 9,
        label: str = "cell",
    ) -> None:
        super().__init__()
        if vertices < 3 or edges < vertices - 1:
            raise SpaceError(
                f"NasBench101Cell {label!r} has vertices={vertices} and edges={edges}",
                expected="at least 3 vertices, and the edges of a path through all of them",
                fix="leave them at 7 and 9, as in the benchmark",
            )
        self.inputs, self.outputs = inputs, outputs
        self.factories = dict(OPERATIONS if operations is None else operations)
        self.project = project
        self.label = label
        inner = range(1, vertices - 1)
        self.values = _values(list(self.factories), inner, label)
        constrain(self, *_conditions(self.values, inner, edges, label))
        self.projections = nn.ModuleDict(
            {str(name): project(inputs, outputs) for name in (*inner, "output")}
        )
        self.operations = nn.ModuleDict(
            {
                str(vertex): nn.ModuleDict({n: f(outputs) for n, f in self.factories.items()})
                for vertex in inner
            }
        )
        self._inner = inner
        self._kept: dict[Wiring, WiredCell] = {}
        self._check(len(inner))

    def specs_at(self, path: str) -> tuple[ParameterSpec, ...]:
        return tuple(value.spec for value in self.values.values())

    def diagram_at(self, path: str) -> Diagram:
        """Return the graph of vertices, which are operations; edges are chosen."""
        vertices = [Node(str(v), f"{self.label}/op{v}") for v in self._inner]
        output = len(vertices) + 1
        into = {**{v: f"input{v}" for v in self._inner}, output: "output"}
        links = [
            Link(source, target, taken_by=f"{self.label}/{name}")
            for target, name in into.items()
            for source in range(target)
        ]
        return Diagram(self.label, [Node("input"), *vertices, Node("output")], links)

    def wiring(self, chosen: Mapping[str, Choice]) -> Wiring:
        """Return the cell that ``chosen`` describes.

        Raises:
            ArchitectureError: it is none; the constraints of the model space say why.
        """
        sources: list[Sources] = []
        names: list[str] = []
        for vertex in self._inner:
            taken = chosen[f"{self.label}/input{vertex}"]
            if taken == UNUSED:
                break
            sources.append(cast(Sources, taken))
            names.append(str(chosen[f"{self.label}/op{vertex}"]))
        output = cast(Sources, chosen[f"{self.label}/output"])
        led = {source for each in (*sources, output) for source in each}
        if not led >= set(range(1, len(sources) + 1)) or max(led) > len(sources):
            raise ArchitectureError(
                f"{dict(chosen)} is no cell",
                expected="vertices in use come first, and each leads to the output",
                fix="draw architectures from the model space, which has constraints for that",
            )
        return Wiring(tuple(sources), output, tuple(names))

    def build(self, wiring: Wiring) -> WiredCell:
        """Return a cell without data, with the modes and settings of the modules here."""
        with torch.device("meta"):
            cell = WiredCell(wiring, self.inputs, self.outputs, self.factories, self.project)
        self.prepare(cell)
        return cell

    def prepare(self, cell: WiredCell) -> None:
        """Pass on modes, and what recalibration sets on BatchNorm."""
        here = dict(self.named_modules())
        for name, module in cell.named_modules():
            module.training = here[name].training
            if isinstance(module, nn.modules.batchnorm._NormBase):
                module.momentum = here[name].momentum

    def tensors(self, cell: WiredCell) -> dict[str, Tensor]:
        """Return the tensors of ``cell``: views of those here."""
        return LayerRule().cut(tensors_of(self), cell)

    def run(self, chosen: Mapping[str, Choice], x: Tensor) -> Tensor:
        """Compute the cell that ``chosen`` describes."""
        wiring = self.wiring(chosen)
        if wiring not in self._kept:
            if len(self._kept) == KEPT:
                self._kept.clear()
            self._kept[wiring] = self.build(wiring)
        cell = self._kept[wiring]
        self.prepare(cell)
        return functional_call(cell, self.tensors(cell), (x,))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """Compute the default cell, a chain of the first operation.

        Args:
            x: shape ``(N, inputs, H, W)``.

        Returns:
            Shape ``(N, outputs, H, W)``.
        """
        return self.run({value.label: value.spec.default for value in self.values.values()}, x)

    def select_at(self, path: str, chosen: Mapping[str, Choice]) -> nn.Module:
        cell = self.build(self.wiring(chosen))
        own = tensors_of(self)
        for name, tensor in self.tensors(cell).items():
            owner, leaf = cell.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]
            if tensor is own[name]:
                setattr(owner, leaf, tensor)
            elif leaf in owner._parameters:
                copied = nn.Parameter(tensor.detach().clone(), own[name].requires_grad)
                setattr(owner, leaf, copied)
            else:
                setattr(owner, leaf, tensor.detach().clone())
        return cell

    def extra_repr(self) -> str:
        """Show the size."""
        return f"{self.inputs}, {self.outputs}, label={self.label!r}"

    def __getstate__(self) -> Any:
        return {**self.__dict__, "_kept": {}}

    def _check(self, inner: int) -> None:
        widest = {name: tensors_of(m) for name, m in self.operations["1"].items()}  # type: ignore[operator]
        for module in self.modules():
            if isinstance(module, MutableModule) and module is not self:
                raise SpaceError(
                    f"an operation of NasBench101Cell {self.label!r} holds a "
                    f"{type(module).__name__}",
                    expected="plain operations, which are cut to the width of their vertex",
                    fix="offer what can be chosen as further operations",
                )
        for width in {self.outputs // n + more for n in range(1, inner + 1) for more in (0, 1)}:
            if not 0 < width <= self.outputs:
                continue
            for name, make in self.factories.items():
                with torch.device("meta"):
                    narrow = {n: t.shape for n, t in tensors_of(make(width)).items()}
                wide = {n: t.shape for n, t in widest[name].items()}
                fits = narrow.keys() == wide.keys() and all(
                    len(narrow[n]) == len(wide[n])
                    and all(a <= b for a, b in zip(narrow[n], wide[n], strict=True))
                    for n in narrow
                )
                if not fits:
                    raise SpaceError(
                        f"the operation {name!r} of NasBench101Cell {self.label!r} has tensors "
                        f"{narrow} with {width} channels and {wide} with {self.outputs}",
                        expected="the same names, and sizes that grow with the channels",
                        fix="let the factory build the same layers for every width",
                    )


class MixedNasBench101Cell(BaseSuperNetModule):
    """Run the cell that the decisions describe, with its part of the shared weights.

    Args:
        cell: what is replaced; its submodules are shared.
        decisions: one for each label.
    """

    sealed = True

    def __init__(self, cell: NasBench101Cell, *decisions: Decision) -> None:
        super().__init__(*decisions)
        self.__dict__["cell"] = cell  # by plain reference: it is no longer in the tree
        self.projections, self.operations = cell.projections, cell.operations
        self.training = cell.training
        for name, value in cell.__dict__.items():
            if "hooks" in name or isinstance(value, Patch):  # its constraints are ours now
                self.__dict__[name] = value

    @property
    def original(self) -> NasBench101Cell:
        """The cell that this module replaced."""
        return cast(NasBench101Cell, self.__dict__["cell"])

    @classmethod
    def mutate(
        cls, module: nn.Module, name: str, memo: Memo, mutate_kwargs: Options
    ) -> MixedNasBench101Cell | None:
        """Replace a cell; the mutation hook.

        Raises:
            StrategyError: the strategy superposes candidates.
        """
        if type(module) is not NasBench101Cell:
            return None
        table = cast(DecisionTable, mutate_kwargs["decisions"])
        decisions = [table.decide(spec, path=name) for spec in module.specs_at(name)]
        if any(decision.superposes and decision.spec.size > 1 for decision in decisions):
            raise StrategyError(
                f"the NasBench101Cell at {name!r} cannot be superposed: the width of a vertex "
                "depends on all edges",
                expected="a strategy that takes one candidate at a time",
                fix="use a strategy that samples, such as 'random', or a NasBench201Cell",
            )
        return cls(module, *decisions)

    def select(self, chosen: Mapping[str, Choice]) -> nn.Module:
        self._pass_mode()
        return self.original.select_at("", chosen)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the cell that the decisions take.

        Raises:
            StrategyError: they take several candidates of a label.
        """
        parts = joint(self.decisions)
        if len(parts) != 1:
            raise StrategyError(
                f"the NasBench101Cell {self.original.label!r} was given {len(parts)} cells",
                expected="one candidate of every label",
                fix="use a strategy that samples, such as 'random'",
            )
        chosen, weight = parts[0]
        self._pass_mode()
        out = self.original.run(chosen, x)
        return out if weight is None else weight * out

    def _pass_mode(self) -> None:
        self.original.training = self.training  # the modules below are shared


def _values(operations: Sequence[str], inner: range, label: str) -> dict[str, ValueChoice]:
    """Return name -> value: the output first, each vertex before those that lead to it.

    A constraint is then known to be broken as early as can be.
    """
    last = len(inner)
    found = {"output": ValueChoice(_subsets(last + 1), label=f"{label}/output", default=(last,))}
    for vertex in reversed(inner):
        found[f"input{vertex}"] = ValueChoice(
            [UNUSED, *_subsets(vertex)], label=f"{label}/input{vertex}", default=(vertex - 1,)
        )
        found[f"op{vertex}"] = ValueChoice(operations, label=f"{label}/op{vertex}")
    return found


def _subsets(n: int) -> list[Sources]:
    """Return the subsets of ``range(n)`` that are not empty."""
    return [tuple(i for i in range(n) if bits >> i & 1) for bits in range(1, 2**n)]


def _conditions(
    values: Mapping[str, ValueChoice], inner: range, edges: int, label: str
) -> Iterator[Value]:
    later: list[ValueChoice] = [values["output"]]
    for vertex in reversed(inner):
        own = values[f"input{vertex}"]
        yield apply(used_if_it_leads_on, vertex, own, *later)
        yield apply(at_most, edges, own, *later)
        if vertex > 1:
            yield apply(used_before, values[f"input{vertex - 1}"], own)
        operation = values[f"op{vertex}"]
        yield apply(first_if_unused, operation.spec.candidates[0], operation, own)
        later.insert(0, own)


def used_if_it_leads_on(vertex: int, own: Sources | str, *later: Sources | str) -> bool:
    """Say whether a vertex has edges into it just if later vertices have edges from it."""
    leads = any(vertex in sources for sources in later if not isinstance(sources, str))
    return (own != UNUSED) == leads


def at_most(edges: int, *sources: Sources | str) -> bool:
    """Say whether there are so many edges at most."""
    return sum(len(each) for each in sources if not isinstance(each, str)) <= edges


def used_before(before: Sources | str, after: Sources | str) -> bool:
    """Say whether a vertex is in use if the one after it is."""
    return before != UNUSED or after == UNUSED


def first_if_unused(first: str, operation: str, own: Sources | str) -> bool:
    """Say whether a vertex that is not in use has the first operation."""
    return own != UNUSED or operation == first


class NasBench101(GraphWhenFrozen):
    """The network of NAS-Bench-101: a stem, three stacks of three equal cells, a classifier.

    Between stacks a max-pooling halves height and width, and the channels double.

    Verified: the Inception-like cell that the benchmark's README queries has 2,694,282 trainable
    parameters here as there.

    Args:
        width: channels of the first stack.
        stacks: how many there are.
        cells: of each stack.
        classes: of the classifier.
        vertices: as of :class:`NasBench101Cell`.
        edges: as of :class:`NasBench101Cell`.
        operations: as of :class:`NasBench101Cell`.
        label: as of :class:`NasBench101Cell`.

    Source: Ying et al., "NAS-Bench-101", arXiv:1902.09635, section 2.
    """

    def __init__(
        self,
        width: int = 128,
        stacks: int = 3,
        cells: int = 3,
        classes: int = 10,
        *,
        vertices: int = 7,
        edges: int = 9,
        operations: Mapping[str, Callable[[int], nn.Module]] | None = None,
        label: str = "cell",
    ) -> None:
        super().__init__()
        self.stem = _conv_bn_relu(3, width, 3)
        layers: list[nn.Module] = []
        inputs = width
        for stack in range(stacks):
            if stack:
                layers.append(nn.MaxPool2d(2))
                width *= 2
            for _ in range(cells):
                layers.append(
                    NasBench101Cell(
                        inputs, width, operations, vertices=vertices, edges=edges, label=label
                    )
                )
                inputs = width
        self.cells = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images.

        Args:
            x: shape ``(N, 3, H, W)``, 32 x 32 in the benchmark.

        Returns:
            Logits, shape ``(N, classes)``.
        """
        features: Tensor = self.cells(self.stem(x))
        return self.classifier(features.mean((2, 3)))  # type: ignore[no-any-return]


def read_module(
    matrix: Sequence[Sequence[int]],
    operations: Sequence[str],
    *,
    label: str = "cell",
    vertices: int = 7,
) -> Architecture:
    """Return the architecture that NAS-Bench-101 writes as a matrix and a list of operations.

    Vertices on no path from input to output are dropped, as the benchmark does.

    Args:
        matrix: ``matrix[i][j]`` is 1 for an edge from ``i`` to ``j > i``.
        operations: of all vertices; the first and last do not matter.
        label: of the cells.
        vertices: as of :class:`NasBench101Cell`.

    Raises:
        ArchitectureError: sizes do not fit, an edge leads back, or no path leads to the output.
    """
    n = len(matrix)
    square = all(len(row) == n for row in matrix) and len(operations) == n
    if not square or n < 2 or any(matrix[i][j] for i in range(n) for j in range(i + 1)):
        raise _no_module(matrix, operations, "a square matrix of edges to later vertices")
    reached, reaching = {0}, {n - 1}
    for j in range(1, n):
        reached |= {j} if any(matrix[i][j] for i in reached) else set()
    for i in reversed(range(n - 1)):
        reaching |= {i} if any(matrix[i][j] for j in reaching) else set()
    kept = sorted(reached & reaching)
    if len(kept) < 2 or len(kept) > vertices:
        raise _no_module(
            matrix, operations, f"a path to the output and {vertices} vertices at most"
        )
    place = {vertex: index for index, vertex in enumerate(kept)}

    def sources(j: int) -> Sources:
        return tuple(place[i] for i in kept if i < j and matrix[i][j])

    choices: dict[str, object] = {f"{label}/output": sources(n - 1)}
    inner = kept[1:-1]
    for vertex in range(1, vertices - 1):
        used = vertex <= len(inner)
        at = inner[vertex - 1] if used else -1
        choices[f"{label}/input{vertex}"] = sources(at) if used else UNUSED
        choices[f"{label}/op{vertex}"] = operations[at] if used else next(iter(OPERATIONS))
    return Architecture(choices)


def write_module(
    architecture: Mapping[str, object], *, label: str = "cell"
) -> tuple[list[list[int]], list[str]]:
    """Return matrix and operations of an architecture; the inverse of :func:`read_module`.

    Raises:
        ArchitectureError: it does not decide a cell with that label.
    """
    into: list[Sequence[int]] = []
    names = ["input"]
    while architecture.get(f"{label}/input{len(into) + 1}", UNUSED) != UNUSED:
        vertex = len(into) + 1
        into.append(cast(Sequence[int], architecture[f"{label}/input{vertex}"]))
        names.append(str(architecture[f"{label}/op{vertex}"]))
    if f"{label}/output" not in architecture:
        raise ArchitectureError(
            f"the architecture decides {list(architecture)}",
            expected=f"{label}/output and its like",
            fix="give the label of the cell",
        )
    into.append(cast(Sequence[int], architecture[f"{label}/output"]))
    n = len(into) + 1
    matrix = [[int(j > 0 and i in into[j - 1]) for j in range(n)] for i in range(n)]
    return matrix, [*names, "output"]


def _no_module(matrix: object, operations: object, expected: str) -> ArchitectureError:
    return ArchitectureError(
        f"{matrix!r} with {operations!r} is no cell of NAS-Bench-101",
        expected=f"{expected}, and an operation for each vertex",
        fix="correct the matrix",
    )
