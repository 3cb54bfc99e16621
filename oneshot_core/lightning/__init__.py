"""The search as a LightningModule. Everything that imports Lightning is in here."""

from __future__ import annotations

from .build import search
from .module import BaseOneShotLightningModule

__all__ = ["BaseOneShotLightningModule", "search"]
