"""Search the activation functions of any model."""

from __future__ import annotations

from .choice import ActivationChoice
from .hook import choose_activations
from .supernet import MixedActivation

__all__ = ["ActivationChoice", "MixedActivation", "choose_activations"]
