"""The entries of components: how a program makes one, and how the target of one is imported."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypedDict

from ..hookspecs import Component
from .manifests import describe, import_target
from .records import MANIFEST, REGISTERED, Entry, Record
from .refusals import cannot_load


class Details(TypedDict, total=False):
    """The fields of a component that a program may leave out."""

    summary: str
    handles: tuple[str, ...]
    priority: int


def registered_entry(*args: Any, overrides: bool, **details: Any) -> Entry:
    """Return the entry of a component that a program registers.

    Args:
        *args: a :class:`Component`, or kind, name and target. The target is the object itself
            or a string that names it.
        overrides: whether the entry takes its name from whoever has it.
        **details: further fields of the component.
    """
    if len(args) == 1:
        return Entry(Record(args[0], REGISTERED, "", ""), overrides=overrides)
    kind, name, target = args
    path = target if isinstance(target, str) else _path_of(target)
    record = Record(Component(kind, name, path, **details), REGISTERED, "", "")
    if isinstance(target, str):
        return Entry(record, overrides=overrides)
    return Entry(replace(record, state="loaded"), [target], overrides=overrides)


def loaded(entry: Entry, record: Record, lock: AbstractContextManager[object]) -> object:
    """Import the target of an entry, unless that is done, and return it.

    Args:
        entry: it remembers what the import returned or raised.
        record: the record of the entry under the restrictions of now.
        lock: it is held while the entry changes, but not during the import.

    Raises:
        PluginLoadError: the component cannot be used.
    """
    if not record.claims_name or record.kind == MANIFEST:
        raise cannot_load(record) from entry.error
    if not entry.objects:
        target = record.component.target
        # Outside the lock: another thread may be importing a module that asks the registry.
        try:
            found = import_target(target)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit, and panics of Rust, are no Exception
            record = entry.record.failed(describe(error, target))
            with lock:
                entry.record, entry.error = record, error
            raise cannot_load(record) from error
        with lock:
            if not entry.objects:
                entry.objects.append(found)
            entry.record = replace(entry.record, state="loaded", reason="", fix="")
    return entry.objects[0]


def _path_of(target: object) -> str:
    """Return where a live object comes from, for listings; for an instance, its class."""
    named = target if hasattr(target, "__qualname__") else type(target)
    return f"{named.__module__}:{named.__qualname__}"
