"""Compare and reduce what modules return: tensors, and nests of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from oneshot_plugins.costs.nests import leaves


def mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Return ``value`` with ``function`` applied to its floating-point tensors."""
    if isinstance(value, Mapping):
        return {key: mapped(function, item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(mapped(function, item) for item in value)
    if isinstance(value, Tensor) and value.is_floating_point():
        return function(value)
    return value


def form(value: Any) -> list[object]:
    """Return shape and type of all that ``value`` holds."""
    return [
        (tuple(leaf.shape), leaf.dtype) if isinstance(leaf, Tensor) else type(leaf)
        for leaf in leaves(value)
    ]


def same(one: Any, other: Any) -> bool:
    """Say whether two outputs are equal, bit for bit."""
    return form(one) == form(other) and all(
        torch.equal(a, b) if isinstance(a, Tensor) else a == b
        for a, b in zip(leaves(one), leaves(other), strict=True)
    )


def close(one: Any, other: Any) -> bool:
    """Say whether two outputs are equal up to rounding."""
    return form(one) == form(other) and all(
        torch.allclose(a, b, atol=1e-5) if isinstance(a, Tensor) else a == b
        for a, b in zip(leaves(one), leaves(other), strict=True)
    )


def close_but_for_zeros(one: Any, other: Any) -> bool:
    """Say whether ``one`` is ``other`` up to rounding, with zeros behind in any dimension."""
    pairs = list(zip(leaves(one), leaves(other), strict=True))
    for a, b in pairs:
        if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
            if a != b:
                return False
            continue
        if a.dim() != b.dim() or any(n < m for n, m in zip(a.shape, b.shape, strict=True)):
            return False
        rest = a.clone()
        corner = tuple(slice(size) for size in b.shape)
        rest[corner] = 0
        if not torch.allclose(a[corner], b, atol=1e-5) or bool((rest.abs() > 1e-5).any()):
            return False
    return True


def total(value: Any) -> Tensor:
    """Return a number that depends on every tensor in ``value``."""
    parts = [
        leaf.square().mean() + leaf.mean()
        for leaf in leaves(value)
        if isinstance(leaf, Tensor) and leaf.is_floating_point()
    ]
    return torch.stack(parts).sum()


def trace_of(root: nn.Module) -> tuple[object, ...]:
    """Return what must be equal before and after something that leaves ``root`` alone."""
    modules = tuple(
        (path, id(module), module.training, _hooks(module)) for path, module in root.named_modules()
    )
    tensors = tuple(
        (name, id(tensor), tensor.requires_grad, tensor._version, id(tensor.grad))
        for name, tensor in [*root.named_parameters(), *root.named_buffers()]
    )
    return modules, tensors


def _hooks(module: nn.Module) -> int:
    return sum(len(value) for name, value in module.__dict__.items() if name.endswith("_hooks"))
