"""The model space of a network: which choices there are, how they depend, how many networks."""

from __future__ import annotations

from .space import ModelSpace

__all__ = ["ModelSpace"]
