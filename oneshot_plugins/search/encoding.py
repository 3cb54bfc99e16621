"""Architectures as flat parameters, for libraries that know neither nesting nor subsets."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import TypeAlias

from oneshot_core import ModelSpace, ParameterSpec
from oneshot_core.errors import ArchitectureError
from oneshot_core.space import Choice

Number: TypeAlias = "int | float | bool"
Parameters: TypeAlias = dict[str, Number]
Suggest: TypeAlias = Callable[[str, ParameterSpec], Number]
"""Gives the value of a parameter: of an interval a number in it; of one candidate among several
its position; of a subset, for the parameter of each candidate, whether it is taken."""


def encode(space: ModelSpace, architecture: Mapping[str, Choice]) -> Parameters:
    """Return the parameters that :func:`decode` reads as ``architecture``."""
    found: Parameters = {}
    for spec in space.active(architecture):
        choice = architecture[spec.label]
        if spec.interval is not None:
            found[spec.label] = float(choice)  # type: ignore[arg-type]
        elif spec.n_chosen == 1:
            found[spec.label] = spec.candidates.index(choice)
        else:
            taken = spec.members(choice)
            found |= {n: c in taken for n, c in zip(_names(spec), spec.candidates, strict=True)}
    return found


def decode(space: ModelSpace, suggest: Suggest) -> dict[str, Choice]:
    """Return an architecture, asking ``suggest`` for what becomes active, in walk order.

    Only parameters under the choices so far are asked for. A subset of a wrong size, or a
    choice that breaks a constraint, is left open and drawn at the end by ``space.complete``;
    if that fails, the choices before it are given up, last first. The draw depends on the
    suggested values alone: equal parameters always mean one architecture.
    """
    asked: Parameters = {}
    chosen: dict[str, Choice] = {}
    skipped: set[str] = set()
    while True:
        known = chosen.keys() | skipped
        spec = next((s for s in space.active(chosen) if s.label not in known), None)
        if spec is None:
            break
        choice = _choice(spec, suggest, asked)
        if choice is None or not space.possible({**chosen, spec.label: choice}):
            skipped.add(spec.label)
        else:
            chosen[spec.label] = choice
    key = json.dumps(sorted(asked.items()))
    while True:
        try:
            return space.complete(chosen, random.Random(key))
        except ArchitectureError:
            if not chosen:
                raise
            chosen.popitem()


def _choice(spec: ParameterSpec, suggest: Suggest, asked: Parameters) -> Choice | None:
    if spec.interval is not None or spec.n_chosen == 1:
        value = asked[spec.label] = suggest(spec.label, spec)
        return float(value) if spec.interval is not None else spec.candidates[int(value)]
    for name in _names(spec):
        asked[name] = bool(suggest(name, spec))
    taken = [c for n, c in zip(_names(spec), spec.candidates, strict=True) if asked[n]]
    return spec.normalise(taken) if spec.contains(taken) else None


def _names(spec: ParameterSpec) -> list[str]:
    """Return the name of one parameter for each candidate of a subset."""
    return [f"{spec.label}[{position}]" for position in range(len(spec.candidates))]
