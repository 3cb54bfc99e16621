"""The mutation hooks that are installed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from .._registry import Registry
from ..errors import PluginLoadError
from ..hooks import MutationHook


def plugin_hooks(registry: Registry) -> Iterator[MutationHook]:
    """Yield the installed mutation hooks in their order; a broken one is left out.

    Warns:
        RuntimeWarning: a plugin cannot be loaded. A choice that only it would have handled is
            refused by the walk.
    """
    for record in registry.ordered("mutation_hook", "supernet"):
        try:
            target: Any = registry.load(record.id)
        except PluginLoadError as error:
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)
            continue
        yield target.mutate if record.kind == "supernet" else target
