"""What two components promise together that were written apart: N + M, not N x M."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import nn

from oneshot_core.architecture import freeze
from oneshot_core.decision import DecisionTable
from oneshot_core.model_space import ModelSpace
from oneshot_core.space import MutableModule
from oneshot_core.traversal import traverse_and_mutate_submodules

from ..attempt import attempt
from ..case import NothingToCheckError, Subject, checks, require
from ..decisions import Drawn
from ..tensors import same
from . import supernets

N_DRAWN = 4
"""So many architectures are tried beside the default."""


def supernet_works_with_strategy(subject: Subject) -> None:
    """The supernet trains under the strategy, is exported, frozen, and equals its frozen network.

    A strategy may refuse a choice before anything is trained, as superposing concatenated inputs.
    """
    assert subject.partner is not None
    strategy = subject.registry.load(subject.partner.id)
    options = Subject(subject.partner, subject.registry, subject.declared).options()[0]
    samples = supernets._samples(subject)
    if not samples:
        raise NothingToCheckError("there is nothing to try it with; see supernet.has-samples")
    refused = [
        attempt(sample, strategy, subject.registry, options, subject.partner.id).refused
        for sample in samples
    ]
    if all(refused):
        raise NothingToCheckError(f"it is refused: {refused[0]}")


def what_is_chosen_survives_hook(subject: Subject) -> None:
    """With the hook in the walk all choices are still replaced, and compute what they freeze to.

    A hook may replace layers that a user has written, candidates too. What a supernet module or a
    composite choice only works with is its own, and not offered: its class says ``sealed = True``.
    """
    assert subject.partner is not None
    hook = subject.registry.load(subject.partner.id)
    theirs = [subject.registry.load(r.id).mutate for r in subject.registry.ordered("supernet")]
    of_space = subject.record.kind == "space"
    samples = subject.samples() if of_space else supernets._samples(subject)
    if not samples:
        raise NothingToCheckError("no samples are declared, so there is nothing to run")
    for sample in samples:
        model = (sample.make() if of_space else supernets.Holder(sample.make())).eval()
        before = ModelSpace(model)
        decisions = DecisionTable(Drawn)
        traverse_and_mutate_submodules(model, [hook, *theirs], {"decisions": decisions})
        model.eval()
        left = [path for path, part in model.named_modules() if isinstance(part, MutableModule)]
        space = ModelSpace(model)
        lost = [label for label in before.specs if label not in space.specs]
        require(
            not left and not lost,
            f"with {subject.partner.id} in the walk the choices {left or lost} of a "
            f"{type(sample.make()).__name__} are not replaced",
            "supernet modules in the place of all choices, deciding what these decided",
            "let the hook answer None for every oneshot_core.MutableModule",
        )
        rng = random.Random(0)
        for architecture in [space.default(), *(space.sample(rng) for _ in range(N_DRAWN))]:
            alike = _computes(model, decisions, architecture, sample.inputs())
            require(
                alike,
                f"with {subject.partner.id} in the walk the supernet at {dict(architecture)} and "
                "its frozen network differ",
                "equal outputs, bit for bit",
                "set `sealed = True` on the choice and the supernet module if what they compute "
                "relies on their submodules being what they are; else return shapes and modes of "
                "the original from the hook",
            )


def _computes(model: nn.Module, decisions: DecisionTable, architecture: Any, inputs: Any) -> bool:
    for decision in decisions:
        decision.unpin()
        if decision.spec.label in architecture:
            decision.pin(architecture[decision.spec.label])
    with torch.no_grad():
        return same(model(*inputs), freeze(model, architecture)(*inputs))


CHECKS = (
    *checks("cross", supernet_works_with_strategy),
    *checks("cross-hook", what_is_chosen_survives_hook, level="recommended"),
)
