"""The choices a user writes into a model."""

from __future__ import annotations

from .input_choice import InputChoice, Reduction, reduce_inputs
from .layer_choice import LayerChoice
from .mutable import Mutable
from .repeat import Repeat
from .spec import Candidate, Choice, ParameterSpec

__all__ = [
    "Candidate",
    "Choice",
    "InputChoice",
    "LayerChoice",
    "Mutable",
    "ParameterSpec",
    "Reduction",
    "Repeat",
    "reduce_inputs",
]
