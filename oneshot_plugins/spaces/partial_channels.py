"""Search on a part of the channels, and let the others pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oneshot_core.errors import SpaceError

from .graph import GraphWhenFrozen


class PartialChannels(GraphWhenFrozen):
    """Apply a module to the first channels only, let the others pass, and shuffle.

    With a choice as ``inner``, whose candidates are built for ``width / parts`` channels, a
    strategy that weights all of them needs about ``1 / parts`` of the memory, and skips are less
    of an advantage, for every candidate has a skip beside it. What is found is then built and
    trained with all channels: labels do not change. Works with every strategy; a frozen supernet
    keeps the part, as it computes what the supernet computed.

    Args:
        inner: keeps the number of channels.
        width: all channels, those that pass included.
        parts: one in so many goes through ``inner``; the paper's ``K``, 4 there on CIFAR-10.
        rest: what is done with the others, where ``inner`` changes their shape; None for nothing.

    Raises:
        SpaceError: ``width`` is not a multiple of ``parts``.

    Source: Xu et al., "PC-DARTS", arXiv:1907.05737, eq. 2 and section 3.2; the shuffle is that of
    ShuffleNet (Zhang et al., arXiv:1707.01083, section 3.1).
    """

    def __init__(
        self, inner: nn.Module, width: int, parts: int = 4, rest: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.channels = part_of(width, parts)
        self.parts = parts
        self.inner = inner
        self.rest = nn.Identity() if rest is None else rest

    def forward(self, x: Tensor) -> Tensor:
        """Return as many channels as came in.

        Args:
            x: shape ``(batch, width, ...)``.
        """
        done, passed = self.inner(x[:, : self.channels]), self.rest(x[:, self.channels :])
        # One channel of each part after the other: the next edge meets other channels.
        both = torch.unflatten(torch.cat([done, passed], 1), 1, (self.parts, self.channels))
        return both.transpose(1, 2).flatten(1, 2)

    def extra_repr(self) -> str:
        """Show the numbers."""
        return f"channels={self.channels}, parts={self.parts}"


def part_of(width: int, parts: int) -> int:
    """Return how many channels one of ``parts`` has.

    Raises:
        SpaceError: they cannot be divided so.
    """
    if parts < 1 or width % parts:
        raise SpaceError(
            f"{width} channels cannot be divided into {parts} parts",
            expected="a width that is a multiple of the parts",
            fix="another width, or another number of parts",
        )
    return width // parts


__all__ = ["PartialChannels", "part_of"]
