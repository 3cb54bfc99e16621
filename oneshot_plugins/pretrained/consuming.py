"""What goes into which weights of a model, read from the operations of its forward pass.

Modules are not asked: a weight may be read by its parent, as in ``nn.MultiheadAttention``, or be
one of several in a packed tensor. So products of matrices and convolutions are watched below the
modules, and a weight is known by the memory that it lies in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Consumer", "Watch"]

_aten = torch.ops.aten
_PRODUCTS = {  # operation -> where its two factors are among its arguments
    _aten.mm.default: (0, 1),
    _aten.bmm.default: (0, 1),
    _aten.addmm.default: (1, 2),
    _aten.baddbmm.default: (1, 2),
    _aten.mv.default: (0, 1),
    _aten.addmv.default: (1, 2),
}


class Consumer(NamedTuple):
    """A weight, or a part of one, that inputs are multiplied with and summed over one dimension.

    Attributes:
        name: dotted name of the parameter.
        dim: its dimension that the sum is over.
        start: the first index of that dimension in the part.
        weight: shape ``(groups, inputs, outputs)``: what each input is multiplied with; more than
            one group only where a convolution has them.
    """

    name: str
    dim: int
    start: int
    weight: Tensor
    is_product: bool


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While entered, tell ``seen`` about each product of an input and a parameter.

    Subclasses say in ``seen`` what they want to know.

    Args:
        tensors: dotted name -> parameter, those to look for.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by_memory: dict[int, list[tuple[str, Tensor]]] = {}
        for name, tensor in tensors.items():
            memory = tensor.untyped_storage().data_ptr()
            self.by_memory.setdefault(memory, []).append((name, tensor))

    def seen(self, key: tuple[Any, ...], consumer: Consumer, inputs: Tensor) -> None:
        """Learn that ``inputs`` go into ``consumer``.

        Args:
            key: equal for the same part of the same weight.
            consumer: that part.
            inputs: shape ``(n, groups, inputs)``.
        """
        raise NotImplementedError

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        with torch.no_grad():
            if func in _PRODUCTS:
                first, second = (args[place] for place in _PRODUCTS[func])
                self._product(first, second)
                self._product(second.mT if second.dim() > 1 else second[:, None].mT, first.mT)
            elif func is _aten.convolution.default:
                self._convolution(args[0], args[1], args[6], args[8])
        return func(*args, **(kwargs or {}))

    def _product(self, inputs: Tensor, weight: Tensor) -> None:
        """Look at ``inputs @ weight``, which a batched product repeats without using memory."""
        if weight.dim() == 3:
            if weight.stride(0) != 0 and weight.shape[0] > 1:
                return
            weight, inputs = weight[0], inputs.flatten(0, -2)
        if weight.dim() != 2 or len(weight) == 1:  # nothing is summed
            return
        for name, tensor in self._known(weight):
            offset = weight.storage_offset() - tensor.storage_offset()
            for dim in range(tensor.dim()):
                stride, length = tensor.stride(dim), tensor.shape[dim]
                start = offset // stride % length if stride else 0
                if length > 1 and stride == weight.stride(0) and start + len(weight) <= length:
                    key = (name, dim, offset, tuple(weight.shape))
                    found = Consumer(name, dim, start, weight[None], True)
                    self.seen(key, found, inputs.reshape(-1, 1, len(weight)))
                    return

    def _convolution(self, inputs: Tensor, weight: Tensor, transposed: bool, groups: int) -> None:
        for name, tensor in self._known(weight):
            if tensor.shape != weight.shape:
                continue
            channels = inputs.movedim(1, -1).flatten(0, -2)
            if transposed:  # (inputs, outputs / groups, *kernel)
                part = weight.flatten(1)[None]
                self.seen((name,), Consumer(name, 0, 0, part, False), channels[:, None])
            elif weight.shape[1] > 1:  # (outputs, inputs / groups, *kernel)
                part = weight.reshape(groups, -1, *weight.shape[1:]).movedim(2, 1).flatten(2)
                split = channels.reshape(len(channels), groups, -1)
                self.seen((name,), Consumer(name, 1, 0, part, False), split)
            return

    def _known(self, weight: Tensor) -> list[tuple[str, Tensor]]:
        """Return the parameter whose memory ``weight`` lies in, as a list of one or none."""
        if weight.is_sparse or not weight.numel():
            return []
        place = weight.storage_offset()
        return [
            (name, tensor)
            for name, tensor in self.by_memory.get(weight.untyped_storage().data_ptr(), [])
            if tensor.storage_offset() <= place < tensor.storage_offset() + tensor.numel()
        ][:1]
