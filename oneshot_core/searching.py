"""What a searcher is: it proposes architectures and is sent their scores.

A *searcher* is a plugin of the kind ``searcher``. Whoever scores architectures (a ranking, a
Pareto search) asks it for one proposal after another.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from .model_space import ModelSpace
from .space.spec import Choice

Proposals: TypeAlias = Generator[Mapping[str, Choice], Any, None]
"""Yields architectures and is sent their scores: a float, or an :class:`Outcome`."""


class Outcome(NamedTuple):
    """The scores of one architecture, for a searcher of several objectives."""

    values: tuple[float, ...]
    """One number for each objective. A larger number is better."""
    violations: tuple[float, ...]
    """One number for each constraint: by how much it is broken, 0 where it is kept."""


class Searcher(Protocol):
    """Looks for good architectures by trying some; a plugin of kind ``searcher``.

    A searcher that can weigh several objectives has a keyword ``objectives``. None, the default,
    asks it to work with one score. A number says that each ``yield`` returns an :class:`Outcome`
    with as many values. A searcher that can share its state with other processes has a keyword
    ``storage``, a URL or path.
    """

    def __call__(self, space: ModelSpace, *, budget: int, seed: int, **options: Any) -> Proposals:
        """Yield architectures to score. Each ``yield`` returns the score; larger is better.

        Args:
            space: the architectures that can be proposed.
            budget: how many different architectures may be scored.
            seed: of all draws.
            **options: of the searcher.
        """


__all__ = ["Outcome", "Proposals", "Searcher"]
