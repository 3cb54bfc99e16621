"""What functions that move, merge and split dimensions do to symbolic lengths.

Each handler answers one function of torch by the shape of its result. It demands what the function
demands, and it tells :class:`~oneshot_plugins.pretrained.symbols.Symbols` in which order merged and
split dimensions lie. A handler that does not know its arguments returns ``NotImplemented``: then
torch's own fake tensors compute the result, and new lengths have an unknown order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from oneshot_plugins.pretrained.symbols import Length, Symbols

__all__ = ["HANDLERS", "broadcast", "handles", "like"]

Handler = Callable[..., Any]
HANDLERS: dict[Any, Handler] = {}
"""Function of torch -> what answers it: ``handler(symbols, *args, **kwargs)``."""

F = nn.functional


def handles(*functions: Any) -> Callable[[Handler], Handler]:
    """Register the decorated function as the handler of ``functions``."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(functions, handler))
        return handler

    return register


def like(tensor: Tensor, *shape: Length, dtype: torch.dtype | None = None) -> Tensor:
    """Return an empty tensor of ``shape``, otherwise like ``tensor``."""
    return tensor.new_empty(shape, dtype=dtype)  # type: ignore[arg-type]


def broadcast(symbols: Symbols, *shapes: Sequence[Length]) -> tuple[Length, ...]:
    """Return the shape that ``shapes`` have together; tie what must be equal."""
    rank = max(map(len, shapes))
    result: list[Length] = []
    for axis in range(-rank, 0):
        lengths = [s[axis] for s in shapes if len(s) >= -axis]
        wide = [n for n in lengths if not (isinstance(n, int) and n == 1)]
        for other in wide[1:]:
            symbols.tie(wide[0], other)
        # A constant is known without looking it up.
        constant = [n for n in wide if isinstance(n, int)]
        result.append((constant or wide or [1])[0])
    return tuple(result)


@handles(torch.Tensor.view, torch.Tensor.reshape, torch.reshape)
def _view(symbols: Symbols, x: Tensor, *shape: Any, **kwargs: Any) -> Any:
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    if kwargs or not all(isinstance(n, (int, torch.SymInt)) for n in shape):
        return NotImplemented
    return like(x, *reshaped(symbols, tuple(x.shape), shape))


