"""What a model space promises: it can be built, described, and every part of it runs."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from oneshot_core.architecture import freeze
from oneshot_core.errors import ArchitectureError
from oneshot_core.model_space import ModelSpace
from oneshot_core.space import Choice, MutableModule, diagrams_in

from ..case import NothingToCheckError, Sample, Subject, checks, require
from ..tensors import form

MAX_ARCHITECTURES = 64
"""So many candidates of each choice are tried."""
N_DRAWN = 8


def builds(subject: Subject) -> None:
    """It builds a module in which something can be chosen, without arguments or as sampled."""
    for sample in _samples(subject):
        model = sample.make()
        require(
            isinstance(model, nn.Module) and not isinstance(model, MutableModule),
            f"{subject.record.id} builds {type(model).__name__}",
            "a torch.nn.Module that holds choices",
            "return a module; around a single choice, nn.Sequential",
        )
        require(
            ModelSpace(model).size > 1,
            f"in what {subject.record.id} builds nothing can be chosen",
            "at least two architectures",
            "put choices of oneshot_core.space into it",
        )


def is_the_same_each_time(subject: Subject) -> None:
    """Two models have the same space, and it can be written as JSON: checkpoints compare it."""
    for sample in _samples(subject):
        one, other = (ModelSpace(sample.make()) for _ in range(2))
        require(
            one.fingerprint == other.fingerprint and bool(json.dumps(one.describe())),
            f"two models have the spaces {one.describe()} and {other.describe()}",
            "the same labels, candidates and numbers",
            "give choices labels that do not depend on what was built before",
        )


def freezes(subject: Subject) -> None:
    """Every candidate can be frozen, in an architecture that takes it."""
    for sample in _samples(subject):
        model = sample.make()
        for architecture in _covering(ModelSpace(model)):
            freeze(model, architecture)


def every_candidate_runs(subject: Subject) -> None:
    """Every candidate runs and returns the same shapes, in an architecture that takes it."""
    samples = subject.samples()
    if not samples:
        raise NothingToCheckError("no samples are declared, so its inputs are not known")
    for sample in samples:
        model = sample.make().eval()
        with torch.no_grad():
            wanted = form(model(*sample.inputs()))
            for architecture in _covering(ModelSpace(model)):
                found = form(freeze(model, architecture)(*sample.inputs()))
                require(
                    found == wanted,
                    f"{architecture} returns {found}",
                    f"{wanted}, as by default",
                    "let all candidates of a choice return the same shapes",
                )


def draws_its_own_labels(subject: Subject) -> None:
    """Diagrams of its modules are about labels of the space: a report could not draw others."""
    for sample in _samples(subject):
        model = sample.make()
        known = ModelSpace(model).specs
        for path, diagram in diagrams_in(model):
            unknown = [label for label in diagram.labels if label not in known]
            require(
                not unknown,
                f"the diagram {diagram.name!r} of the module at {path!r} is about {unknown}",
                f"labels of the space, such as {list(known)[:5]}",
                "return from diagram_at(path) the labels that choices have below that path",
            )


def _samples(subject: Subject) -> list[Any]:
    return subject.samples() or [Sample(subject.load(), tuple)]


def _covering(space: ModelSpace) -> Iterator[dict[str, Choice]]:
    """Yield the default, some drawn ones, and one for each candidate, as far as allowed.

    A candidate of a nested choice counts where the draw makes that choice active.
    """
    yield space.default()
    rng = random.Random(0)
    for _ in range(N_DRAWN):
        yield space.sample(rng)
    # Turn by turn, so that a long first choice does not use up the number.
    turns = [iter(spec.choices()) for spec in space.specs.values()]
    labels = list(space.specs)
    for turn in range(MAX_ARCHITECTURES):
        taken = {label: next(choices, None) for label, choices in zip(labels, turns, strict=True)}
        wanted = {label: choice for label, choice in taken.items() if choice is not None}
        if turn and not wanted:
            return
        try:
            yield space.complete(wanted, rng)
        except ArchitectureError:  # constraints forbid these together: one by one, where they can
            for label, choice in wanted.items():
                with suppress(ArchitectureError):
                    yield space.complete({label: choice}, rng)


CHECKS = checks(
    "space", builds, is_the_same_each_time, freezes, every_candidate_runs, draws_its_own_labels
)
