"""How a partial architecture is completed, one label after another: in an order, or by chance."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from ..space.spec import Candidate, Choice, ParameterSpec

MAX_LISTED = 4096
"""Choices are listed to draw one of them up to this number."""


class Space(Protocol):
    """What drawing needs to know of a ``ModelSpace``."""

    def active(self, chosen: Mapping[str, Choice]) -> Iterator[ParameterSpec]: ...
    def possible(self, partial: Mapping[str, Choice]) -> bool: ...


def completions(
    space: Space,
    partial: dict[str, Choice],
    order: Callable[[ParameterSpec], Iterable[Choice]] = ParameterSpec.choices,
) -> Iterator[dict[str, Choice]]:
    """Yield every possible completion of ``partial``, choices tried in an ``order``."""
    # A stack of its own: there may be more labels than Python can recurse.
    stack = [iter([partial])]
    while stack:
        current = next(stack[-1], None)
        if current is None:
            stack.pop()
            continue
        undecided = next((s for s in space.active(current) if s.label not in current), None)
        if undecided is None:
            yield current
        else:
            extended = _with_each(current, undecided.label, order(undecided))
            stack.append(filter(space.possible, extended))


def _with_each(
    partial: dict[str, Choice], label: str, choices: Iterable[Choice]
) -> Iterator[dict[str, Choice]]:
    for choice in choices:
        yield {**partial, label: choice}


def growing(space: Space, partial: dict[str, Choice]) -> Iterator[ParameterSpec]:
    """Yield undecided active specs until the caller has decided all in ``partial``."""
    while True:
        undecided = [spec for spec in space.active(partial) if spec.label not in partial]
        if not undecided:
            return
        yield from undecided


def draw(space: Space, partial: Mapping[str, Choice], rng: random.Random) -> dict[str, Choice]:
    """Draw what ``partial`` leaves open, from ``rng`` alone, whatever the constraints say."""
    chosen = dict(partial)
    for spec in growing(space, chosen):
        if spec.interval is not None or spec.prior is not None:
            chosen[spec.label] = spec.draw(rng)
        elif spec.size < MAX_LISTED:
            choices = list(spec.choices())
            chosen[spec.label] = choices[int(rng.random() * len(choices))]
        elif spec.n_chosen is None:  # subsets; the empty one is drawn again
            taken: list[Candidate] = []
            while not taken:
                taken = [c for c in spec.candidates if rng.random() < 0.5]
            chosen[spec.label] = spec.normalise(taken)
        else:
            chosen[spec.label] = spec.normalise(rng.sample(spec.candidates, spec.n_chosen))
    return chosen
