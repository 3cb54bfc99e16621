"""The error for a choice that stands where torch wants a number."""

from __future__ import annotations

from typing import Any

from ..errors import SpaceError

_OF_ALL_MODULES = ("torch.nn.modules.module", "torch.nn.modules.container")


def is_layer_of_torch(frame: Any) -> bool:
    """Say whether the code that runs in ``frame`` is that of a layer of ``torch.nn``."""
    name = frame.f_globals.get("__name__", "")
    return name.startswith("torch.nn.modules.") and name not in _OF_ALL_MODULES


def given_to_torch(value: object, frame: Any, name: str) -> SpaceError:
    """Return the error about a value that a layer or function of torch has got.

    Args:
        value: what it got.
        frame: where that was found out.
        name: of the function, where no layer called it.
    """
    taker = f"torch's {name}"
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "torch":
        if is_layer_of_torch(frame) and "self" in frame.f_locals:
            # Of several, the one that was called first: what the user wrote.
            taker = f"torch.nn.{type(frame.f_locals['self']).__name__}"
        frame = frame.f_back
    return SpaceError(
        f"{taker} got the choice {value!r}; layers and functions of torch.nn take no choices",
        expected="plain numbers there, and choices in the layers of oneshot_core.nn",
        fix="from oneshot_core import nn, in the place of from torch import nn",
    )
