"""Where the items of a size lie in a tensor, and where they go when the items change places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from oneshot_plugins.elastic.extent import Extent, Size

__all__ = ["Extents", "extents_of", "items", "outer_sizes", "positions"]

Extents = Mapping[str, Mapping[int, Extent]]
"""Dotted tensor name -> dimension -> what the dimension is."""

Outer = Mapping[Size, tuple[Size, ...]]


def extents_of(table: Extents) -> list[Extent]:
    """Return what stands in ``table``, each once, in order."""
    return list(dict.fromkeys(extent for dims in table.values() for extent in dims.values()))


def outer_sizes(extents: Iterable[Extent]) -> dict[Size, tuple[Size, ...]]:
    """Return, for each size, the sizes that it is always multiplied with.

    The items of a size are ordered anew for each item of those, because no tensor has the size
    without them: the queries of one group of keys and values are interchangeable among themselves.

    Args:
        extents: all that a model has; a size that one of them has alone is multiplied with none.

    >>> groups, queries = Size("groups", 2), Size("queries", 3)
    >>> outer_sizes([Extent.of(groups, queries, 8), Extent.of(groups, 8)])
    {Size('groups', 2): (), Size('queries', 3): (Size('groups', 2),)}
    """
    terms = [
        tuple(f for f in term if isinstance(f, Size))
        for term in dict.fromkeys(term for extent in extents for term in extent.terms)
    ]
    with_size: dict[Size, list[tuple[Size, ...]]] = {}
    for term in terms:
        for size in dict.fromkeys(term):
            with_size.setdefault(size, []).append(term)
    twice = {f for term in terms for f in term if term.count(f) > 1}
    found = {}
    for size, own in with_size.items():
        always = [c for c in own[0] if c is not size and all(c in term for term in own)]
        # Two sizes that are always together: the one that varies more slowly is the outer one.
        outer = [
            c
            for c in always
            if len(with_size[c]) > len(own) or own[0].index(c) < own[0].index(size)
        ]
        unclear = size in twice or any(c in twice for c in outer)
        found[size] = () if unclear else tuple(outer)
    return found


def items(extent: Extent, size: Size, outer: tuple[Size, ...] = ()) -> Tensor:
    """Return which indices of a dimension belong to each item of ``size``.

    Args:
        extent: what the dimension is; it depends on ``size``.
        size: whose items are meant.
        outer: sizes that ``size`` is always multiplied with, see :func:`outer_sizes`.

    Returns:
        int64, shape ``(*[o.full for o in outer], size.full, n)`` with the ``n`` indices of an item.

    >>> items(Extent.of(3, heads := Size("heads", 2), 2), heads).tolist()
    [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]
    """
    parts, start = [], 0
    for term in extent.terms:
        lengths = [f.full if isinstance(f, Size) else f for f in term]
        block = torch.arange(start, start + int(torch.tensor(lengths).prod())).reshape(lengths)
        start += block.numel()
        for axis in [axis for axis, f in enumerate(term) if f is size]:
            first = [*(term.index(o) for o in outer), axis]
            rest = [a for a in range(len(term)) if a not in first]
            ordered = block.permute(*first, *rest)
            parts.append(ordered.reshape(*ordered.shape[: len(first)], -1))
    return torch.cat(parts, -1)


def positions(extent: Extent, orders: Mapping[Size, Tensor], outer: Outer) -> Tensor:
    """Return the index that each place of a dimension is filled from when items change places.

    Args:
        extent: what the dimension is.
        orders: size -> which item comes first, second, ...: int64, shape ``(size.full,)``, or
            ``(*[o.full for o in outer[size]], size.full)`` with an order for each item of those,
            numbered as before the change. A size that is missing stays as it is.
        outer: as of :func:`outer_sizes`.

    Returns:
        int64, shape ``(extent.full,)``.

    >>> groups, queries = Size("groups", 2), Size("queries", 2)
    >>> orders = {groups: torch.tensor([1, 0]), queries: torch.tensor([[0, 1], [1, 0]])}
    >>> positions(Extent.of(groups, queries), orders, {groups: (), queries: (groups,)}).tolist()
    [3, 2, 0, 1]
    """
    parts, start = [], 0
    for term in extent.terms:
        lengths = [f.full if isinstance(f, Size) else f for f in term]
        old: list[Tensor | None] = [None] * len(term)
        depth = [len(outer.get(f, ())) if isinstance(f, Size) else 0 for f in term]
        # An order for each item of an outer size is looked up by where that item comes from.
        for axis in sorted(range(len(term)), key=depth.__getitem__):
            factor = term[axis]
            shape = [-1 if a == axis else 1 for a in range(len(term))]
            new = torch.arange(lengths[axis]).reshape(shape)
            if isinstance(factor, Size) and factor in orders:
                order = orders[factor]
                above = outer.get(factor, ()) if order.dim() > 1 else ()
                places = [old[term.index(o)] for o in above]
                new = order[tuple([*(p for p in places if p is not None), new])]
            old[axis] = new
        flat = torch.zeros([], dtype=torch.long)
        for length, index in zip(lengths, old, strict=True):
            assert index is not None
            flat = flat * length + index
        parts.append(flat.expand(lengths).flatten() + start)
        start += parts[-1].numel()
    return torch.cat(parts)
