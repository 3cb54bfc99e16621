"""Search the activation functions of any model.

Names are imported when first used: the manifest is in this package, so whoever lists plugins
imports this file, and that must not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .choice import ActivationChoice
    from .hook import choose_activations
    from .supernet import MixedActivation

__all__ = ["ActivationChoice", "MixedActivation", "choose_activations"]

_HOME = {
    "ActivationChoice": "choice",
    "MixedActivation": "supernet",
    "choose_activations": "hook",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
