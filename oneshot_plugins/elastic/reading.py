"""What is read of an elastic module: while a network is computed, the part that sizes ask for.

At other times a read gives all of a tensor: that is what initialisation, optimizers and checkpoints
are about, and what is written in place then reaches what is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from .cutting import is_sharded, part_of, part_of_buffer
from .layout import Follows, Layout, Plan, Tensors, held
from .mixture import is_mixed, largest_plan, weighted_tensor
from .skipping import KEY, Counted, computing

_MISSING = object()
_OURS = __name__.rpartition(".")[0]


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
            if is_sharded(full) and _asked_by_torch_distributed():
                return full
            layout: Layout = module.__dict__[KEY]
            if layout.more and name in module.__dict__["_buffers"]:
                return part_of_buffer(module, full, plan, name)
            extents = layout.tensors[name]
            return part_of(full, extents, plan, name, whole_piece=not layout.gathers)
        return weighted_tensor(module, name, full) if is_mixed(module) else full
    except AttributeError as error:
        # nn.Module would look the name up once more, and silently give all of the tensor.
        raise RuntimeError(f"{type(module).__name__}.{name} cannot be read: {error}") from error


def _asked_by_torch_distributed() -> bool:
    """Say whether fully_shard looks at what it has sharded, as it also does as a pass begins."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_in_between(frame):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")).startswith("torch.distributed.")


def _is_in_between(frame: FrameType) -> bool:
    """Say whether a frame is ours, or of nn.Module setting a parameter, which looks first."""
    ours = str(frame.f_globals.get("__name__", "")).startswith(_OURS)
    return ours or frame.f_code in (
        nn.Module.__setattr__.__code__,
        nn.Module.register_parameter.__code__,
    )


def read_attribute(module: nn.Module, name: str) -> Any:
    """Return an attribute that follows sizes, as it is at present."""
    own = module.__dict__
    layout = own.get(KEY)
    kept = own.get(name, own["_buffers"].get(name, _MISSING))
    if kept is _MISSING:  # of the class
        kept = getattr(type(module)._oneshot_plain, name)  # type: ignore[attr-defined]
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
            return _in_place_of(kept, plan.attributes[name])
        return largest_plan(module).attributes[name] if is_mixed(module) else kept
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
            kept = module.__dict__["_buffers"].get(name)
            found[name] = _in_place_of(kept, plan.attributes[name])
        elif isinstance(follows, Counted):
            found[name] = follows.of_frozen(module.__dict__[name])
        else:
            found[name] = [tensors[each] for each in follows.names]
    return found


def _in_place_of(kept: Any, value: Any) -> Any:
    """Return a value, as a tensor where it is that of a buffer without dimensions."""
    return kept.new_full((), value) if isinstance(kept, Tensor) else value


def computed_tensor(module: nn.Module, name: str) -> Any:
    """Return what a parametrization gives for a tensor; None where there is none."""
    for base in type(module)._oneshot_plain.__mro__:  # type: ignore[attr-defined]
        member = base.__dict__.get(name)
        if isinstance(member, property) and member.fget is not None:
            return member.fget(module)
    if name in module.__dict__["_parameters"] or name in module.__dict__["_buffers"]:
        return None
    raise AttributeError(f"{type(module).__name__!r} object has no attribute {name!r}")
