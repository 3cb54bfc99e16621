"""How the choices of a module tree become nodes: what each decides, and what depends on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from ..errors import LabelError
from ..space.mutable import MutableModule
from ..space.spec import Candidate, Choice, ParameterSpec
from ..supernet import BaseSuperNetModule


@dataclass(frozen=True)
class Gate:
    """Nodes that decide something only under a condition on some labels."""

    labels: frozenset[str]
    opens: Callable[[Mapping[str, Choice]], bool]
    nodes: list[Node]


@dataclass
class Node:
    """One choice module: what it decides, and the choices below it."""

    specs: tuple[ParameterSpec, ...]
    gates: list[Gate] = field(default_factory=list)
    always: list[Node] = field(default_factory=list)


@dataclass(frozen=True)
class _Taken:
    """Whether a candidate is taken."""

    spec: ParameterSpec
    candidate: Candidate

    def __call__(self, chosen: Mapping[str, Choice]) -> bool:
        return self.candidate in self.spec.members(chosen[self.spec.label])


def opened(node: Node, chosen: Mapping[str, Choice]) -> Iterator[Node]:
    """Yield the nodes below ``node`` whose conditions are decided and hold."""
    for gate in node.gates:
        if gate.labels <= chosen.keys() and gate.opens(chosen):
            yield from gate.nodes


def closure(nodes: Iterable[Node], below: Callable[[Node], Iterable[Node]]) -> list[Node]:
    """Return ``nodes`` and all that ``below`` leads to from there, each node once."""
    found: dict[int, Node] = {}
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if id(node) not in found:
            found[id(node)] = node
            stack += below(node)
    return list(found.values())


def active_nodes(nodes: Iterable[Node], chosen: Mapping[str, Choice]) -> list[Node]:
    """Return the nodes at and below ``nodes`` that decide something under ``chosen``."""
    return closure(nodes, lambda node: [*node.always, *opened(node, chosen)])


def reachable(nodes: Iterable[Node]) -> list[Node]:
    """Return ``nodes`` and all below them, active or not."""

    def below(node: Node) -> Iterator[Node]:
        yield from node.always
        for gate in node.gates:
            yield from gate.nodes

    return closure(nodes, below)


class Reader:
    """Read nodes from modules; a module in several places becomes one node."""

    def __init__(self, root: nn.Module, specs: dict[str, ParameterSpec]) -> None:
        self.paths = {module: path for path, module in root.named_modules()}
        self.known: dict[nn.Module, Node] = {}
        self.used_at: dict[str, list[str]] = {}
        self.impossible: list[tuple[Node, str, str, Mapping[str, Choice], str]] = []
        self.specs = specs

    def nodes(
        self, modules: Iterable[nn.Module], leave_out: Iterable[nn.Module] = ()
    ) -> list[Node]:
        """Return the nearest choices at or below ``modules``, in walk order."""
        found: dict[int, Node] = {}
        seen: set[nn.Module] = set(leave_out)
        stack = list(reversed(list(modules)))
        while stack:
            module = stack.pop()
            if module in seen:
                continue
            seen.add(module)
            if isinstance(module, (MutableModule, BaseSuperNetModule)):
                node = self.node(module)
                found[id(node)] = node
            else:
                stack += reversed(list(module.children()))
        return list(found.values())

    def node(self, module: MutableModule | BaseSuperNetModule) -> Node:
        if module in self.known:
            return self.known[module]
        path = self.paths[module]
        if isinstance(module, MutableModule):
            specs = module.specs_at(path)
            branches, gates = module.branches_at(path), module.gates_at(path)
            impossible = module.impossible_at(path)
        else:
            specs = tuple(module.search_space_spec().values())
            branches, gates = module.branches(), module.gates()
            impossible = module.impossible()
        name = type(module).__name__
        node = self.known[module] = Node(specs)
        self.impossible += [(node, path, name, chosen, why) for chosen, why in impossible]
        for spec in specs:
            known = self.specs.setdefault(spec.label, spec)
            if known != spec:
                raise LabelError(
                    f"the label {spec.label!r} names two different choices.\n"
                    f"  the one at {self.used_at[spec.label][0]!r} offers {known.offer}, "
                    f"the one at {path!r} offers {spec.offer}\n"
                    "  fix: give the second one another label, or the same candidates"
                )
            self.used_at.setdefault(spec.label, []).append(path)
        by_label = {spec.label: spec for spec in specs}
        conditions: list[tuple[frozenset[str], Callable[..., bool], Sequence[nn.Module]]] = [
            (frozenset([label]), _Taken(by_label[label], candidate), parts)
            for label, by_candidate in branches.items()
            for candidate, parts in by_candidate.items()
        ]
        conditions += [(frozenset(value.specs), value.evaluate, parts) for value, parts in gates]
        conditional: set[nn.Module] = set()
        for labels, opens, parts in conditions:
            conditional.update(parts)
            if below := self.nodes(parts):
                node.gates.append(Gate(labels, opens, below))
        independent = _independent(specs, node.gates)
        if len(independent) > 1:
            node.specs, node.gates, node.always = (), [], independent
        node.always = [*node.always, *self.nodes(module.children(), leave_out=conditional)]
        return node


def _independent(specs: Iterable[ParameterSpec], gates: Iterable[Gate]) -> list[Node]:
    """Part what one module decides into nodes that depend on each other in no gate.

    Their counts then multiply: a cell with ten inputs is ten small choices.
    """
    parts = [Node((spec,)) for spec in specs]
    for gate in gates:
        joined = [part for part in parts if any(s.label in gate.labels for s in part.specs)]
        if not joined:  # it is about what other modules decide
            parts.append(Node((), [gate]))
            continue
        first, *others = joined
        first.specs = tuple(spec for part in joined for spec in part.specs)
        first.gates = [*(known for part in joined for known in part.gates), gate]
        parts = [part for part in parts if not any(part is other for other in others)]
    return parts
