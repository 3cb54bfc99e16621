"""Which choice is the largest: the order that sandwich rule and shrinking rely on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oneshot_core import BaseOneShotLightningModule, ParameterSpec
from oneshot_core.errors import StrategyError
from oneshot_core.space import Choice

MAX_LISTED = 4096
"""A label with more choices than this has to be ordered by the user."""

Order = Mapping[str, Sequence[Choice]]


def by_size(
    search: BaseOneShotLightningModule, given: Order | None = None
) -> dict[str, list[Choice]]:
    """Return label -> its choices, from the smallest to the largest.

    A choice is larger than another of its label if, in this order:

    1. what it runs holds more parameters, summed over all places with the label (of choices
       nested inside, those of all candidates count);
    2. it takes more candidates;
    3. its candidates are larger numbers, as depths and widths are;
    4. it was declared later.

    Args:
        search: whose choices are ordered.
        given: label -> choices from the smallest to the largest, for labels that this would
            order wrongly.

    Raises:
        StrategyError: ``given`` has an unknown label or is not an order of its choices, or a
            label has too many choices to be listed.
    """
    given = given or {}
    specs = search.search_space_spec()
    unknown = sorted(given.keys() - specs.keys())
    if unknown:
        raise StrategyError(
            f"the order names {unknown}, which this search does not choose",
            expected=f"labels of {sorted(specs)}",
            fix="correct the labels",
        )
    parameters = _parameters(search)
    return {
        label: _as_given(spec, given[label]) if label in given else _sorted(spec, parameters)
        for label, spec in specs.items()
    }


def _sorted(spec: ParameterSpec, parameters: Mapping[str, Mapping[object, int]]) -> list[Choice]:
    if spec.size > MAX_LISTED:
        raise StrategyError(
            f"{spec.label!r} has {spec.size} choices, too many to be ordered by size",
            expected=f"at most {MAX_LISTED}",
            fix=f"pass order={{{spec.label!r}: [smallest, ..., largest]}} with some of them",
        )
    position = {candidate: i for i, candidate in enumerate(spec.candidates)}
    held = parameters.get(spec.label, {})

    def size(choice: Choice) -> tuple[float, ...]:
        members = spec.members(choice)
        numbers = [c for c in members if isinstance(c, (int, float))]
        return (
            sum(held.get(c, 0) for c in members),
            len(members),
            sum(numbers),
            *(position[c] for c in members),
        )

    return sorted(spec.choices(), key=size)


def _parameters(search: BaseOneShotLightningModule) -> dict[str, dict[object, int]]:
    """Return label -> candidate -> number of parameters that run only with it."""
    found: dict[str, dict[object, int]] = {}
    for module in search.nas_modules:
        for label, branches in module.branches().items():
            counts = found.setdefault(label, {})
            for candidate, parts in branches.items():
                held = {p for part in parts for p in part.parameters()}
                counts[candidate] = counts.get(candidate, 0) + sum(p.numel() for p in held)
    return found


def _as_given(spec: ParameterSpec, order: Sequence[Choice]) -> list[Choice]:
    choices = [spec.normalise(choice) for choice in order]
    if not choices or len(set(choices)) != len(choices):
        raise StrategyError(
            f"the order of {spec.label!r} is {list(order)}",
            expected="choices from the smallest to the largest, each once",
            fix="correct order=",
        )
    return choices
