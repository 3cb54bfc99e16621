"""The choices a user writes into a model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .computed import Declared, apply, if_else, maximum, minimum
from .constraint import constrain, constraints_of
from .layer_choice import LayerChoice, attribute_of
from .mutable import (
    Branches,
    Gates,
    LabelInside,
    Mutable,
    MutableModule,
    check_label,
    label_below,
)
from .patch import Patch
from .running_network import running
from .spec import Candidate, Choice, Interval, ParameterSpec
from .value import (
    Computed,
    Taken,
    Value,
    combinations_of,
    resolve,
    specs_in,
    values_in,
    variables_in,
)
from .value_choice import RangeChoice, ValueChoice, choice, loguniform, uniform

if TYPE_CHECKING:
    from oneshot_plugins.cells.cell import Cell as Cell
    from oneshot_plugins.report.diagram import Diagram, HasDiagram, Link, Node, diagrams_in
    from oneshot_plugins.spaces.graph import GraphWhenFrozen
    from oneshot_plugins.supernets.input_choice import InputChoice, Reduction, reduce_inputs
    from oneshot_plugins.supernets.repeat import Chain, Repeat

_OF_PLUGINS = {
    "cells.cell": ("Cell",),
    "report.diagram": ("Diagram", "HasDiagram", "Link", "Node", "diagrams_in"),
    "spaces.graph": ("GraphWhenFrozen",),
    "supernets.input_choice": ("InputChoice", "Reduction", "reduce_inputs"),
    "supernets.repeat": ("Chain", "Repeat"),
}
"""Module below ``oneshot_plugins`` -> its names that users and manifests import from here."""

__all__ = [
    "Branches", "Candidate", "Chain", "Choice", "Computed", "Declared", "Diagram", "Gates",
    "GraphWhenFrozen", "HasDiagram", "InputChoice", "Interval", "LabelInside", "LayerChoice",
    "Link", "Mutable", "MutableModule", "Node", "ParameterSpec", "Patch", "RangeChoice",
    "Reduction", "Repeat", "Taken", "Value", "ValueChoice", "apply",
    "attribute_of", "check_label", "choice", "combinations_of", "constrain", "constraints_of",
    "diagrams_in", "if_else", "label_below", "loguniform", "maximum", "minimum",
    "reduce_inputs", "resolve", "running", "specs_in", "uniform", "values_in", "variables_in",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    for module, names in _OF_PLUGINS.items():
        if name in names:
            globals()[name] = getattr(import_module(f"oneshot_plugins.{module}"), name)
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
