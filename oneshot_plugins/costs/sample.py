"""What a network is called with, to be counted or measured."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from oneshot_core import BaseOneShotLightningModule
from oneshot_core.errors import InspectionError


def sample_tensor(text: str) -> Tensor:
    """Make a tensor: normally distributed, or zeros, which are valid indices and false.

    Args:
        text: sizes with x between them, and a dtype if it is not float32: ``"2x8:int64"``.

    Raises:
        InspectionError: it is neither.
    """
    shape, _, name = text.partition(":")
    dtype = getattr(torch, name or "float32", None)
    try:
        sizes = [int(size) for size in shape.split("x")]
        if not isinstance(dtype, torch.dtype) or any(size < 0 for size in sizes):
            raise ValueError(text)
    except ValueError:
        raise InspectionError(
            f"--input {text}",
            expected="sizes with x between them, and a torch dtype if it is not float32",
            fix="write for example --input 2x3x32x32, or --input 2x8:int64",
        ) from None
    if dtype.is_floating_point:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(sizes, generator=generator).to(dtype)
    return torch.zeros(sizes, dtype=dtype)


def arguments_of(search: BaseOneShotLightningModule, inputs: Any) -> tuple[Any, ...] | None:
    """Return what costs call a network with; None if nobody says.

    Args:
        search: whose ``example_input_array`` is taken if there are no inputs.
        inputs: one argument, or a tuple or list of them.
    """
    if inputs is None:
        inputs = getattr(search.model, "example_input_array", None)
    if inputs is None:
        return None
    return tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
