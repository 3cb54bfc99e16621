"""Which blocks of a model matter: how much its results change without them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oneshot_core.errors import SpaceError

from .feeding import floating, forward, observing, require_batches

__all__ = ["BlockImportance", "block_importance", "cosine"]

Measure = Callable[[Any, Any], float]
"""``(result without some blocks, result of the whole model) -> number``, larger is better."""

ALL_SUBSETS = 8
"""Up to this many blocks, all subsets are tried unless the caller says otherwise: 256."""


@dataclass(frozen=True, slots=True)
class BlockImportance:
    """What a model is worth without some of its blocks.

    Args:
        paths: the blocks.
        whole: what the measure says about the model with all blocks.
        scores: float64, shape ``(len(paths),)``: by how much the measure falls without each block.
        measured: the positions in ``paths`` that were kept -> what the measure said.
    """

    paths: tuple[str, ...]
    whole: float
    scores: Tensor
    measured: dict[tuple[int, ...], float]

    def best(self, count: int) -> tuple[int, ...]:
        """Return the positions of the ``count`` blocks to keep, ascending.

        The best subset of that many blocks that was measured; if none was, those that score most.

        Raises:
            SpaceError: there are not so many blocks.

        >>> found = BlockImportance(("0", "1"), 1.0, torch.tensor([0.2, 0.1]), {})
        >>> found.best(1)
        (0,)
        """
        if not 0 <= count <= len(self.paths):
            raise SpaceError(
                f"{count} blocks are to be kept of {len(self.paths)}",
                expected=f"a number from 0 to {len(self.paths)}",
                fix="correct the number",
            )
        known = {kept: value for kept, value in self.measured.items() if len(kept) == count}
        if known:
            return max(known, key=known.__getitem__)
        order = self.scores.argsort(descending=True, stable=True)
        return tuple(sorted(order[:count].tolist()))


def cosine(result: Any, whole: Any) -> float:
    """Return the mean cosine similarity of the last dimension of the first tensors of two results.

    Vectors that are equal have the similarity 1, those of zeros included.

    >>> round(cosine(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])), 3)
    0.707
    """
    first, second = floating(result)[0].double(), floating(whole)[0].double()
    similarity = F.cosine_similarity(first, second, dim=-1)
    return float(similarity.masked_fill((first == second).all(-1), 1.0).mean())


def block_importance(
    model: nn.Module,
    paths: Sequence[str],
    batches: Iterable[Any],
    *,
    measure: Measure = cosine,
    method: str | None = None,
    give: Callable[..., Any] | None = None,
) -> BlockImportance:
    """Measure what ``model`` gives without some of its blocks, with the weights that it has.

    A block that is left out gives back its first argument. Further items of a result that is a
    tuple, such as attention weights, stay those of the block.

    Args:
        model: any module, run in eval mode without gradients; it is left as it was.
        paths: dotted paths of blocks whose result has the shape of their first argument.
        batches: each a tensor, a tuple of positional or a mapping of keyword arguments.
        measure: compares two results of the model; the mean over the batches counts. For a loss:
            ``lambda result, whole: -float(result.loss)``.
        method: ``"each"`` leaves out one block at a time; ``"greedy"`` goes on from there, without
            the block that is missed least, until none is left; ``"all"`` tries every subset. None
            for ``"all"`` up to 8 blocks, else ``"greedy"``.
        give: what a block that is left out gives back, a function of what it is called with. None
            for its first argument.

    Returns:
        the scores of leaving out one block, and every subset that was measured.

    Raises:
        SpaceError: there is no such block or method, there are no batches, or a block changes the
            shape of its argument.

    Source:
        Muralidharan et al., "Compact Language Models via Pruning and Knowledge Distillation",
        section 2.2, of which this measures every block by the model's results.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.ReLU())
    >>> block_importance(net, ["1", "2"], [torch.randn(8, 2)]).measured[(0,)]
    1.0
    """
    blocks = [_block(model, path) for path in paths]
    everything = tuple(range(len(blocks)))
    if method not in (None, "each", "greedy", "all"):
        raise SpaceError(
            f"method={method!r}", expected="'each', 'greedy', 'all' or None", fix="correct method="
        )
    chosen = method or ("all" if len(blocks) <= ALL_SUBSETS else "greedy")
    given = require_batches(batches, "the importance of blocks")
    measured: dict[tuple[int, ...], float] = {}
    with observing(model), torch.no_grad():
        whole = [forward(model, batch) for batch in given]

        def value(kept: tuple[int, ...]) -> float:
            if kept not in measured:
                out = [i for i in everything if i not in kept]
                with _left_out([blocks[i] for i in out], [paths[i] for i in out], give):
                    found = [
                        measure(forward(model, batch), result)
                        for batch, result in zip(given, whole, strict=True)
                    ]
                measured[kept] = sum(found) / len(found)
            return measured[kept]

        top = value(everything)
        each = [value(everything[:i] + everything[i + 1 :]) for i in everything]
        if chosen == "all":
            for count in everything:
                for kept in combinations(everything, count):
                    value(kept)
        kept = everything
        while chosen == "greedy" and kept:
            kept = max((tuple(i for i in kept if i != gone) for gone in kept), key=value)
    scores = torch.tensor([top - one for one in each], dtype=torch.float64)
    return BlockImportance(tuple(paths), top, scores, measured)


def _block(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise SpaceError(
            f"the model has no block {path!r}",
            expected="dotted paths as of model.named_modules()",
            fix="correct paths=",
        ) from error


@contextmanager
def _left_out(
    blocks: Sequence[nn.Module], paths: Sequence[str], give: Callable[..., Any] | None
) -> Iterator[None]:
    """Let ``blocks`` give back their first argument; what they compute is thrown away."""
    handles = []
    try:
        for block, path in zip(blocks, paths, strict=True):
            hook = _hook(path, give)
            handles.append(block.register_forward_hook(hook, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(path: str, give: Callable[..., Any] | None) -> Callable[..., Any]:
    def replace(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
        if give is not None:
            return give(*args, **kwargs)
        first = args[0] if args else next(iter(kwargs.values()), None)
        result = out[0] if isinstance(out, tuple) and out else out
        if not isinstance(first, Tensor) or not isinstance(result, Tensor):
            what = f"is called with a {type(first).__name__} and gives a {type(out).__name__}"
        elif first.shape != result.shape:
            what = f"turns the shape {tuple(first.shape)} into {tuple(result.shape)}"
        else:
            return (first, *out[1:]) if isinstance(out, tuple) else first
        raise SpaceError(
            f"the block {path!r} {what}, so the model cannot do without it",
            expected="a block whose result is of the form of its first argument",
            fix="leave it out of paths=, or say with give= what takes the place of its result",
        )

    return replace
