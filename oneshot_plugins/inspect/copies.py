"""Copies of a model to try things on, with data or without."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from oneshot_core.errors import InspectionError
from oneshot_core.supernet import BaseSuperNetModule

from .feed import tensors_in

META = torch.device("meta")


def copy_of(root: nn.Module, *, data: bool) -> nn.Module:
    """Return a copy of ``root`` as it was before any mutation, in evaluation mode.

    Args:
        root: stays as it is.
        data: whether to copy tensors; else they are on torch's meta device, which knows shapes
            only and takes no memory.

    Raises:
        InspectionError: a module cannot be copied, or has no shape yet.
    """
    for path, module in root.named_modules():
        if any(map(is_lazy, [*module._parameters.values(), *module._buffers.values()])):
            raise InspectionError(
                f"the {type(module).__name__} at {path!r} has no shape before its first batch",
                expected="layers with shapes",
                fix="say its number of inputs, or run the model once on a batch",
            )
    memo: dict[int, Any] = {}
    for tensor in _tensors(root):
        if not data:
            _enter(memo, tensor)
        elif not tensor.is_leaf:  # deepcopy refuses those
            memo[id(tensor)] = tensor.detach().clone()
    try:
        copied: nn.Module = _copied(root, memo)
    except Exception as error:
        raise InspectionError(
            f"{_what_refuses(root)} cannot be copied: {error}",
            expected="modules that copy.deepcopy takes; freezing copies, too",
            fix="keep handles, locks and the like out of it, or give it a __deepcopy__",
        ) from error
    _put_back(copied)
    return copied.eval()


def _what_refuses(root: nn.Module) -> str:
    """Return the module that cannot be copied, in words."""
    for path, module in root.named_modules():
        apart = ("_parameters", "_buffers", "_modules")
        try:
            copy.deepcopy({k: v for k, v in module.__dict__.items() if k not in apart})
        except Exception:
            return f"the {type(module).__name__} at {path!r}"
    return f"the {type(root).__name__}"


def already_mutated(root: nn.Module) -> dict[str, BaseSuperNetModule]:
    """Return path -> supernet module of those in a copy that do not keep their original."""
    return {p: m for p, m in root.named_modules() if isinstance(m, BaseSuperNetModule)}


def device_of(root: nn.Module) -> torch.device:
    """Return where the tensors of ``root`` are; the CPU if it has none."""
    return next((tensor.device for tensor in _tensors(root)), torch.device("cpu"))


def _tensors(root: nn.Module) -> Iterator[Tensor]:
    """Yield parameters, buffers, and tensors that are plain attributes."""
    yield from root.parameters()
    yield from root.buffers()
    for module in root.modules():
        for name, value in module.__dict__.items():
            if name not in ("_parameters", "_buffers", "_modules"):
                yield from tensors_in(value)


def _enter(memo: dict[int, Any], tensor: Tensor) -> None:
    if id(tensor) in memo:
        return
    empty = torch.empty_like(tensor, device=META)
    if isinstance(tensor, nn.Parameter):
        memo[id(tensor)] = nn.Parameter(empty, requires_grad=tensor.requires_grad)
    else:
        memo[id(tensor)] = empty.requires_grad_(tensor.requires_grad)


_ATOMS = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device, type)


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """Return what ``copy.deepcopy`` returns, much faster for modules."""
    if isinstance(value, _ATOMS):
        return value
    if id(value) in memo:
        return memo[id(value)]
    kind: Any = type(value)
    copied: Any
    if kind in (dict, OrderedDict) and not value:
        copied = memo[id(value)] = kind()
    elif kind is dict:
        copied = memo[id(value)] = {}
        for key, item in value.items():
            copied[_copied(key, memo)] = _copied(item, memo)
    elif isinstance(value, nn.Module) and _copies_as_usual(kind):
        copied = memo[id(value)] = kind.__new__(kind)
        for name, item in value.__dict__.items():
            copied.__dict__[name] = _copied(item, memo)
    else:
        copied = copy.deepcopy(value, memo)
    return copied


@cache
def _copies_as_usual(kind: type[nn.Module]) -> bool:
    return (
        not hasattr(kind, "__deepcopy__")
        and kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
        and "__getstate__" not in _overriding(kind)
        and kind.__setstate__ is nn.Module.__setstate__
    )


def _overriding(kind: type[nn.Module]) -> set[str]:
    """Return the names that classes between ``kind`` and ``nn.Module`` define."""
    between = kind.__mro__[: kind.__mro__.index(nn.Module) + 1]
    return {name for base in between for name in base.__dict__}


def _put_back(root: nn.Module) -> None:
    """Put the choices back that supernet modules keep."""
    seen: set[nn.Module] = set()
    stack = [root]
    while stack:
        parent = stack.pop()
        if parent in seen:
            continue
        seen.add(parent)
        for name, child in parent._modules.items():
            while isinstance(child, BaseSuperNetModule) and child.original is not None:
                child = child.original
            parent._modules[name] = child
            if child is not None:
                stack.append(child)