@handles(torch.flatten, torch.Tensor.flatten)
def _flatten(symbols: Symbols, x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Any:
    if x.dim() == 0:
        return NotImplemented
    start, end = start_dim % x.dim(), end_dim % x.dim()
    merged = symbols.product(*x.shape[start : end + 1])
    return like(x, *x.shape[:start], merged, *x.shape[end + 1 :])


@handles(torch.unflatten, torch.Tensor.unflatten)
def _unflatten(symbols: Symbols, x: Tensor, dim: int, sizes: Sequence[Length]) -> Any:
    if not isinstance(dim, int):
        return NotImplemented
    dim %= x.dim()
    parts = _split(symbols, x.shape[dim], list(sizes))
    return like(x, *x.shape[:dim], *parts, *x.shape[dim + 1 :])


def reshaped(symbols: Symbols, before: tuple[Length, ...], after: Sequence[Length]) -> list[Length]:
    """Return the lengths after a tensor of shape ``before`` is viewed as ``after``.

    Raises:
        ValueError: the lengths do not fit.
    """
    hints = [symbols.hint(n) for n in after]
    total = 1
    for n in before:
        total *= symbols.hint(n)
    if -1 in hints:
        rest = 1
        for n in hints:
            rest *= n if n != -1 else 1
        hints[hints.index(-1)] = total // rest if rest else 0
    if 0 in hints or total == 0:
        raise ValueError("a tensor without elements is viewed")
    result: list[Length] = []
    for old, new in _groups([symbols.hint(n) for n in before], hints):
        given = [after[i] for i in new]
        result += _regroup(symbols, [before[i] for i in old], given, [hints[i] for i in new])
    return result


def _groups(before: list[int], after: list[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the smallest runs of dimensions that hold equally many elements."""
    i = j = 0
    while i < len(before) or j < len(after):
        old, new, have, want = [], [], 1, 1
        if i < len(before):
            old, have, i = [i], before[i], i + 1
        if j < len(after):
            new, want, j = [j], after[j], j + 1
        while have != want:
            if have < want and i < len(before):
                old, have, i = [*old, i], have * before[i], i + 1
            elif want < have and j < len(after):
                new, want, j = [*new, j], want * after[j], j + 1
            else:
                raise ValueError(f"a tensor of shape {before} cannot be viewed as {after}")
        # A length of 1 that stands alone on one side belongs to nobody.
        yield old, new


def _regroup(
    symbols: Symbols, old: list[Length], new: list[Length], hints: list[int]
) -> list[Length]:
    """Return the lengths of a run of new dimensions; tie them to those of the old ones."""
    if all(isinstance(n, int) for n in (*old, *new)):
        return list(hints)
    if not new:
        return []
    old = [n for n in old if not (isinstance(n, int) and n == 1)] or [1]
    if len(old) == 1:
        return _split(symbols, old[0], new)
    wide = [i for i, n in enumerate(hints) if n != 1]
    if len(wide) == 1:
        merged = symbols.product(*old)
        given = new[wide[0]]
        if not (isinstance(given, int) and given == -1):
            symbols.tie(merged, given)
            symbols.layout("product", merged, old)
        return [merged if i == wide[0] else 1 for i in range(len(new))]
    return _refactor(symbols, old, new)


def _split(symbols: Symbols, whole: Length, parts: list[Length]) -> list[Length]:
    """Return the lengths of ``parts`` (of which one may be -1) that ``whole`` is split into."""
    lengths: list[Length] = list(parts)
    missing = [i for i, n in enumerate(lengths) if isinstance(n, int) and n == -1]
    known: Length = 1
    for n in lengths:
        known = known if isinstance(n, int) and n == -1 else known * n
    if missing:
        lengths[missing[0]] = symbols.divide(whole, known)
    else:
        symbols.tie(whole, known)
    symbols.layout("product", whole, lengths)
    return lengths


def _refactor(symbols: Symbols, old: list[Length], new: list[Length]) -> list[Length]:
    """Several dimensions become several others: (batch, heads * 32) becomes (batch * heads, 32)."""
    whole: Length = 1
    for n in old:
        whole = whole * n
    known: Length = 1
    for n in new:
        known = known if isinstance(n, int) and n == -1 else known * n
    filled = [symbols.divide(whole, known) if isinstance(n, int) and n == -1 else n for n in new]
    product: Length = 1
    for n in filled:
        product = product * n
    _tie_products(symbols, whole, product)
    factors = [f for n in old for f in symbols.factors(n)]
    runs: list[list[Length]] = []
    for n in filled:
        run: list[Length] = []
        have: Length = 1
        while factors and symbols.hint(have) < symbols.hint(n):
            run.append(factors.pop(0))
            have = have * run[-1]
        if symbols.expression(have) != symbols.expression(n):
            for length in filled:
                symbols.layout("unknown", length, ())
            return filled
        runs.append(run)
    for n, run in zip(filled, runs, strict=True):
        symbols.layout("product", n, run)
    return filled


def _tie_products(symbols: Symbols, left: Length, right: Length) -> None:
    """Tie ``2 * hidden`` to ``32 * heads`` by ``hidden == 16 * heads``."""
    import sympy

    a, b = symbols.expression(left), symbols.expression(right)
    quotient = sympy.cancel(a / b)
    top, bottom = sympy.fraction(quotient)
    if top.is_Mul and len(top.free_symbols) == 1 and not bottom.free_symbols:
        coefficient, symbol = top.as_coeff_Mul()
        if symbol.is_Symbol and int(bottom) % int(coefficient) == 0:
            top, bottom = symbol, bottom / coefficient
    if bottom.is_polynomial():
        symbols.tie(symbols.symint(top), symbols.symint(bottom))
    else:
        symbols.tie(left, right)


@handles(torch.permute, torch.Tensor.permute)
def _permute(symbols: Symbols, x: Tensor, *dims: Any) -> Any:
    order = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    return like(x, *(x.shape[d] for d in order))


@handles(torch.transpose, torch.Tensor.transpose, torch.Tensor.swapaxes, torch.swapaxes)
def _transpose(symbols: Symbols, x: Tensor, dim0: int, dim1: int) -> Any:
    shape = list(x.shape)
    shape[dim0], shape[dim1] = shape[dim1], shape[dim0]
    return like(x, *shape)


@handles(torch.cat, torch.concat, torch.concatenate)
def _cat(symbols: Symbols, tensors: Sequence[Tensor], dim: int = 0, **kwargs: Any) -> Any:
    if "axis" in kwargs or any(t.dim() != tensors[0].dim() for t in tensors):
        return NotImplemented
    first, dim = tensors[0], dim % tensors[0].dim()
    shape = [first.shape[d] for d in range(first.dim())]
    for other in tensors[1:]:
        for axis in range(first.dim()):
            if axis != dim:
                symbols.tie(shape[axis], other.shape[axis])
    parts = [t.shape[dim] for t in tensors]
    total: Length = 0
    for part in parts:
        total = total + part
    symbols.layout("sum", total, parts)
    shape[dim] = total  # type: ignore[call-overload]
    return like(first, *shape)


@handles(torch.chunk, torch.Tensor.chunk)
def _chunk(symbols: Symbols, x: Tensor, chunks: int, dim: int = 0) -> Any:
    whole = x.shape[dim]
    if symbols.hint(whole) % chunks:
        return NotImplemented
    part = _split(symbols, whole, [chunks, -1])[1]
    return tuple(like(x, *_with(x, dim, part)) for _ in range(chunks))


@handles(torch.split, torch.Tensor.split)
def _splits(symbols: Symbols, x: Tensor, split_size: Any, dim: int = 0) -> Any:
    whole = x.shape[dim]
    if isinstance(split_size, (int, torch.SymInt)):
        count, rest = divmod(symbols.hint(whole), symbols.hint(split_size))
        if rest:
            return NotImplemented
        symbols.tie(whole, count * split_size)
        symbols.layout("product", whole, [count, split_size])
        return tuple(like(x, *_with(x, dim, split_size)) for _ in range(count))
    total: Length = 0
    for part in split_size:
        total = total + part
    symbols.tie(whole, total)
    symbols.layout("sum", total, split_size)
    return tuple(like(x, *_with(x, dim, part)) for part in split_size)


def _with(x: Tensor, dim: int, length: Length) -> list[Length]:
    shape: list[Length] = list(x.shape)
    shape[dim] = length
    return shape


@handles(F.glu)
def _glu(symbols: Symbols, x: Tensor, dim: int = -1) -> Any:
    if symbols.hint(x.shape[dim]) % 2:
        return NotImplemented
    return like(x, *_with(x, dim, _split(symbols, x.shape[dim], [2, -1])[1]))


@handles(torch.repeat_interleave, torch.Tensor.repeat_interleave)
def _repeat_interleave(
    symbols: Symbols, x: Tensor, repeats: Any = None, dim: int | None = None, **kwargs: Any
) -> Any:
    if dim is None or not isinstance(repeats, (int, torch.SymInt)):
        return NotImplemented
    return like(x, *_with(x, dim, symbols.product(x.shape[dim], repeats)))


@handles(torch.Tensor.repeat)
def _repeat(symbols: Symbols, x: Tensor, *repeats: Any) -> Any:
    times = repeats[0] if len(repeats) == 1 and isinstance(repeats[0], (tuple, list)) else repeats
    shape = [1] * (len(times) - x.dim()) + list(x.shape)
    return like(x, *(symbols.product(t, n) for t, n in zip(times, shape, strict=True)))


@handles(F.pixel_shuffle)
def _pixel_shuffle(symbols: Symbols, x: Tensor, upscale_factor: int) -> Any:
    channels = _split(symbols, x.shape[-3], [-1, upscale_factor**2])[0]
    height, width = x.shape[-2] * upscale_factor, x.shape[-1] * upscale_factor
    return like(x, *x.shape[:-3], channels, height, width)


@handles(F.pixel_unshuffle)
def _pixel_unshuffle(symbols: Symbols, x: Tensor, downscale_factor: int) -> Any:
    channels = symbols.product(x.shape[-3], downscale_factor**2)
    height, width = x.shape[-2] // downscale_factor, x.shape[-1] // downscale_factor
    return like(x, *x.shape[:-3], channels, height, width)
