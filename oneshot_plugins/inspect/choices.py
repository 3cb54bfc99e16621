"""The choices in a module tree: where they are, and on what they depend."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from oneshot_core.model_space import ModelSpace
from oneshot_core.space import Branches, Candidate, Gates, MutableModule, ParameterSpec
from oneshot_plugins.costs.sizes import ChoiceModule, specs_of

from .report import ChoiceInfo


@dataclass
class Places:
    """Every choice module of a tree, by path, and the conditions under which each runs.

    Args:
        root: a model.

    Attributes:
        modules: path -> choice module, each once, in walk order.
        aliases: path -> further paths of the same module.
        when: path -> alternatives, each a condition in words; one empty if it always runs.
    """

    root: nn.Module
    modules: dict[str, ChoiceModule] = field(default_factory=dict)
    aliases: dict[str, list[str]] = field(default_factory=dict)
    when: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._paths = {module: path for path, module in self.root.named_modules()}
        self._seen: set[tuple[nn.Module, str]] = set()
        self._visit(self.root, "", {})

    def _visit(self, module: nn.Module, condition: str, pending: dict[nn.Module, str]) -> None:
        """Note what is below ``module``, where ``pending`` parts have a condition to come."""
        stack = [(module, condition, pending)]
        while stack:
            module, condition, pending = stack.pop()
            if module in pending:
                condition = _and(condition, pending[module])
                pending = {part: words for part, words in pending.items() if part is not module}
            if (module, condition) in self._seen:
                continue
            self._seen.add((module, condition))
            path = self._paths[module]
            if isinstance(module, ChoiceModule):
                self.modules.setdefault(path, module)
                self.when.setdefault(path, []).append(condition)
                pending = {**pending, **conditional_parts(module, path)}
            for name, child in reversed(list(module._modules.items())):
                if child is None:
                    continue
                alias = f"{path}.{name}".lstrip(".")
                if alias != self._paths[child] and isinstance(child, ChoiceModule):
                    known = self.aliases.setdefault(self._paths[child], [])
                    if alias not in known:
                        known.append(alias)
                stack.append((child, condition, pending))

    def of(self, label: str) -> list[str]:
        """Return the paths of the modules that carry ``label``."""
        return [p for p, m in self.modules.items() if label in specs_of(m, p)]


def branches_of(module: ChoiceModule, path: str) -> tuple[Branches, Gates]:
    """Return what runs only sometimes in a choice, mutated or not."""
    if isinstance(module, MutableModule):
        return module.branches_at(path), module.gates_at(path)
    return module.branches(), module.gates()


def describe(space: ModelSpace, places: Places) -> tuple[ChoiceInfo, ...]:
    """Return what is to be said about each label, in walk order."""
    return tuple(_describe(spec, space, places) for spec in space.specs.values())


def _describe(spec: ParameterSpec, space: ModelSpace, places: Places) -> ChoiceInfo:
    paths = places.of(spec.label)
    when: list[str] = list(dict.fromkeys(w for path in paths for w in places.when[path]))
    interval = None
    if spec.interval is not None:
        interval = (spec.interval.low, spec.interval.high, spec.interval.log)
    return ChoiceInfo(
        label=spec.label,
        kind=", ".join(dict.fromkeys(type(places.modules[p]).__name__ for p in paths)),
        paths=tuple(p for path in paths for p in (path, *places.aliases.get(path, ()))),
        candidates=spec.candidates,
        interval=interval,
        n_chosen=spec.n_chosen,
        default=spec.default,
        when=() if "" in when else tuple(when),
        constraints=tuple(repr(c) for c in space.constraints if spec.label in c.specs),
    )


def conditional_parts(module: ChoiceModule, path: str) -> dict[nn.Module, str]:
    """Return the submodules that run only under a condition, and the condition in words."""
    branches, gates = branches_of(module, path)
    found: dict[nn.Module, str] = {}
    for label, by_candidate in branches.items():
        taken: dict[nn.Module, list[Candidate]] = {}
        for candidate, parts in by_candidate.items():
            for part in parts:
                taken.setdefault(part, []).append(candidate)
        for part, candidates in taken.items():
            if len(candidates) == len(by_candidate):
                continue  # whatever is taken
            words = f"{label} = {candidates[0]}"
            if len(candidates) > 1:
                words = f"{label} in {', '.join(map(str, candidates))}"
            found[part] = f"{found[part]} or {words}" if part in found else words
    for condition, parts in gates:
        for part in parts:
            words = repr(condition).removeprefix("(").removesuffix(")")
            found[part] = f"{found[part]} or {words}" if part in found else words
    return found


def _and(one: str, other: str) -> str:
    return f"{one} and {other}" if one else other
