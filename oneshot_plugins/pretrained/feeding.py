"""How a model is run on batches to learn about it, without a trace of that in the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from oneshot_core.errors import SpaceError

__all__ = ["floating", "forward", "observing", "require_batches"]


@contextmanager
def observing(model: nn.Module) -> Iterator[None]:
    """Put ``model`` into eval mode for the block, with the same random numbers in each such block.

    Afterwards every module is in the mode that it was in, and the random state of the CPU is what
    it was. Fused kernels of ``nn.MultiheadAttention`` are off: they hide what goes into a weight.
    """
    modes = [(module, module.training) for module in model.modules()]
    fused = torch.backends.mha.get_fastpath_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            model.eval()
            torch.backends.mha.set_fastpath_enabled(False)
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
            for module, mode in modes:
                module.training = mode


def forward(model: nn.Module, batch: object) -> Any:
    """Call ``model`` with one batch, on the model's device, and return its result.

    Args:
        model: the model.
        batch: a tensor; a tuple or list of positional arguments; or a mapping of keyword arguments,
            such as a tokenizer returns.
    """
    tensors = [*model.parameters(), *model.buffers()]
    device = tensors[0].device if tensors else torch.device("cpu")

    def move(leaf: object) -> object:
        return leaf.to(device) if isinstance(leaf, Tensor) else leaf

    if isinstance(batch, Mapping):
        return model(**{name: pytree.tree_map(move, value) for name, value in batch.items()})
    if isinstance(batch, (tuple, list)):
        return model(*(pytree.tree_map(move, value) for value in batch))
    return model(move(batch))


def require_batches(batches: Iterable[Any] | None, why: str) -> list[Any]:
    """Return ``batches`` as a list.

    Raises:
        SpaceError: there are none.
    """
    given = [] if batches is None else list(batches)
    if not given:
        raise SpaceError(
            f"{why} needs batches, and there are none",
            expected="an iterable of batches: tensors, tuples of positional or dicts of keyword "
            "arguments of the model",
            fix="give some, such as batches=[next(iter(loader))]; the importance 'magnitude' "
            "needs none",
        )
    return given


def floating(result: object) -> list[Tensor]:
    """Return the tensors of real numbers in the result of a model, in order."""
    if isinstance(result, Mapping):  # results of transformers, whether pytree knows them or not
        result = list(result.values())
    leaves = pytree.tree_leaves(result)
    return [x.detach() for x in leaves if isinstance(x, Tensor) and x.is_floating_point()]
