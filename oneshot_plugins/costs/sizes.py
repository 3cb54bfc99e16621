"""How many parameters the networks of a model space have: the smallest and the largest.

Networks are counted without being built: each choice is asked once for what it becomes, and the
parameters of a network are the union of those of its parts, shared ones once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import cast

from torch import nn

from oneshot_core.model_space import ModelSpace
from oneshot_core.space import Choice, MutableModule, ParameterSpec
from oneshot_core.supernet import BaseSuperNetModule

ChoiceModule = MutableModule | BaseSuperNetModule

MAX_ENUMERATED = 2000
"""Spaces are enumerated up to this size."""
SWEEPS = 10
"""How often the greedy search goes over all choices at most."""


class Counter:
    """Counts the parameters of frozen networks.

    Args:
        root: a model with choices.
    """

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.paths = {module: path for path, module in root.named_modules()}
        self.specs: dict[nn.Module, tuple[str, ...]] = {
            module: tuple(specs_of(module, path))
            for module, path in self.paths.items()
            if isinstance(module, ChoiceModule)
        }
        self.parts: dict[object, _Part] = {}

    def __call__(self, architecture: Mapping[str, Choice]) -> int:
        """Return the number of parameters of the network with ``architecture``."""
        found: dict[object, int] = {}
        seen: set[nn.Module] = set()
        stack = [self._part(self.root, self.root)]
        while stack:
            part = stack.pop()
            found.update(part.parameters)
            for module in part.choices:
                if module not in seen:
                    seen.add(module)
                    chosen = {label: architecture[label] for label in self.specs[module]}
                    stack.append(self._selected(module, chosen))
        return sum(found.values())

    def _selected(self, module: nn.Module, chosen: Mapping[str, Choice]) -> _Part:
        key = (module, *chosen.values())
        if key not in self.parts:
            if isinstance(module, MutableModule):
                selected = module.select_at(self.paths[module], chosen)
            else:
                selected = cast(BaseSuperNetModule, module).select(chosen)
            self.parts[key] = _Part(selected, self.specs)
        return self.parts[key]

    def _part(self, key: object, module: nn.Module) -> _Part:
        if key not in self.parts:
            self.parts[key] = _Part(module, self.specs)
        return self.parts[key]


class _Part:
    """The parameters in ``root`` that are always there, and the choices between them."""

    def __init__(self, root: nn.Module, choices: Mapping[nn.Module, object]) -> None:
        self.root = root  # keeps what is identified by its id below
        self.parameters: dict[object, int] = {}
        self.choices: list[nn.Module] = []
        seen: set[nn.Module] = set()
        stack = [root]
        while stack:
            module = stack.pop()
            if module in seen:
                continue
            seen.add(module)
            if module in choices:
                self.choices.append(module)
                continue
            for parameter in module._parameters.values():
                if parameter is not None:
                    # Cut in the same way from one parameter: one parameter, when frozen.
                    key = getattr(parameter, "_oneshot_slice", id(parameter))
                    self.parameters[key] = parameter.numel()
            stack += module.children()


def extremes(
    space: ModelSpace, count: Callable[[Mapping[str, Choice]], int]
) -> tuple[dict[str, Choice], dict[str, Choice], str]:
    """Return the architectures with the fewest and the most parameters, and how they were found."""
    if space.size <= MAX_ENUMERATED:
        counted = [(count(architecture), architecture) for architecture in space.architectures()]
        # The first of equals: min and max of Python keep it.
        smallest = min(counted, key=lambda pair: pair[0])[1]
        return smallest, max(counted, key=lambda pair: pair[0])[1], "enumeration"
    return greedy(space, count), greedy(space, lambda a: -count(a)), "greedy"


def greedy(space: ModelSpace, count: Callable[[Mapping[str, Choice]], int]) -> dict[str, Choice]:
    """Change one choice at a time, for as long as the count gets smaller."""
    best = space.default()
    least = count(best)
    for _ in range(SWEEPS):
        before = least
        for label in list(space.specs):
            if label not in best:
                continue
            for choice in listed(space.specs[label]):
                other = space.nearest({label: cast(Choice, choice)}, like=best)
                if other is None or other.get(label) != choice or other == best:
                    continue
                number = count(other)
                if number < least:
                    best, least = other, number
                    if label not in best:
                        break
        if least == before:
            break
    return best


def specs_of(module: ChoiceModule, path: str) -> dict[str, ParameterSpec]:
    """Return label -> spec of what is decided by a choice, mutated or not."""
    if isinstance(module, MutableModule):
        return {spec.label: spec for spec in module.specs_at(path)}
    return module.search_space_spec()


def listed(spec: ParameterSpec, limit: int = 64) -> Iterator[object]:
    """Yield choices to try: all of them, or where those are many, each candidate once."""
    if spec.interval is not None:
        yield from dict.fromkeys((spec.interval.low, spec.default, spec.interval.high))
    elif spec.size <= limit or spec.n_chosen == 1:
        yield from spec.choices()
    else:
        default = spec.members(spec.default)
        yield spec.default
        for candidate in spec.candidates:
            if candidate not in default:
                kept = default[: (spec.n_chosen or 1) - 1]
                yield spec.normalise((*kept, candidate))
