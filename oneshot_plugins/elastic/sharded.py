"""Models that ``fully_shard`` has split over processes, whole again."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from .cutting import is_sharded

M = TypeVar("M", bound=nn.Module)
_FSDP = "torch.distributed.fsdp"


def unsharded(model: M) -> M:
    """Return a copy of a model as it was before ``fully_shard``, with whole tensors.

    ``oneshot.freeze(unsharded(search.model), architecture)`` freezes what was trained sharded;
    torch lets nobody copy sharded modules themselves. All processes must call it, and each gets
    the whole model, on its own device.

    Args:
        model: any module; it stays as it is. One that is not sharded is copied.

    >>> net = nn.Linear(2, 3)
    >>> unsharded(net) is net
    False
    """
    memo: dict[int, Any] = {}
    twins: list[tuple[nn.Module, nn.Module]] = []
    for module in model.modules():
        for table in ("_parameters", "_buffers"):
            for tensor in module.__dict__[table].values():
                if tensor is not None and is_sharded(tensor) and id(tensor) not in memo:
                    memo[id(tensor)] = _whole(tensor)
        if type(module).__mro__[1].__module__.startswith(_FSDP):
            plain = type(module).__mro__[0].__bases__[1]
            twin: nn.Module = object.__new__(plain)
            memo[id(module)] = twin
            twins.append((module, twin))
    for module, twin in twins:
        object.__setattr__(twin, "__dict__", copy.deepcopy(_without_hooks(module), memo))
    return copy.deepcopy(model, memo)


def _whole(tensor: Any) -> Any:
    full = tensor.full_tensor().detach().clone()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(full, tensor.requires_grad)
    return full


def _without_hooks(module: nn.Module) -> dict[str, Any]:
    """Return what a module holds, without the hooks and states that ``fully_shard`` put there."""
    held = {}
    for name, value in module.__dict__.items():
        if name.startswith("__composable_api"):
            continue
        if "hooks" in name and isinstance(value, dict):
            held[name] = type(value)((k, hook) for k, hook in value.items() if not _is_fsdp(hook))
        else:
            held[name] = value
    return held


def _is_fsdp(hook: Callable[..., Any] | bool) -> bool:
    return str(getattr(hook, "__module__", "")).startswith(_FSDP)


__all__ = ["unsharded"]
