"""Trade time for memory: run what is weighted a second time instead of keeping it.

A choice whose candidates are all run keeps everything inside all of them for the backward pass.
Recomputed, it keeps its input only, and one choice at a time is run again while the gradient passes
through it. Numbers do not change: dropout draws the same, and BatchNorm counts each batch once.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from oneshot_core import BaseSuperNetModule
from oneshot_core.lightning.kit import isolated_buffers


def recompute(modules: Iterable[BaseSuperNetModule]) -> None:
    """Let supernet modules recompute what they weight, in place."""
    for module in modules:
        # Past setattr, as all that a supernet module holds beside its submodules.
        module.__dict__["forward"] = _Recomputed(module)


class _Recomputed:
    """The forward of a supernet module, which keeps its inputs only."""

    def __init__(self, module: BaseSuperNetModule) -> None:
        self.module = module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        forward = type(self.module).forward
        weighted = any(d.superposes and not d.is_pinned for d in self.module.decisions)
        if not weighted or not torch.is_grad_enabled():
            return forward(self.module, *args, **kwargs)
        return checkpoint(
            forward,
            self.module,
            *args,
            use_reentrant=False,
            context_fn=self._contexts,
            **kwargs,
        )

    def _contexts(self) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), isolated_buffers(self.module)


__all__ = ["recompute"]
