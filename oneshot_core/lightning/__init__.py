"""The search as a LightningModule. Everything that imports Lightning is in here."""

from __future__ import annotations

from .baselines import Baseline, Baselines
from .build import search
from .checkpoint_io import AtomicCheckpointIO
from .evaluation import Outcome, Ranked, Ranking, Searcher
from .front import ParetoFront, Scored
from .module import BaseOneShotLightningModule
from .rows import LogCheckpointRow
from .seeding import SeedEachBatch

__all__ = [
    "AtomicCheckpointIO",
    "BaseOneShotLightningModule",
    "Baseline",
    "Baselines",
    "LogCheckpointRow",
    "Outcome",
    "ParetoFront",
    "Ranked",
    "Ranking",
    "Scored",
    "Searcher",
    "SeedEachBatch",
    "search",
]
