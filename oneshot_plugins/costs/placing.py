"""Put networks and inputs somewhere else, so that tensors which are one stay one.

``module.to("meta")`` makes a parameter of its own for each place that holds it: what was tied is
tied no longer, and counts twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

META = torch.device("meta")


def without_data(model: nn.Module, memo: dict[int, Any]) -> None:
    """Let a deep copy of ``model`` with this memo have the shapes of its tensors, without data."""
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None and id(tensor) not in memo:
                memo[id(tensor)] = _like(tensor)


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """Put ``network`` on a device and return it; on the meta device it keeps what is tied."""
    if device.type != "meta":
        return network.to(device)
    known: dict[int, Tensor] = {}
    for module in network.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    if id(tensor) not in known:
                        known[id(tensor)] = tensor if tensor.is_meta else _like(tensor)
                    tensors[name] = known[id(tensor)]  # type: ignore[assignment]
    return network


def moved(inputs: tuple[Any, ...], device: torch.device) -> tuple[Any, ...]:
    """Return the inputs with all tensors on a device."""
    there: tuple[Any, ...] = tree_map_only(Tensor, lambda tensor: tensor.to(device), inputs)
    return there


def _like(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device=META)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty


__all__ = ["moved", "placed", "without_data"]
