"""What one dimension of a tensor is, in terms of sizes that can be chosen.

A :class:`Size` is one number of a model that can be chosen: a hidden size, a number of heads, the
width of a feed-forward network. An :class:`Extent` says what a dimension of a tensor is: a sum of
products of sizes and integers. So one concept covers a prefix of channels (``hidden``), heads with
their features (``heads * 32``), packed queries, keys and values (``3 * heads * 32``), grouped
queries (``groups * queries * 64``) and concatenation (``left + right``).

Of every factor the *first* values are kept. A smaller network is thus a part of a larger one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["Extent", "Size", "Values"]


@dataclass(eq=False, slots=True)
class Size:
    """A number of a model that can be chosen.

    Two sizes are equal only if they are the same object: what shares a size changes together.

    Args:
        name: what the size is called in plans and errors, and by default in architectures.
        full: its value in the model as it is, at least 1; no larger value can be chosen.
        unit: the values that can be chosen are multiples of it (and ``full`` itself).

    >>> Size("ffn", 1536, unit=8)
    Size('ffn', 1536)
    """

    name: str
    full: int
    unit: int = 1

    def __repr__(self) -> str:
        return f"Size({self.name!r}, {self.full})"


Factor: TypeAlias = "int | Size"
Values: TypeAlias = Mapping[Size, int]
"""Size -> its value; a size that is missing has its full value."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A sum of products of sizes and integers: the length of one dimension of one tensor.

    Args:
        terms: the summands, in the order in which they lie in memory; each a tuple of factors, of
            which the last one varies fastest.

    >>> heads = Size("heads", 12)
    >>> packed = Extent.of(3, heads, 32)
    >>> packed, packed.full, packed.at({heads: 4})
    (3 * heads * 32, 1152, 384)
    >>> packed.cut(torch.arange(1152), 0, {heads: 1}).shape
    torch.Size([96])
    """

    terms: tuple[tuple[Factor, ...], ...]

    @classmethod
    def of(cls, *factors: Factor) -> Extent:
        """Return the product of ``factors``, outermost first."""
        return cls((factors,))

    def __add__(self, other: Extent) -> Extent:
        return Extent(self.terms + other.terms)

    def __repr__(self) -> str:
        return " + ".join(
            " * ".join(f.name if isinstance(f, Size) else str(f) for f in term)
            for term in self.terms
        )

    @property
    def full(self) -> int:
        """The length in the model as it is."""
        return self.at({})

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The sizes that the length depends on, each once, in order."""
        return tuple(dict.fromkeys(f for t in self.terms for f in t if isinstance(f, Size)))

    def at(self, values: Values) -> int:
        """Return the length where the sizes have ``values``."""
        return sum(prod(_values(term, values)) for term in self.terms)

    def cut(self, tensor: Tensor, dim: int, values: Values) -> Tensor:
        """Return the part of ``tensor`` that ``values`` keep of dimension ``dim``.

        A view of the tensor's storage where one exists: for a single term of which only the
        outermost factor is smaller than it can be, or whose dimension splits without a copy.
        """
        if all(values.get(size, size.full) == size.full for size in self.sizes):
            return tensor
        if len(self.terms) == 1:
            return _cut(self.terms[0], tensor, dim, values)
        lengths = [prod(_values(term, {})) for term in self.terms]
        parts = torch.split(tensor, lengths, dim)
        return torch.cat(
            [_cut(term, part, dim, values) for term, part in zip(self.terms, parts, strict=True)],
            dim,
        )

    def kept(self, values: Values) -> Tensor:
        """Return the indices that ``values`` keep, ascending: a 1-D tensor of int64."""
        return self.cut(torch.arange(self.full), 0, values)


def _values(term: Iterable[Factor], values: Values) -> list[int]:
    return [values.get(f, f.full) if isinstance(f, Size) else f for f in term]


def _cut(term: tuple[Factor, ...], tensor: Tensor, dim: int, values: Values) -> Tensor:
    full, now = _values(term, {}), _values(term, values)
    if full[1:] == now[1:]:  # a prefix of the whole dimension
        return tensor.narrow(dim, 0, prod(now))
    parts: Tensor = torch.unflatten(tensor, dim, full)
    for axis, length in enumerate(now):
        parts = parts.narrow(dim + axis, 0, length)
    return parts.flatten(dim, dim + len(term) - 1)
