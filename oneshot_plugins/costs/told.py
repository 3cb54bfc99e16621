"""What a table tells of its origin, as text, and back again."""

from __future__ import annotations

from typing import Any

import torch

from oneshot_core.errors import OneShotError

from .sample import sample_tensor
from .table import CostTable


def name_of(cost: Any) -> str:
    """Return the dotted name of a function, to know it again."""
    return f"{getattr(cost, '__module__', '')}.{getattr(cost, '__qualname__', type(cost).__name__)}"


def shape_text(given: Any) -> str:
    """Return an input as ``oneshot cost build --input`` takes it; for anything else its class."""
    if not isinstance(given, torch.Tensor):
        return type(given).__name__
    dtype = str(given.dtype).removeprefix("torch.")
    sizes = "x".join(map(str, given.shape))
    return sizes if dtype == "float32" else f"{sizes}:{dtype}"


def inputs_of(table: CostTable) -> tuple[Any, ...] | None:
    """Make inputs like those that a table was built with; None if that cannot be done."""
    said = table.origin.get("inputs")
    if not isinstance(said, list):
        return None
    try:
        return tuple(
            sample_tensor("x".join(map(str, each)) if isinstance(each, list) else str(each))
            for each in said
        )
    except OneShotError:
        return None


__all__ = ["inputs_of", "name_of", "shape_text"]
