"""One-shot neural architecture search for PyTorch Lightning, open to plugins.

Names are imported when first used: ``import oneshot_core`` alone loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from oneshot_plugins.cells.cell import Cell
    from oneshot_plugins.inspect.inspection import Inspection, inspect
    from oneshot_plugins.pretrained.model import elastic, optional
    from oneshot_plugins.pretrained.plan import Plan
    from oneshot_plugins.ranking.evaluation import Ranked, Ranking
    from oneshot_plugins.ranking.front import ParetoFront
    from oneshot_plugins.run.checkpoint_io import AtomicCheckpointIO
    from oneshot_plugins.run.rows import LogCheckpointRow
    from oneshot_plugins.run.seeding import SeedEachBatch

    from . import nn
    from .architecture import Architecture, freeze
    from .decision import Active, Decision, DecisionTable
    from .discovery import Registry
    from .hooks import MutationHook, no_default_hook
    from .hookspecs import Component, hookimpl
    from .lightning import BaseOneShotLightningModule, search
    from .model_space import ModelSpace
    from .optimizers import merge_optimizers
    from .space import (
        InputChoice,
        LayerChoice,
        Mutable,
        MutableModule,
        ParameterSpec,
        RangeChoice,
        Repeat,
        Value,
        ValueChoice,
        choice,
        constrain,
        if_else,
        loguniform,
        maximum,
        minimum,
        uniform,
    )
    from .supernet import BaseSuperNetModule
    from .traversal import traverse_and_mutate_submodules

    registry: Registry
    """The default registry: what is installed here."""

_NAMES: dict[str, tuple[str, ...]] = {
    ".architecture": ("Architecture", "freeze"),
    ".decision": ("Active", "Decision", "DecisionTable"),
    ".discovery": ("Registry",),
    ".hooks": ("MutationHook", "no_default_hook"),
    ".hookspecs": ("Component", "hookimpl"),
    ".lightning": ("BaseOneShotLightningModule", "search"),
    ".model_space": ("ModelSpace",),
    ".optimizers": ("merge_optimizers",),
    ".space": (
        "InputChoice", "LayerChoice", "Mutable", "MutableModule", "ParameterSpec", "RangeChoice",
        "Repeat", "Value", "ValueChoice", "choice", "constrain", "if_else", "loguniform",
        "maximum", "minimum", "uniform",
    ),
    ".supernet": ("BaseSuperNetModule",),
    ".traversal": ("traverse_and_mutate_submodules",),
    "oneshot_plugins.cells.cell": ("Cell",),
    "oneshot_plugins.inspect.inspection": ("Inspection", "inspect"),
    "oneshot_plugins.pretrained.model": ("elastic", "optional"),
    "oneshot_plugins.pretrained.plan": ("Plan",),
    "oneshot_plugins.ranking.evaluation": ("Ranked", "Ranking"),
    "oneshot_plugins.ranking.front": ("ParetoFront",),
    "oneshot_plugins.run.checkpoint_io": ("AtomicCheckpointIO",),
    "oneshot_plugins.run.rows": ("LogCheckpointRow",),
    "oneshot_plugins.run.seeding": ("SeedEachBatch",),
}  # fmt: skip
"""Module -> the public names that are imported from it when they are first used."""

_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "Active", "Architecture", "AtomicCheckpointIO", "BaseOneShotLightningModule",
    "BaseSuperNetModule", "Cell", "Component", "Decision", "DecisionTable", "InputChoice",
    "Inspection", "LayerChoice", "LogCheckpointRow", "ModelSpace", "Mutable", "MutableModule",
    "MutationHook", "ParameterSpec", "ParetoFront", "Plan", "RangeChoice", "Ranked", "Ranking",
    "Registry", "Repeat", "SeedEachBatch", "Value", "ValueChoice", "__version__", "choice",
    "constrain", "elastic", "freeze", "hookimpl", "if_else", "inspect", "loguniform", "maximum",
    "merge_optimizers", "minimum", "nn", "no_default_hook", "optional", "registry", "search",
    "traverse_and_mutate_submodules", "uniform",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "registry":
        return import_module(".discovery", __name__).default_registry()
    if name == "nn":
        return import_module(".nn", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
