"""What a searcher promises to a ranking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from oneshot_core.architecture import Architecture
from oneshot_core.model_space import ModelSpace

from ..case import Subject, checks, require
from ..isolation import noise, rng_state
from ..trial import Network

BUDGETS = (1, 7, 500)
"""The last is larger than the space."""


def proposes_valid_architectures(subject: Subject) -> None:
    """Every proposal is an architecture of the space."""
    space = ModelSpace(Network())
    for options in subject.options():
        for proposal in _proposals(subject, 20, 0, options):
            space.validate(proposal)


def keeps_to_its_budget(subject: Subject) -> None:
    """It proposes something and ends, with no more architectures than it may."""
    for options in subject.options():
        for budget in BUDGETS:
            proposals = _proposals(subject, budget, 0, options)
            different = {Architecture(proposal) for proposal in proposals}
            require(
                0 < len(different) <= budget and len(proposals) < _limit(budget),
                f"with budget={budget} it proposes {len(different)} architectures in "
                f"{len(proposals)} proposals",
                f"1 to {budget} architectures, and an end",
                "count proposals, and stop where the space is smaller than the budget",
            )


def same_seed_same_proposals(subject: Subject) -> None:
    """Proposals depend on space, seed and scores alone, and disturb nobody's random numbers."""
    for options in subject.options():
        runs = []
        for seed in (1, 2):
            noise(seed)
            before = rng_state()
            runs.append([dict(p) for p in _proposals(subject, 12, 3, options)])
            require(
                rng_state() == before,
                "it draws from the global generators",
                "draws from a generator of its own",
                "use random.Random(seed)",
            )
        require(
            runs[0] == runs[1],
            f"with one seed it proposes {runs[0][:3]}..., and then {runs[1][:3]}...",
            "the same proposals for the same seed",
            "use random.Random(seed) for every draw",
        )


def _proposals(
    subject: Subject, budget: int, seed: int, options: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """Run a searcher to its end, or until it is clear that there is none."""
    with torch.random.fork_rng():
        space = ModelSpace(Network())
    searcher = subject.load()(space, budget=budget, seed=seed, **options)
    found: list[Mapping[str, Any]] = []
    try:
        found.append(next(searcher))
        while len(found) < _limit(budget):
            score = float(sum(map(ord, str(sorted(found[-1].items())))) % 101)
            found.append(searcher.send(score))
    except StopIteration:
        pass
    return found


def _limit(budget: int) -> int:
    return 10 * budget + 100  # a few repetitions are no harm


CHECKS = checks(
    "searcher", proposes_valid_architectures, keeps_to_its_budget, same_seed_same_proposals
)
