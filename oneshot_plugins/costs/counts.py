"""Costs that are counted, not measured: the same on every machine.

A cost is a function ``(network, *inputs) -> float`` of a plain network and what it is called
with. It leaves the network as it was. One that has the attribute ``counts`` needs shapes only, so a
table of it is built on torch's meta device, without data.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from torch.utils.weak import WeakIdKeyDictionary

from .running import in_use

F = TypeVar("F", bound=Callable[..., float])


def counted(cost: F) -> F:
    """Say of a cost that shapes are all it looks at."""
    cost.counts = True  # type: ignore[attr-defined]
    return cost


def measured(cost: F) -> F:
    """Say of a cost that it runs the network with data."""
    cost.counts = False  # type: ignore[attr-defined]
    return cost


@counted
def parameters(network: nn.Module, *inputs: Tensor) -> float:
    """Count the trainable numbers in ``network``, shared ones once; ``inputs`` do not matter."""
    return float(sum(p.numel() for p in network.parameters() if p.requires_grad))


parameters.per_input = False  # type: ignore[attr-defined]


@counted
def macs(network: nn.Module, *inputs: Tensor) -> float:
    """Count the multiply-accumulate operations of ``network(*inputs)``.

    Those of convolutions, matrix products and attention (masked or not); for the whole batch. A
    batch of one gives the usual number. Runs the network once, in evaluation mode.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_ATTENTION_ON_CPU)
    with in_use(network), _without_fused_layers(), counter:
        network(*inputs)
    return float(counter.get_total_flops()) / 2  # torch counts the multiplication and the addition


def _attention(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *args: Any, **kwargs: Any
) -> int:
    flops: int = sdpa_flop_count(query, key, value)  # type: ignore[no-untyped-call]
    return flops


# torch counts the kernels of GPUs only.
_ATTENTION_ON_CPU = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


@contextmanager
def _without_fused_layers() -> Iterator[None]:
    """Let layers of attention run in parts: of their one operation torch knows no count."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@measured
def peak_memory(network: nn.Module, *inputs: Tensor) -> float:
    """Return how many bytes the activations of ``network(*inputs)`` take at most at one time.

    Counted are the storages of all tensors that the forward pass makes, from the operation that
    makes them until nothing refers to them, the output included; each once, however many views
    it has. Not counted are weights, buffers, inputs, what a kernel allocates for itself, and the
    allocator's rounding. Runs the network once, in evaluation mode without gradients, so nothing
    is kept for a backward pass. The numbers of two devices may differ, for their kernels return
    different helper tensors.
    """
    given = [*network.parameters(), *network.buffers(), *_tensors(inputs)]
    with in_use(network), _Alive(given) as alive:
        output = network(*inputs)
    del output
    return float(alive.peak)


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operations make, and takes off those that nobody holds."""

    def __init__(self, given: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        # Weak: a key that lived on would keep the storage that it watches.
        self.known = WeakIdKeyDictionary()
        for tensor in given:
            self.known[tensor.untyped_storage()] = True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in _tensors(out):
            storage = tensor.untyped_storage()
            if storage not in self.known:
                self.known[storage] = True
                size = storage.nbytes()
                self.now += size
                weakref.finalize(storage, self._freed, size)
        self.peak = max(self.peak, self.now)
        return out

    def _freed(self, size: int) -> None:
        self.now -= size


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
