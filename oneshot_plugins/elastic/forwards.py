"""What the forward of a few classes does more, while a search decides their sizes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .cutting import write_back
from .layout import Layout
from .mixture import is_mixed, is_norm, weighted_norm
from .skipping import KEY

_GATHERS: tuple[type[nn.Module], ...] = (nn.Embedding, nn.EmbeddingBag)


def forward_members(plain: type[nn.Module]) -> dict[str, Any]:
    """Return a forward for classes whose own needs something around it; nothing for others."""
    if is_norm(plain):
        return {"forward": _superposed_norm(plain)}
    if any(issubclass(plain, cls) and plain.forward is cls.forward for cls in _GATHERS):
        return {"forward": _gathering(plain.forward)}
    return {}


def buffer_members(plain: type[nn.Module], run: Callable[..., Any]) -> dict[str, Any]:
    """Return a forward after which buffers hold what was written to copies of their parts."""

    @functools.wraps(run)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        layout: Layout | None = self.__dict__.get(KEY)
        try:
            return run(self, *args, **kwargs)
        finally:
            if layout is not None and layout.pending:
                write_back(layout, training=self.training)

    return {"forward": forward}


def _superposed_norm(plain: type[nn.Module]) -> Callable[..., Any]:
    run = plain.forward

    @functools.wraps(run)
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        output: Tensor = weighted_norm(self, plain, x) if is_mixed(self) else run(self, x)
        return output

    return forward


def _gathering(run: Callable[..., Any]) -> Callable[..., Any]:
    """Let rows be gathered from a part of the table that is not copied into one piece before."""

    @functools.wraps(run)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        layout: Layout | None = self.__dict__.get(KEY)
        if layout is None or torch.compiler.is_compiling():
            return run(self, *args, **kwargs)
        layout.gathers = True
        try:
            return run(self, *args, **kwargs)
        finally:
            layout.gathers = False

    return forward
