"""What holds for a component of any kind."""

from __future__ import annotations

import importlib.util
from difflib import get_close_matches

from oneshot_core.discovery import FIRST_PARTY, REGISTERED, describe, import_target
from oneshot_core.errors import PluginLoadError
from oneshot_core.hookspecs import KINDS

from ..case import NothingToCheckError, Subject, checks, require
from ..isolation import rng_state

PREFIX = "oneshot-plugin-"


def name_is_its_own(subject: Subject) -> None:
    """No other component has the name, for only one of them can be used."""
    record = subject.record
    require(
        record.state != "shadowed",
        f"{record.id} of {record.source} cannot be used: {record.reason}",
        "a name that no other component has",
        record.fix,
    )


def name_carries_its_prefix(subject: Subject) -> None:
    """The name starts with that of the distribution, so that no two authors choose the same.

    ``oneshot-plugin-noise`` has names such as ``noise.lazy``; ``my-models`` ``my-models.small``.
    """
    record = subject.record
    if record.provider in (FIRST_PARTY, REGISTERED):
        raise NothingToCheckError(f"names of {record.provider} need no prefix")
    prefix = record.provider.removeprefix(PREFIX)
    rest = record.name.removeprefix(prefix)
    require(
        record.name.startswith(prefix) and (not rest or rest[0] in ".-_"),
        f"{record.id} of {record.provider} does not say whose it is",
        f"a name that starts with {prefix!r}, such as '{prefix}.{record.name}'",
        "rename the component in the manifest",
    )


def has_a_summary(subject: Subject) -> None:
    """It says in one line what it is; the line is all that a listing shows."""
    summary = subject.record.component.summary
    require(
        bool(summary.strip()) and "\n" not in summary,
        f"{subject.record.id} has the summary {summary!r}",
        "one line of text",
        "give the Component a summary",
    )


def kind_is_known(subject: Subject) -> None:
    """There are checks for its kind; one of a plugin's own is checked as a component only."""
    kind = subject.record.kind
    # Nearer than names elsewhere: 'metric' is a kind of its own, and no misspelt 'elastic'.
    close = ", ".join(get_close_matches(kind, KINDS, n=1, cutoff=0.8))
    require(
        kind in KINDS or not close,
        f"{subject.record.id} has the kind {kind!r}, of which nothing knows",
        f"one of {', '.join(KINDS)}, or a word that is not nearly one of them",
        f"did you mean {close}?",
    )
    if kind not in KINDS:
        raise NothingToCheckError(
            f"there are no checks for the kind {kind!r}: only what holds for any component is "
            "checked"
        )


def target_loads(subject: Subject) -> None:
    """What it stands for can be imported, and importing it neither seeds nor sets anything."""
    record = subject.record
    if record.state == "shadowed":
        raise NothingToCheckError("another component has its name")
    before = rng_state()[:2]
    try:
        subject.registry.load(record.id)
    except PluginLoadError as error:
        cause = describe(error.__cause__ or error, record.component.target)
        require(
            False,
            f"{record.component.target} cannot be imported: {cause}",
            "a module that can be imported, and an object in it",
            "correct the target in the manifest, or what its module imports; requirements "
            "belong into dependencies in pyproject.toml",
        )
    require(
        rng_state()[:2] == before,
        f"importing {record.component.target} draws or seeds random numbers",
        "the random state that the user has set",
        "draw where the component is used, from a generator of its own",
    )


def handles_exist(subject: Subject) -> None:
    """What it declares to handle are classes that can be imported; searching finds it by them.

    An adapter may be for models of packages that are not installed; nothing is said of those.
    """
    handles = subject.record.component.handles
    if subject.record.kind == "adapter":
        handles = tuple(h for h in handles if importlib.util.find_spec(h.partition(".")[0]))
        if not handles and subject.record.component.handles:
            raise NothingToCheckError("the packages of its models are not installed")
    for handled in handles:
        try:
            found = import_target(handled)
        except Exception as error:
            found = describe(error, handled)
        require(
            isinstance(found, type),
            f"{subject.record.id} declares to handle {handled!r}, which is {found!r}",
            "'package.module:Class' of a class that exists",
            "correct handles= of the Component",
        )


def samples_repeat_themselves(subject: Subject) -> None:
    """What it is tried with is the same in every call; else nothing can be compared.

    ``make`` and ``inputs`` of a sample are functions. Before each call the global generators of
    Python, NumPy and torch get one seed. Where this fails, the checks that need samples are
    skipped.
    """
    subject.samples(*subject.record.component.handles)


CHECKS = checks(
    "component",
    kind_is_known,
    name_is_its_own,
    name_carries_its_prefix,
    has_a_summary,
    target_loads,
    handles_exist,
    samples_repeat_themselves,
)
