"""Choose how often a block is repeated."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from torch import Tensor, nn

from ..errors import SpaceError
from .mutable import Branches, Gates, MutableModule, check_label
from .spec import Choice, ParameterSpec
from .value import Value, ValueChoice

BlockFactory: TypeAlias = Callable[[int], nn.Module]


class Repeat(MutableModule):
    """Run a chain of blocks whose length is to be chosen.

    Depth ``d`` runs the first ``d`` blocks; depth 0 returns the input. Runs the largest depth
    until a search replaces it, or what the defaults of a value give.

    Args:
        blocks: a module (copied for every place), a factory ``index -> module``, or as many
            modules as the largest depth.
        depth: a fixed number, ``(min, max)`` with both ends included, a list of depths, or a
            value (:func:`oneshot_core.choice`, or computed from choices), which has its own label.
        label: see :class:`Mutable`; not with a value.

    Raises:
        SpaceError: the depths are not whole numbers from 0 on, do not fit the blocks, or a value
            is given beside a label.

    Source: ``nni.nas.nn.pytorch.Repeat``.
    """

    def __init__(
        self,
        blocks: nn.Module | BlockFactory | Sequence[nn.Module],
        depth: int | tuple[int, int] | list[int] | Value,
        *,
        label: str | None = None,
    ) -> None:
        super().__init__()
        if isinstance(depth, Value):
            if label is not None:
                raise SpaceError(
                    f"Repeat got label={label!r} beside depth={depth!r}.\n"
                    "  expected: one of them; a value has its own label\n"
                    "  fix: leave the label out"
                )
            self.depths = _read_depths(list(depth.distribution()))
        else:
            check_label(label, self)
            self.depths = _read_depths(depth)
        self.label = label
        self.depth = depth if isinstance(depth, Value) else None
        self.blocks = nn.ModuleList(_build_blocks(blocks, max(self.depths)))

    def depth_at(self, path: str) -> Value:
        """Return the depth as a value of what decides it at ``path``."""
        if self.depth is not None:
            return self.depth
        return ValueChoice(self.depths, label=path if self.label is None else self.label)

    def specs_at(self, path: str) -> tuple[ParameterSpec, ...]:
        return tuple(self.depth_at(path).specs.values())

    def select_at(self, path: str, chosen: Mapping[str, Choice]) -> nn.Module:
        selected = nn.Sequential(*self.blocks[: self.depth_at(path).evaluate(chosen)])
        selected.training = self.training
        return selected

    def branches_at(self, path: str) -> Branches:
        depth = self.depth_at(path)
        if len(depth.specs) != 1:
            return {}  # see gates_at
        ((label, spec),) = depth.specs.items()
        return {
            label: {
                candidate: tuple(self.blocks[: depth.evaluate({label: candidate})])
                for candidate in spec.candidates
            }
        }

    def gates_at(self, path: str) -> Gates:
        depth = self.depth_at(path)
        if len(depth.specs) == 1:
            return ()
        return tuple((depth > index, (block,)) for index, block in enumerate(self.blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the blocks, one after another."""
        depth = max(self.depths)
        if self.depth is not None:
            depth = self.depth.evaluate({k: s.default for k, s in self.depth.specs.items()})
        for block in self.blocks[:depth]:
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
