"""The errors that a registry raises. Each function returns or raises one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import DuplicateComponentError, PluginLoadError, UnknownComponentError
from .manifests import close_matches
from .metadata import Problem
from .records import MANIFEST, Record, Restriction
from .settings import STRICT, is_essential, refuse_essential


def unknown_component(wanted: str, records: Iterable[Record]) -> UnknownComponentError:
    """Return the error for a name that nothing has; it lists the names that are close."""
    records = list(records)
    kind = wanted.partition(":")[0]
    usable = [record for record in records if record.usable]
    names = sorted(r.name for r in usable if r.kind == kind) or [r.id for r in usable]
    close = close_matches(wanted, [r.id for r in records]) or ", ".join(
        record.id for record in records if record.name == wanted
    )
    unread = ", ".join(f"{r.id} ({r.state})" for r in records if r.kind == MANIFEST)
    return UnknownComponentError(
        f"there is no component {wanted!r}",
        expected=f"one of {', '.join(names) or '(none)'}",
        fix=f"{f'did you mean {close}? ' if close else ''}see `oneshot plugins list --all`"
        + (f"; plugins that were not read: {unread}" if unread else ""),
    )


def refuse_unknown(
    restriction: Restriction, components: Iterable[Record], manifests: Iterable[Record]
) -> None:
    """Raise if a pattern without wildcards names nothing, or names a part of the core."""
    components = list(components)
    records = [*components, *manifests]
    for pattern in restriction.patterns:
        known = any(record.matches(pattern) for record in records)
        if not known and not restriction.keep and is_essential(pattern):
            raise refuse_essential(restriction.source, pattern)
        if not known and not set("*?[") & set(pattern):
            raise unknown_component(pattern, components)


def cannot_load(record: Record) -> PluginLoadError:
    """Return the error for a component that is there and cannot be used."""
    return PluginLoadError(
        f"{record.id} of {record.source} cannot be loaded, it is {record.state}: {record.reason}",
        expected=f"{record.component.target} can be imported and used",
        fix=f"{record.fix}",
    )


def name_taken(holder: Record) -> DuplicateComponentError:
    """Return the error for a component whose name another component has."""
    return DuplicateComponentError(
        f"{holder.id} is already there, from {holder.source} ({holder.component.target})",
        expected="a name that nothing has",
        fix="choose another name, unregister it, or pass override=True",
    )


def not_registered(id: str, registered: list[str]) -> UnknownComponentError:
    """Return the error for a component that no program has registered."""
    return UnknownComponentError(
        f"{id!r} was not registered by a program",
        expected=f"one of {registered}",
        fix=f"for an installed plugin's component use disable({id!r})",
    )


def requirements_missing(missing: Sequence[Problem]) -> PluginLoadError:
    """Return the error for a project that does not get the plugins that it requires."""
    return PluginLoadError(
        "\n  ".join(["this project requires plugins that are not there:", *map(str, missing)]),
        expected="all that the file requires, installed and in use",
        fix="; ".join(problem.fix for problem in missing),
    )


def strict_problems(problems: Sequence[Problem]) -> PluginLoadError:
    """Return the error for problems with plugins where the settings allow none."""
    return PluginLoadError(
        "\n  ".join([f"{STRICT} is set and there are problems with plugins:", *map(str, problems)]),
        expected="no problems",
        fix=f"as above, or unset {STRICT}",
    )
