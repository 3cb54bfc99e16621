"""What a forward pass over tensors without content must leave as it was."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ["is_depthwise", "quiet", "untouched"]


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Leave every module of ``model``, and the state of random numbers, as they were."""
    saved = [
        (m, dict(m.__dict__), dict(m._parameters), dict(m._buffers), dict(m._modules))
        for m in model.modules()
    ]
    state = random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(state)
        for module, attributes, *tables in saved:
            module.__dict__.clear()
            module.__dict__.update(attributes)
            own: list[Any] = [module._parameters, module._buffers, module._modules]
            for table, before in zip(own, tables, strict=True):
                table.clear()
                table.update(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep torch from logging an error that is raised anyway."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def is_depthwise(module: nn.Module) -> bool:
    """Say whether a module is a convolution that has as many groups as channels."""
    return isinstance(module, nn.modules.conv._ConvNd) and module.groups == module.in_channels > 1
