"""The search as a LightningModule. Everything that imports Lightning is in here."""

from __future__ import annotations

from .build import search
from .checkpoint_io import AtomicCheckpointIO
from .evaluation import Outcome, Ranked, Ranking, Searcher
from .front import ParetoFront, Scored
from .module import BaseOneShotLightningModule
from .seeding import SeedEachBatch

__all__ = [
    "AtomicCheckpointIO",
    "BaseOneShotLightningModule",
    "Outcome",
    "ParetoFront",
    "Ranked",
    "Ranking",
    "Scored",
    "Searcher",
    "SeedEachBatch",
    "search",
]
