"""The part of a tensor that a setting of sizes keeps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oneshot_core.errors import StrategyError

from .extent import Size, Values
from .layout import Extents, Layout, Pending, Plan
from .skipping import KEY


def part_of(
    full: Tensor, extents: Extents, plan: Plan, name: str, *, whole_piece: bool = True
) -> Tensor:
    """Return the part of ``full`` that a plan asks for.

    It is what the frozen module holds, down to how kernels will treat it: it lies in one piece, and
    asks for a gradient whether or not one is computed. Matrix products round differently for
    others.

    Args:
        full: all of a tensor.
        extents: what its dimensions are.
        plan: of the module that holds it.
        name: of the tensor, for messages and in the plan.
        whole_piece: whether the part must lie in one piece.

    Raises:
        StrategyError: the tensor is split over devices, or no longer the one that was made elastic.
    """
    check_length(full, extents, name)
    part = cut(full, extents, plan.cuts.get(name), plan.values)
    if whole_piece:
        part = compact(part, full)
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


def is_sharded(tensor: Tensor) -> bool:
    """Say whether a tensor is split over devices."""
    # By name: the module of its class is slow to import, and rarely there.
    return type(tensor) is not nn.Parameter and type(tensor).__name__ == "DTensor"


def check_length(full: Tensor, extents: Extents, name: str) -> None:
    """Refuse a tensor that is no longer as large as the one that was made elastic.

    Raises:
        StrategyError: it is not, or it is split over devices.
    """
    if is_sharded(full):
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


def may_copy(extents: Extents) -> bool:
    """Say whether some part of a tensor like this is a copy, and not a view of it."""
    if any(extents[1:]):
        return True  # it does not lie in one piece
    first = extents[0]
    return first is not None and (
        len(first.terms) > 1 or any(isinstance(f, Size) for f in first.terms[0][1:])
    )


def part_of_buffer(module: nn.Module, full: Tensor, plan: Plan, name: str) -> Tensor:
    """Return the part of a buffer that a plan asks for, in which a module may write as it runs.

    What is written to a copy is written to the buffer when the module has run.
    """
    layout: Layout = module.__dict__[KEY]
    known = layout.pending.get(name)
    if known is not None and known.plan is plan and known.full is full:
        return known.part
    part = part_of(full, layout.tensors[name], plan, name)
    if "buffers" in layout.more and not (full.is_meta or torch.is_inference(part)):
        layout.pending[name] = Pending(full, part, part._version, plan)
    return part


def write_back(layout: Layout, *, training: bool) -> None:
    """Write to buffers what was written to copies of their parts.

    Args:
        layout: of a module that has run.
        training: whether in that mode. Batch norm writes without leaving a trace on the tensor.
    """
    pending, layout.pending = layout.pending, {}
    for name, (full, part, version, plan) in pending.items():
        if part._version == version and not training:
            continue
        extents = layout.tensors[name]
        place = torch.arange(full.numel(), device=full.device).reshape(full.shape)
        place = cut(place, extents, plan.cuts.get(name), plan.values).flatten()
        with torch.no_grad():
            if full.is_contiguous():
                full.view(-1).index_copy_(0, place, part.detach().flatten())
            else:
                full.copy_(full.flatten().index_copy(0, place, part.flatten()).view(full.shape))
