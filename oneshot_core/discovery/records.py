"""What a registry holds: records with a state, and restrictions that switch them off."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from functools import reduce
from typing import Literal

from ..hookspecs import Component
from .metadata import normalise

State = Literal["available", "loaded", "disabled", "incompatible", "shadowed", "stale", "failed"]

FIRST_PARTY = "oneshot-core"
REGISTERED = "(registered)"  # provider of what a program registers; no distribution's name
MANIFEST = "manifest"  # kind of the record of a manifest that was not read


@dataclass(frozen=True, slots=True)
class Record:
    """One component as the registry knows it; replaced, never changed.

    A manifest that was not read, so that its components are unknown, is itself a record, of the
    kind ``"manifest"`` and named ``distribution.entry-point``.

    =================  =====================================================================
    state              means
    =================  =====================================================================
    ``available``      can be loaded
    ``loaded``         has been loaded
    ``disabled``       switched off by a setting, ``disable(...)`` or ``only(...)``
    ``incompatible``   its distribution does not allow this version of ``oneshot-core``
    ``shadowed``       another component has the same id and comes first
    ``stale``          its metadata names a module that does not exist
    ``failed``         importing it raised, or it is not what it should be
    =================  =====================================================================

    ``reason`` and ``fix`` say why and what to do, where the state is not one of the first two.
    """

    component: Component
    provider: str
    version: str
    plugin: str
    state: State = "available"
    reason: str = ""
    fix: str = ""

    @property
    def id(self) -> str:
        """``"kind:name"``."""
        return self.component.id

    @property
    def kind(self) -> str:
        """The component's kind."""
        return self.component.kind

    @property
    def name(self) -> str:
        """The component's name, unique within its kind."""
        return self.component.name

    @property
    def source(self) -> str:
        """Provider and version, for messages."""
        return f"{self.provider} {self.version}".strip()

    @property
    def usable(self) -> bool:
        """Whether it can be loaded, as far as is known."""
        return self.state in ("available", "loaded")

    @property
    def claims_name(self) -> bool:
        """Whether nobody else gets the name: a failure must not silently change who has it."""
        return self.usable or self.state == "failed"

    def matches(self, pattern: str) -> bool:
        """Whether a pattern names this record.

        Without a colon, a pattern is for the distribution, however that is spelled; with one it
        is for ``kind:name``, ``kind:name@distribution`` or ``manifest:distribution.plugin``.
        """
        if ":" not in pattern:
            return fnmatchcase(self.provider, normalise(pattern))
        manifest = f"{MANIFEST}:{self.provider}.{self.plugin}"
        names = (self.id, f"{self.id}@{self.provider}", manifest)
        return any(fnmatchcase(name, pattern) for name in names)

    def handles(self, wanted: str | type) -> bool:
        """Whether the component declares to handle this: as a string, or a class or its base."""
        if isinstance(wanted, str):
            return wanted in self.component.handles
        return any(_declared(path) in wanted.__mro__ for path in self.component.handles)

    def names(self, wanted: type) -> bool:
        """Whether the component declares to handle this very class, not only a base of it."""
        return any(_declared(path) is wanted for path in self.component.handles)

    def failed(self, reason: str) -> Record:
        """Return the record of what could not be imported."""
        fix = f"repair or upgrade {self.provider}; to go without: ONESHOT_DISABLE_PLUGINS={self.id}"
        if self.provider == REGISTERED:
            fix = "correct the target that was registered"
        return replace(self, state="failed", reason=reason, fix=fix)

    def shadowed(self, by: Record) -> Record:
        """Return the record of what lost its name to ``by``."""
        reason = f"{by.source} has a component of this name and comes first"
        fix = f"to use this one: ONESHOT_DISABLE_PLUGINS={by.id}@{by.provider}"
        if by.provider == self.provider:
            fix = f"give one of the two in {self.provider} another name"
        return replace(self, state="shadowed", reason=reason, fix=fix)

    def as_dict(self) -> dict[str, object]:
        """Return the record as JSON-able values."""
        values = asdict(self)
        return {"id": self.id, **values.pop("component"), **values}


@dataclass(frozen=True, slots=True, eq=False)
class Restriction:
    """Keep only (``keep``), or leave out, what some patterns name."""

    source: str
    patterns: tuple[str, ...]
    keep: bool
    spares_first_party: bool = False

    def apply(self, record: Record) -> Record:
        """Return ``record``, disabled if this restriction switches it off."""
        named = any(map(record.matches, self.patterns))
        if named == self.keep or (self.spares_first_party and record.provider == FIRST_PARTY):
            return record
        reason = f"{self.source} {'names it' if named else 'does not name it'}"
        return replace(record, state="disabled", reason=reason, fix=f"change {self.source}")


def restricted(record: Record, restrictions: Iterable[Restriction]) -> Record:
    """Return ``record``, disabled by the first restriction that switches it off."""
    for restriction in restrictions:
        if record.state != "disabled":
            record = restriction.apply(record)
    return record


@dataclass(slots=True, eq=False)
class Entry:
    """What became of one component: the only thing here that changes."""

    record: Record
    objects: list[object] = field(default_factory=list)  # empty until loaded, then one
    error: BaseException | None = None
    overrides: bool = False


def resolved(
    entries: Iterable[Entry], restrictions: Collection[Restriction]
) -> list[tuple[Entry, Record]]:
    """Apply the restrictions, then give each name to the first entry that claims it."""
    holders: dict[str, Record] = {}
    found = []
    for entry in entries:
        record = restricted(entry.record, restrictions)
        if record.claims_name and holders.setdefault(record.id, record) is not record:
            record = record.shadowed(by=holders[record.id])
        found.append((entry, record))
    return found


def _declared(path: str) -> object:
    """Return the class that a component declares to handle, if its module is imported."""
    module, _, names = path.partition(":")
    return reduce(
        lambda found, name: getattr(found, name, None), names.split("."), sys.modules.get(module)
    )
