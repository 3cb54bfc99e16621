"""What is read of an elastic module: while a network is computed, the part that sizes ask for.

At other times a read gives all of a tensor: that is what initialisation, optimizers and checkpoints
are about, and what is written in place then reaches what is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from oneshot_core.errors import StrategyError

from .extent import Values
from .layout import Extents, Follows, Layout, Plan, Tensors, held
from .mixture import largest, weighted_tensor
from .skipping import KEY, Counted, computing

_MISSING = object()


def plan_of(module: nn.Module) -> Plan | None:
    """Return what ``module`` is at present; None if that is all of it, or a mixture."""
    own = module.__dict__
    layout: Layout = own[KEY]
    decisions = own.get("_decisions")
    if not decisions and layout.override is None:
        return None
    setting = layout.setting(decisions or ())
    if setting is None:
        return None
    plan = Plan(layout, setting) if torch.compiler.is_compiling() else layout.plan(setting)
    return None if plan.whole or not computing() else plan


def is_mixed(module: nn.Module) -> bool:
    """Say whether ``module`` is computed with several sizes at once at present."""
    own = module.__dict__
    decisions = own.get("_decisions")
    return bool(decisions) and own[KEY].setting(decisions) is None and computing()


def read_tensor(module: nn.Module, name: str) -> Any:
    """Return the part of a tensor that is computed with at present, or all of it."""
    full = held(module, name)
    if full is None:
        full = computed_tensor(module, name)
    if full is None or KEY not in module.__dict__:
        return full
    try:
        plan = plan_of(module)
        if plan is not None:
            return part_of(full, module.__dict__[KEY].tensors[name], plan, name)
        return weighted_tensor(module, name, full) if is_mixed(module) else full
    except AttributeError as error:
        # nn.Module would look the name up once more, and silently give all of the tensor.
        raise RuntimeError(f"{type(module).__name__}.{name} cannot be read: {error}") from error


def part_of(full: Tensor, extents: Extents, plan: Plan, name: str) -> Tensor:
    """Return the part of ``full`` that a plan asks for.

    It is what the frozen module holds, down to how kernels will treat it: it lies in one piece, and
    asks for a gradient whether or not one is computed. Matrix products round differently for
    others.

    Raises:
        StrategyError: the tensor is split over devices and cannot be cut there.
    """
    check_length(full, extents, name)
    part = compact(cut(full, extents, plan.cuts.get(name), plan.values), full)
    if full.requires_grad and not part.requires_grad:
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
        for memory_format in (torch.channels_last, torch.channels_last_3d):
            dims = 4 if memory_format is torch.channels_last else 5
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


def read_attribute(module: nn.Module, name: str) -> Any:
    """Return an attribute that follows sizes, as it is at present."""
    own = module.__dict__
    layout = own.get(KEY)
    kept = own.get(name, _MISSING)
    if kept is _MISSING:  # of the class
        kept = getattr(type(module).plain, name)  # type: ignore[attr-defined]
    if layout is None:
        return kept
    try:
        follows = layout.attributes[name]
        if isinstance(follows, Tensors):
            return [getattr(module, each) for each in follows.names] if computing() else kept
        if isinstance(follows, Counted):
            return follows.now(kept) if computing() else kept
        plan = plan_of(module)
        if plan is not None:
            return plan.attributes[name]
        return largest(module, follows) if is_mixed(module) else kept
    except AttributeError as error:
        raise RuntimeError(f"{type(module).__name__}.{name} cannot be read: {error}") from error


def attributes_at(module: nn.Module, plan: Plan, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that a frozen module has.

    Args:
        module: elastic.
        plan: what is frozen.
        tensors: name -> what the frozen module holds.
    """
    layout: Layout = module.__dict__[KEY]
    found = {}
    for name, follows in layout.attributes.items():
        if isinstance(follows, Follows):
            found[name] = plan.attributes[name]
        elif isinstance(follows, Counted):
            found[name] = follows.in_frozen(module.__dict__[name])
        else:
            found[name] = [tensors[each] for each in follows.names]
    return found


def computed_tensor(module: nn.Module, name: str) -> Any:
    """Return what a parametrization gives for a tensor; None where there is none."""
    for base in type(module).plain.__mro__:  # type: ignore[attr-defined]
        member = base.__dict__.get(name)
        if isinstance(member, property) and member.fget is not None:
            return member.fget(module)
    if name in module.__dict__["_parameters"] or name in module.__dict__["_buffers"]:
        return None
    raise AttributeError(f"{type(module).__name__!r} object has no attribute {name!r}")
