"""The conformance kit, under the path that tests of plugins import; see ``oneshot_plugins.checks``.

Importing this loads no torch; running a check does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oneshot_plugins.checks.kit import *  # noqa: F403


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(import_module("oneshot_plugins.checks.kit"), name)
