"""What supernet modules say together: drawn, exported, and as probabilities.

Each is asked with a *memo* of what those before it, or the caller, have decided.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..architecture import Architecture, Lead
from ..errors import ArchitectureError, StrategyError
from ..space.spec import Candidate, Choice
from ..supernet import BaseSuperNetModule
from .top_k import most_probable

if TYPE_CHECKING:
    from .module import BaseOneShotLightningModule


def resampled(search: BaseOneShotLightningModule, memo: dict[str, Choice]) -> dict[str, Choice]:
    """Let each supernet module draw what is not in ``memo``; return all that is decided then."""
    modules, space = search.nas_modules, search.space

    def draw() -> dict[str, Choice]:
        drawn = dict(memo)
        for module in modules:
            drawn |= module.resample(drawn)
        return drawn

    drawn = space.draw_possible(draw)
    if drawn is None:
        drawn = space.complete(memo, search.decisions.rng)
        for module in modules:
            module.resample(drawn)
    return drawn


def exported(search: BaseOneShotLightningModule, memo: dict[str, Choice]) -> Architecture:
    """Return what the supernet modules prefer, given ``memo``.

    Raises:
        ArchitectureError: nothing with the choices of ``memo`` keeps the constraints.
    """
    space, chosen = search.space, dict(memo)
    for module in search.nas_modules:
        chosen |= module.export(chosen)
    if not space.possible(chosen):
        if not memo:
            return search.top_k(1)[0]
        fixed = decided_alone(search) | memo
        found = most_probable(space, search.decisions, 1, relative=True, fixed=fixed)
        if not found:
            raise ArchitectureError(
                f"no architecture with {memo} keeps the constraints.\n"
                f"  expected: {', '.join(map(repr, space.constraints))}\n"
                "  fix: decide less, or something else"
            )
        chosen = found[0]
    return Architecture(space.reduce(chosen), space)


def with_leads(search: BaseOneShotLightningModule, found: Architecture) -> Architecture:
    """Return an architecture with how far each choice is ahead of the second best."""
    leads = {
        label: Lead(*search.decisions[label].lead(choice))
        for label, choice in found.items()
        if label in search.decisions
    }
    return Architecture(found, search.space, leads=leads)


def probabilities(
    modules: Iterable[BaseSuperNetModule], memo: Mapping[str, Mapping[Candidate, float]] | None
) -> dict[str, dict[Candidate, float]]:
    """Return ``memo`` and what the supernet modules add to it, as far as they can say.

    Warns:
        UserWarning: one cannot.
    """
    found = {label: dict(row) for label, row in (memo or {}).items()}
    for module in modules:
        try:
            found |= module.export_probs(found)
        except NotImplementedError:
            warnings.warn(
                f"a {type(module).__name__} has no probabilities to export; "
                f"{', '.join(map(repr, module.search_space_spec()))} left out",
                UserWarning,
                stacklevel=3,
            )
    return found


def decided_alone(search: BaseOneShotLightningModule) -> dict[str, Choice]:
    """Return the choices of supernet modules that decide by themselves, without a decision."""
    found: dict[str, Choice] = {}
    for module in search.nas_modules:
        if any(label not in search.decisions for label in module.search_space_spec()):
            found |= module.export(found)
    return {label: choice for label, choice in found.items() if label not in search.decisions}


def require_pinnable(search: BaseOneShotLightningModule, chosen: Iterable[str]) -> None:
    """Raise if a label is decided by nothing that could be told.

    Raises:
        StrategyError: a supernet module decides by itself.
    """
    for label in chosen:
        if label not in search.decisions:
            raise StrategyError(
                f"{label!r} is decided by a supernet module without a Decision.\n"
                "  expected: modules that follow decisions, where architectures are set or ranked\n"
                "  fix: let its mutate() call mutate_kwargs['decisions'].decide(spec, path=name), "
                "as docs/from-nni.md shows"
            )
