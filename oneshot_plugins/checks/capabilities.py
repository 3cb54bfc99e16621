"""Which choices a strategy can search: found by letting it train, export and freeze each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

from oneshot_core.discovery import Registry, default_registry
from oneshot_core.errors import ConformanceError, UnknownComponentError

from .case import Sample, Subject
from .plan import declarations, merged

Outcome = Literal["learned", "ranked", "refused", "failed"]
"""From best to worst: of several samples the worst is told."""


@dataclass(frozen=True, slots=True)
class Capability:
    """What a strategy does with a choice.

    Args:
        outcome: ``"learned"``: it trained, each label's architecture parameters got a gradient,
            and the supernet at the exported architecture computes what the frozen network
            computes, bit for bit. ``"ranked"``: the same without architecture parameters; the
            architecture is found by a ranking. ``"refused"``: it raised before any training,
            with a fix, and left the model as it was. ``"failed"``: anything else.
        message: of what was raised.
    """

    outcome: Outcome
    message: str = ""

    def __bool__(self) -> bool:
        return self.outcome in ("learned", "ranked")


def capabilities(
    strategy: str, *choices: str, registry: Registry | None = None
) -> dict[str, Capability]:
    """Let a strategy search everything that supernet modules and elastic layers are tried with.

    Args:
        strategy: name of an installed or registered strategy.
        *choices: names of what is tried, or globs of them, such as ``"InputChoice*"``; without
            any, everything.
        registry: where all is looked up. None takes the default.

    Returns:
        Name of a choice -> what the strategy does with it.

    Raises:
        UnknownComponentError: there is no such strategy, or nothing has one of the names.
    """
    registry = default_registry() if registry is None else registry
    registry.get("strategy", strategy)
    everything = choices_of(registry)
    for pattern in choices:
        if not any(fnmatchcase(name, pattern) for name in everything):
            raise UnknownComponentError(
                f"nothing to choose is named {pattern!r}",
                expected=f"some of {'; '.join(everything)}",
                fix="correct the name, or leave it out to try all",
            )
    return {
        name: capability(strategy, samples, registry)
        for name, samples in everything.items()
        if not choices or any(fnmatchcase(name, pattern) for pattern in choices)
    }


def choices_of(registry: Registry) -> dict[str, list[Sample]]:
    """Return name -> samples of all that can be chosen in one registry.

    Those of choices that supernet modules handle, of layers that rules are for, and of choices
    that have to do with each other.
    """
    from . import choices  # imports torch

    found: dict[str, list[Sample]] = {}
    for kind in ("supernet", "elastic"):
        for record in registry.find(kind):
            if not record.usable:
                continue
            handles = record.component.handles
            own = [sample for handled in handles for sample in choices.samples(handled)]
            for sample in [*own, *subject_of(registry, record.id).samples(*handles)]:
                found.setdefault(_name(sample), []).append(sample)
    for sample in choices.together():
        found.setdefault(sample.name, []).append(sample)
    return found


def capability(strategy: str, samples: Sequence[Sample], registry: Registry) -> Capability:
    """Return the worst that a strategy does with one of some samples.

    Args:
        strategy: its name.
        samples: of one choice, at least one.
        registry: where the strategy and supernet modules are looked up.
    """
    subject, ordered = subject_of(registry, f"strategy:{strategy}"), get_args(Outcome)
    return max((_tried(subject, s) for s in samples), key=lambda c: ordered.index(c.outcome))


def _tried(subject: Subject, sample: Sample) -> Capability:
    from .attempt import attempt
    from .isolation import isolated

    try:
        with isolated():
            options = subject.options()[0]
            found = attempt(sample, subject.load(), subject.registry, options, subject.name)
    except Exception as error:
        kind = "" if isinstance(error, ConformanceError) else f"{type(error).__name__}: "
        return Capability("failed", f"{kind}{error}")
    if found.refused is not None:
        return Capability("refused", str(found.refused))
    if found.unlearned:
        labels = ", ".join(map(repr, found.unlearned))
        return Capability("failed", f"architecture parameters of {labels} never got a gradient")
    return Capability("learned" if found.learns else "ranked")


def subject_of(registry: Registry, name: str) -> Subject:
    """Return a component with what plugins declare to try it with.

    Args:
        registry: where it is looked up.
        name: ``"kind:name"``.
    """
    record = registry.get(name)
    return Subject(record, registry, merged(declarations(registry), {record.provider}))


def _name(sample: Sample) -> str:
    made = type(sample.make())
    kind = f"nn.{made.__name__}" if made.__module__ == "oneshot_core.nn" else made.__name__
    return f"{kind}, {sample.name}" if sample.name else kind
