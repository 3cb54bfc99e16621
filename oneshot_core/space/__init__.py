"""The choices a user writes into a model."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .computed import Declared, apply, if_else, maximum, minimum
from .constraint import constrain, constraints_of
from .diagram import Diagram, HasDiagram, Link, Node, diagrams_in
from .graph import GraphWhenFrozen, as_graph
from .input_choice import InputChoice, Reduction, reduce_inputs
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
from .repeat import Chain, Repeat
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

__all__ = [
    "Branches", "Candidate", "Chain", "Choice", "Computed", "Declared", "Diagram", "Gates",
    "GraphWhenFrozen", "HasDiagram", "InputChoice", "Interval", "LabelInside", "LayerChoice",
    "Link", "Mutable", "MutableModule", "Node", "ParameterSpec", "Patch", "RangeChoice",
    "Reduction", "Repeat", "Taken", "Value", "ValueChoice", "apply", "as_graph",
    "attribute_of", "check_label", "choice", "combinations_of", "constrain", "constraints_of",
    "diagrams_in", "if_else", "label_below", "loguniform", "maximum", "minimum",
    "reduce_inputs", "resolve", "running", "specs_in", "uniform", "values_in", "variables_in",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "Cell":  # a plugin's, under the path that manifests name
        return import_module("oneshot_plugins.cells.cell").Cell
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
