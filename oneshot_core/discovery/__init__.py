"""The door for plugins: what is installed, in which state, and in which order it is used.

Imports no torch. :class:`Registry` answers every question; the other names are what commands and
checks need to talk about components and targets.
"""

from __future__ import annotations

from .manifests import close_matches, describe, import_target
from .metadata import Problem, normalise, scan
from .order import WALK
from .records import FIRST_PARTY, MANIFEST, REGISTERED, Record, Restriction, State
from .registry import Registry, default_registry
from .snapshot import Snapshot

__all__ = [
    "FIRST_PARTY",
    "MANIFEST",
    "REGISTERED",
    "WALK",
    "Problem",
    "Record",
    "Registry",
    "Restriction",
    "Snapshot",
    "State",
    "close_matches",
    "default_registry",
    "describe",
    "import_target",
    "normalise",
    "scan",
]
