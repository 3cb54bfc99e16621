"""Choose how often a block is repeated."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from torch import Tensor, nn

from ..errors import SpaceError
from .mutable import Mutable
from .spec import Candidate, Choice, ParameterSpec

BlockFactory: TypeAlias = Callable[[int], nn.Module]


class Repeat(Mutable):
    """Run a chain of blocks whose length is to be chosen.

    Depth ``d`` runs the first ``d`` blocks; depth 0 returns the input. Runs the largest depth
    until a search replaces it.

    Args:
        blocks: a module (copied for every place), a factory ``index -> module``, or as many
            modules as the largest depth.
        depth: a fixed number, ``(min, max)`` with both ends included, or a list of depths.
        label: see :class:`Mutable`.

    Raises:
        SpaceError: the depths are not whole numbers from 0 on, or do not fit the blocks.

    Source: ``nni.nas.nn.pytorch.Repeat``.
    """

    def __init__(
        self,
        blocks: nn.Module | BlockFactory | Sequence[nn.Module],
        depth: int | tuple[int, int] | list[int],
        *,
        label: str | None = None,
    ) -> None:
        super().__init__(label)
        self.depths = _read_depths(depth)
        self.blocks = nn.ModuleList(_build_blocks(blocks, max(self.depths)))

    def spec(self, label: str) -> ParameterSpec:
        return ParameterSpec(label, self.depths, default=max(self.depths))

    def select(self, choice: Choice) -> nn.Module:
        if not isinstance(choice, int):
            raise TypeError(f"a depth is a whole number, not {choice!r}")
        return nn.Sequential(*self.blocks[:choice])

    def branches(self) -> Mapping[Candidate, Sequence[nn.Module]]:
        return {depth: tuple(self.blocks[:depth]) for depth in self.depths}

    def forward(self, x: Tensor) -> Tensor:
        """Apply all blocks, one after another."""
        for block in self.blocks:
            x = block(x)
        return x


def _read_depths(depth: object) -> tuple[int, ...]:
    """Return the depths to choose from, without repetition, in declaration order."""
    match depth:
        case bool():
            depths: tuple[object, ...] = ()
        case int():
            depths = (depth,)
        case (int(low), int(high)) if isinstance(depth, tuple) and low <= high:
            depths = tuple(range(low, high + 1))
        case list():
            depths = tuple(dict.fromkeys(depth))
        case _:
            depths = ()
    numbers = tuple(d for d in depths if isinstance(d, int) and not isinstance(d, bool) and d >= 0)
    if not numbers or len(numbers) != len(depths):
        raise SpaceError(
            f"Repeat got depth={depth!r}.\n"
            "  expected: a number, (min, max) with 0 <= min <= max, or a list of numbers\n"
            "  fix: write depth=(1, 3), or depth=[1, 2, 4]"
        )
    return numbers


def _build_blocks(
    blocks: nn.Module | BlockFactory | Sequence[nn.Module], depth: int
) -> list[nn.Module]:
    if isinstance(blocks, nn.Module) and not isinstance(blocks, nn.ModuleList):
        # The first place keeps the user's own module; a depth of 0 keeps none.
        return [blocks if index == 0 else copy.deepcopy(blocks) for index in range(depth)]
    if callable(blocks) and not isinstance(blocks, nn.ModuleList):
        built = [blocks(index) for index in range(depth)]
    else:
        built = list(blocks)
    if len(built) != depth or not all(isinstance(block, nn.Module) for block in built):
        raise SpaceError(
            f"Repeat got {len(built)} blocks for a largest depth of {depth}: {built!r}.\n"
            "  expected: one module for every place\n"
            "  fix: give as many modules as the largest depth, or a factory index -> module"
        )
    return built
