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
    from oneshot_plugins.ranking.evaluation import Ranked, Ranking
    from oneshot_plugins.ranking.front import ParetoFront
    from oneshot_plugins.run.rows import LogCheckpointRow
    from oneshot_plugins.run.seeding import SeedEachBatch

    from . import nn
    from .architecture import Architecture, freeze
    from .decision import Active, Decision, DecisionTable
    from .discovery import Registry
    from .hooks import MutationHook, no_default_hook
    from .hookspecs import Component, hookimpl
    from .lightning import AtomicCheckpointIO, BaseOneShotLightningModule, search
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

_HOME = {
    # what a user writes
    "Cell": "oneshot_plugins.cells.cell",
    "InputChoice": "space",
    "LayerChoice": "space",
    "Repeat": "space",
    "ValueChoice": "space",
    "choice": "space",
    "constrain": "space",
    "if_else": "space",
    "loguniform": "space",
    "maximum": "space",
    "minimum": "space",
    "uniform": "space",
    "search": "lightning",
    "AtomicCheckpointIO": "lightning",
    "LogCheckpointRow": "oneshot_plugins.run.rows",
    "SeedEachBatch": "oneshot_plugins.run.seeding",
    "Architecture": "architecture",
    "freeze": "architecture",
    "ParetoFront": "oneshot_plugins.ranking.front",
    "Ranked": "oneshot_plugins.ranking.evaluation",
    "Ranking": "oneshot_plugins.ranking.evaluation",
    "ModelSpace": "model_space",
    "Inspection": "oneshot_plugins.inspect.inspection",
    "inspect": "oneshot_plugins.inspect.inspection",
    # what an extension builds on
    "Active": "decision",
    "BaseOneShotLightningModule": "lightning",
    "BaseSuperNetModule": "supernet",
    "Component": "hookspecs",
    "Decision": "decision",
    "DecisionTable": "decision",
    "Mutable": "space",
    "MutableModule": "space",
    "MutationHook": "hooks",
    "ParameterSpec": "space",
    "RangeChoice": "space",
    "Registry": "discovery",
    "Value": "space",
    "hookimpl": "hookspecs",
    "merge_optimizers": "optimizers",
    "no_default_hook": "hooks",
    "traverse_and_mutate_submodules": "traversal",
}

__all__ = [
    "Active", "Architecture", "AtomicCheckpointIO", "BaseOneShotLightningModule",
    "BaseSuperNetModule", "Cell", "Component", "Decision", "DecisionTable", "InputChoice",
    "Inspection", "LayerChoice", "LogCheckpointRow", "ModelSpace", "Mutable", "MutableModule",
    "MutationHook", "ParameterSpec", "ParetoFront", "RangeChoice", "Ranked", "Ranking",
    "Registry", "Repeat", "SeedEachBatch", "Value", "ValueChoice", "__version__", "choice",
    "constrain", "freeze", "hookimpl", "if_else", "inspect", "loguniform", "maximum",
    "merge_optimizers", "minimum", "nn", "no_default_hook", "registry", "search",
    "traverse_and_mutate_submodules", "uniform",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "registry":
        return import_module(".discovery", __name__).default_registry()
    if name == "nn":
        return import_module(".nn", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOME[name]
    absolute = home if home.startswith("oneshot_plugins.") else f"{__name__}.{home}"
    value = getattr(import_module(absolute), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
