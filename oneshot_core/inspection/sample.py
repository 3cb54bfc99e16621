"""A sample tensor, as the command line writes it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InspectionError


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
            f"--input {text}.\n"
            "  expected: sizes with x between them, and a torch dtype if it is not float32\n"
            "  fix: write for example --input 2x3x32x32, or --input 2x8:int64"
        ) from None
    if dtype.is_floating_point:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(sizes, generator=generator).to(dtype)
    return torch.zeros(sizes, dtype=dtype)
