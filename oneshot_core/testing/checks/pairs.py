"""What two components promise together that were written apart: N + M, not N x M."""

from __future__ import annotations

from ...errors import OneShotError, StrategyError
from ..case import NothingToCheckError, Subject, checks, require
from ..trial import Trial, differing, exported, fit, require_honest, searched, state
from .supernets import _samples


def supernet_works_with_strategy(subject: Subject) -> None:
    """The supernet trains under the strategy, is exported, frozen, and equals its frozen network.

    A strategy may refuse a choice before anything is trained, as superposing concatenated inputs.
    """
    assert subject.partner is not None
    strategy = subject.registry.load(subject.partner.id)
    options = Subject(subject.partner, subject.registry, subject.declared).options()[0]
    refused: list[OneShotError] = []
    samples = _samples(subject)
    if not samples:
        raise NothingToCheckError("there is nothing to try it with; see supernet.has-samples")
    for sample in samples:
        model = Trial(sample.make(), sample.inputs)
        try:
            search = searched(model, strategy, subject.registry, options)
        except StrategyError as error:
            refused.append(error)
            continue
        before = state(search)
        try:
            fit(search, epochs=2)
        except StrategyError as error:
            if differing(before, state(search)):
                raise
            refused.append(error)
            continue
        require(
            bool(differing(before, state(search))),
            f"{subject.partner.id} left a model with {type(sample.make()).__name__} untrained",
            "weights that change",
            "let the supernet's output depend on its inputs and weights",
        )
        require_honest(search, exported(search), subject.partner.id)
        for architecture in search.top_k(3):
            require_honest(search, architecture, subject.partner.id)
    if len(refused) == len(samples):
        raise NothingToCheckError(f"it is refused: {refused[0]}")


CHECKS = checks("cross", supernet_works_with_strategy)
