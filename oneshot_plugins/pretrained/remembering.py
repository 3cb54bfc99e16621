"""What of a model decides how its forward pass treats shapes: a key to remember traces by."""

from __future__ import annotations

import enum
import functools
import types
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["key_of"]

_DEPTH = 8
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
_CODE = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType)
_TREE = {"_parameters", "_buffers", "_modules", "training", "_non_persistent_buffers_set"}


class _UnknownError(Exception):
    """An object of which the content cannot be compared."""


def key_of(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], attributes: Any
) -> Any:
    """Return what two models with equal traces have in common; None if nobody can tell.

    It holds the class of every module, all that it holds besides its tensors (numbers, texts,
    functions, configurations), the shapes and types of the tensors, which of them are tied, and the
    shapes of the inputs. The content of tensors has no part in it.
    """
    first: dict[int, int] = {}
    try:
        modules = tuple(
            (path, type(m), _attributes(m), _tensors(m, first))
            for path, m in model.named_modules(remove_duplicate=False)
        )
        inputs = _plain((tuple(args), dict(kwargs)), 0)
        follows = tuple((p, tuple(a.items())) for p, a in (attributes or {}).items())
        key = (modules, inputs, follows)
        hash(key)
    except (_UnknownError, TypeError):
        return None
    return key


def _attributes(module: nn.Module) -> Any:
    return tuple((k, _plain(v, 0)) for k, v in module.__dict__.items() if k not in _TREE)


def _tensors(module: nn.Module, first: dict[int, int]) -> Any:
    return tuple(
        (name, tensor.shape, tensor.dtype, first.setdefault(id(tensor), len(first)))
        for table in (module._parameters, module._buffers)
        for name, tensor in table.items()
        if tensor is not None
    )


def _plain(value: Any, depth: int) -> Any:
    """Return ``value`` as nested tuples that can be compared."""
    if isinstance(value, (enum.Enum, *_CODE)):
        return value
    if isinstance(value, _PLAIN):
        return type(value), value  # 1, 1.0 and True are equal, but not the same
    if isinstance(value, Tensor):
        return "tensor", value.shape, value.dtype
    if depth > _DEPTH or isinstance(value, nn.Module):
        raise _UnknownError
    if isinstance(value, functools.partial):
        return _plain((value.func, value.args, value.keywords), depth + 1)
    if isinstance(value, Mapping):
        items = value.items()
        return type(value), tuple((_plain(k, depth + 1), _plain(v, depth + 1)) for k, v in items)
    if isinstance(value, (list, tuple)):
        return type(value), tuple(_plain(v, depth + 1) for v in value)
    if isinstance(value, (set, frozenset)):
        return type(value), frozenset(_plain(v, depth + 1) for v in value)
    if hasattr(value, "__dict__") and not isinstance(value, types.MethodType):
        return type(value), _plain(vars(value), depth + 1)
    raise _UnknownError
