"""The search as a LightningModule. Everything that imports Lightning is in here."""

from __future__ import annotations

from .baselines import Baseline, Baselines
from .build import search
from .evaluation import Outcome, Ranked, Ranking, Searcher
from .front import ParetoFront, Scored
from .module import BaseOneShotLightningModule

__all__ = [
    "BaseOneShotLightningModule",
    "Baseline",
    "Baselines",
    "Outcome",
    "ParetoFront",
    "Ranked",
    "Ranking",
    "Scored",
    "Searcher",
    "search",
]
