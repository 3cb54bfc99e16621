"""Run some whole architectures: choices that fit one by one may not fit together."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping

from oneshot_core.model_space import ModelSpace
from oneshot_core.space import Choice

from .probe import Probe, condensed, located
from .report import Finding

ALL = 64
"""Spaces are run through completely up to this size."""
MOST, LEAST = 32, 8
"""So many architectures are drawn in a larger one; fewer where a network has many choices."""


def combinations(
    space: ModelSpace,
    probe: Probe,
    confirm: Callable[[], Probe | None],
    known: Iterable[Mapping[str, Choice]],
    first: Iterable[Mapping[str, Choice]],
) -> list[Finding]:
    """Return the combinations that fail, each reduced to the choices that it takes to fail.

    Args:
        space: of the model.
        probe: runs the default architecture.
        confirm: returns a probe with data, if ``probe`` has none.
        known: what fails already; architectures with that are left out.
        first: architectures to try in any case.
    """
    failing = [dict(each) for each in known]
    problems = []
    for architecture in _candidates(space, first):
        if any(each.items() <= architecture.items() for each in failing):
            continue
        if _failure(probe, confirm, architecture) is None:
            continue
        kept, complete = _reduced(space, probe, confirm, architecture)
        failing.append(kept)
        where = _failure(probe, confirm, complete)
        if where is not None:
            at, error = where
            words = " with ".join(f"{label} = {choice}" for label, choice in kept.items())
            problems.append(
                Finding(
                    "combination-fails",
                    f"{words} fails at {at or 'the model itself'!r}: {condensed(error)}",
                    tuple(kept),
                    at=at,
                    choice=tuple(kept.values()),
                    fix="let the choices fit together, or rule the combination out by "
                    "oneshot.constrain",
                )
            )
    return problems


def _candidates(
    space: ModelSpace, first: Iterable[Mapping[str, Choice]]
) -> Iterable[Mapping[str, Choice]]:
    if space.size <= ALL:
        yield from space.architectures()
        return
    yield from first
    rng = random.Random(0)
    for _ in range(max(LEAST, min(MOST, 1000 // len(space.specs)))):
        yield space.sample(rng)


def _failure(
    probe: Probe, confirm: Callable[[], Probe | None], architecture: Mapping[str, Choice]
) -> tuple[str, Exception] | None:
    probe.pin(architecture)
    try:
        probe.run()
    except Exception:
        other = confirm() or probe
        other.pin(architecture)
        return located(other.root, other.run)
    return None


def _reduced(
    space: ModelSpace,
    probe: Probe,
    confirm: Callable[[], Probe | None],
    architecture: Mapping[str, Choice],
) -> tuple[dict[str, Choice], dict[str, Choice]]:
    """Set choices back to their defaults, many at once and then fewer, while it still fails.

    Returns:
        What is left, and the whole architecture that it was run in.
    """
    default = space.default()
    kept = {label: c for label, c in architecture.items() if default.get(label, c) != c}
    kept |= {label: c for label, c in architecture.items() if label not in default}
    complete = dict(architecture)
    size = max(1, len(kept) // 2)
    while True:
        for start in range(0, len(kept), size):
            labels = list(kept)
            dropped = set(labels[start : start + size])
            fewer = {label: c for label, c in kept.items() if label not in dropped}
            nearer = space.nearest(fewer, like=default)
            if (
                fewer
                and nearer is not None
                and fewer.items() <= nearer.items()
                and _failure(probe, confirm, nearer) is not None
            ):
                kept, complete = fewer, nearer
                break
        else:
            if size == 1:
                return kept, complete
            size = max(1, size // 2)
