"""Whether a network is being computed at present."""

from __future__ import annotations

import sys

import torch
from torch import nn


class _Running:
    """Says whether a network is being computed: in ``with running: ...``, or in a module's call.

    A layer with choices is then, for whoever reads its tensors, the layer that it computes. At
    other times reads give all of a tensor, so that optimizers and initialisation get what is kept.
    A step of a LightningModule is not called as a module is; a search enters this around it.
    """

    depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *error: object) -> None:
        self.depth -= 1

    def __bool__(self) -> bool:
        if self.depth or torch.compiler.is_compiling():
            return self.depth > 0
        frame = sys._getframe(1).f_back
        while frame is not None and frame.f_code is not _CALL:
            frame = frame.f_back
        return frame is not None


running = _Running()
_CALL = nn.Module._call_impl.__code__
