"""How many bytes a network keeps, and returns from its modules in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from .feed import tensors_in
from .probe import Probe


def weight_bytes(root: nn.Module) -> int:
    """Return the bytes of parameters and buffers."""
    return _bytes([*root.parameters(), *root.buffers()])


def gradient_bytes(root: nn.Module) -> int:
    """Return the bytes of the gradients of all parameters that are trained."""
    return _bytes(p for p in root.parameters() if p.requires_grad)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def activation_bytes(probe: Probe) -> tuple[int, Any]:
    """Run the network; return the bytes of what its modules return, and its output.

    Each tensor counts once. Views, and what is changed in place, are the tensor that they are a
    part of. Inputs and weights do not count.
    """
    held: dict[int, Tensor] = {}
    given = [*probe.root.parameters(), *probe.root.buffers()]
    given += tensors_in([probe.feed.args, dict(probe.feed.kwargs)])
    known = {_storage(tensor) for tensor in given}

    def note(module: nn.Module, args: Any, output: Any) -> None:
        for tensor in tensors_in(output):
            held.setdefault(_storage(tensor), tensor)  # held, so that no other gets its place

    handles = [module.register_forward_hook(note) for module in probe.root.modules()]
    try:
        output = probe.run()
    finally:
        for handle in handles:
            handle.remove()
    total = sum(t.untyped_storage().nbytes() for key, t in held.items() if key not in known)
    return total, output


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
