"""The part of a tensor that a setting of sizes keeps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oneshot_core.errors import StrategyError

from .extent import Values
from .layout import Extents, Plan


def part_of(full: Tensor, extents: Extents, plan: Plan, name: str) -> Tensor:
    """Return the part of ``full`` that a plan asks for.

    It is what the frozen module holds, down to how kernels will treat it: it lies in one piece, and
    asks for a gradient whether or not one is computed. Matrix products round differently for
    others.

    Raises:
        StrategyError: the tensor is split over devices, or no longer the one that was made elastic.
    """
    check_length(full, extents, name)
    part = compact(cut(full, extents, plan.cuts.get(name), plan.values), full)
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    if full.requires_grad and not part.requires_grad and not tracing:
        part = part.detach().requires_grad_()
    return part


def cut(
    full: Tensor, extents: Extents, cuts: list[tuple[int, int]] | None, values: Values
) -> Tensor:
    """Return the part of ``full`` that ``values`` keep; a view where it is made of prefixes."""
    if cuts is not None:
        for dim, length in cuts:
            full = full.narrow(dim, 0, length)
        return full
    for dim, extent in enumerate(extents):
        if extent is not None:
            full = extent.cut(full, dim, values)
    return full


def compact(part: Tensor, full: Tensor) -> Tensor:
    """Return ``part`` in one piece, in the memory format of ``full``; itself if it is."""
    if part is full:
        return part
    if not full.is_contiguous():
        for dims, memory_format in ((4, torch.channels_last), (5, torch.channels_last_3d)):
            if full.dim() == dims and full.is_contiguous(memory_format=memory_format):
                return part.contiguous(memory_format=memory_format)
    return part.contiguous()


def check_length(full: Tensor, extents: Extents, name: str) -> None:
    """Refuse a tensor that is no longer as large as the one that was made elastic.

    Raises:
        StrategyError: it is not, or it is split over devices.
    """
    if type(full) is not nn.Parameter and type(full).__name__ == "DTensor":
        raise StrategyError(
            f"the elastic tensor {name!r} is split over devices while it is computed with, as in "
            "tensor parallelism",
            expected="whole tensors in the forward pass, as fully_shard gives",
            fix="leave out tensor parallelism for elastic modules, or freeze the network first",
        )
    shape = tuple(full.shape)
    wanted = tuple(
        length if extent is None else extent.full
        for length, extent in zip(shape, extents, strict=False)
    )
    if shape != wanted or len(shape) != len(extents):
        raise StrategyError(
            f"the elastic tensor {name!r} was exchanged for one of the shape {shape}",
            expected=f"all that is stored, {wanted}",
            fix="freeze the network first, or build the model anew and make it elastic then",
        )
