"""What two components promise together that were written apart: N + M, not N x M."""

from __future__ import annotations

from ..attempt import attempt
from ..case import NothingToCheckError, Subject, checks
from .supernets import _samples


def supernet_works_with_strategy(subject: Subject) -> None:
    """The supernet trains under the strategy, is exported, frozen, and equals its frozen network.

    A strategy may refuse a choice before anything is trained, as superposing concatenated inputs.
    """
    assert subject.partner is not None
    strategy = subject.registry.load(subject.partner.id)
    options = Subject(subject.partner, subject.registry, subject.declared).options()[0]
    samples = _samples(subject)
    if not samples:
        raise NothingToCheckError("there is nothing to try it with; see supernet.has-samples")
    refused = [
        attempt(sample, strategy, subject.registry, options, subject.partner.id).refused
        for sample in samples
    ]
    if all(refused):
        raise NothingToCheckError(f"it is refused: {refused[0]}")


CHECKS = checks("cross", supernet_works_with_strategy)
