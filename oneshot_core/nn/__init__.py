"""``torch.nn`` with choices in the place of arguments; see :mod:`oneshot_plugins.elastic.nn`."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module("oneshot_plugins.elastic.nn"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return dir(import_module("oneshot_plugins.elastic.nn"))
