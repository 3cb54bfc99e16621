"""What a registry knows at one moment, as values that can be kept, compared and shown."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass

from .._version import __version__
from ..tables import Table
from .metadata import Problem
from .records import Record


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a registry knew at one moment."""

    records: tuple[Record, ...]
    problems: tuple[Problem, ...]
    fingerprint: str

    def as_dict(self) -> dict[str, object]:
        """Return the snapshot as JSON-able values, with its schema."""
        return {
            "schema": "oneshot.registry/1",
            "core": __version__,
            "fingerprint": self.fingerprint,
            "components": [record.as_dict() for record in self.records],
            "problems": [asdict(problem) for problem in self.problems],
        }

    def to_json(self) -> str:
        """Return :meth:`as_dict` as text."""
        return json.dumps(self.as_dict(), indent=2)


def problems_of(records: Iterable[Record], overridden: Collection[str]) -> Iterator[Problem]:
    """Yield the problem of each record that cannot be used although nobody switched it off.

    Args:
        records: records in any state.
        overridden: ids that a program took from others on purpose.
    """
    for record in records:
        if record.state in ("failed", "incompatible", "stale") or (
            record.state == "shadowed" and record.id not in overridden
        ):
            reason = f"{record.source}: {record.reason}"
            yield Problem(record.id, record.state, reason, record.fix)


def fingerprint(components: Iterable[Record], manifests: Iterable[Record]) -> str:
    """Return a hash of everything in these records that can influence a search."""
    import hashlib  # takes long to import, and listing does without

    facts = [
        [r.id, r.provider, r.version, r.component.target, r.component.priority]
        for r in components
        if r.kind != "command"
    ]
    facts += [[r.id, r.provider, r.version] for r in manifests]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return f"oneshot1:{digest[:16]}"


def table(records: Iterable[Record]) -> Table:
    """Return a table with one row for each record."""
    found = [record.as_dict() for record in records]
    names = ["id", "provider", "version", "state", "summary"]
    names += ["reason"] if any(row["reason"] for row in found) else []
    return Table(names, [[str(row[name]) for name in names] for row in found])
