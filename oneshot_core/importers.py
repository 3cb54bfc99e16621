"""Architectures of other systems; see :mod:`oneshot_plugins.spaces.nni`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oneshot_plugins.spaces.nni import from_nni as from_nni


def __getattr__(name: str) -> Any:
    if name != "from_nni":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("oneshot_plugins.spaces.nni").from_nni
