"""Networks that stack cells of two kinds: normal ones, and ones that halve the resolution."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Literal, get_args

from torch import Tensor, nn

from oneshot_core import nn as onn
from oneshot_core.errors import SpaceError
from oneshot_plugins.cells.cell import Cell

from .graph import GraphWhenFrozen
from .operations import OPERATIONS, DropPath, FactorizedReduce, relu_conv_norm
from .partial_channels import PartialChannels, part_of

Stem = Literal["cifar", "imagenet"]
MergeOp = Literal["all", "loose_end"]


class CellNetwork(GraphWhenFrozen):
    """A stem, cells that take the outputs of the two cells before them, and a classifier.

    The cells after a third and two thirds of all are reduction cells: they halve the resolution
    and double the width. Cells of one kind share their architecture, and each has weights of its
    own. A subclass says what cells look like.

    Args:
        width: channels of a node in the first cells.
        layers: how many cells there are, reduction cells among them.
        classes: of the classifier.
        stem: ``"cifar"`` keeps the resolution, ``"imagenet"`` divides it by 8.
        auxiliary: whether there is a second classifier after the last reduction cell, for images
            of 32 (cifar) or 224 (imagenet) pixels. The network then returns the logits of both, in
            training and in evaluation; leave the second out of predictions.
        drop_path: probability to drop an operation for a sample, except identities; 0 for none.
            It is the ``p`` of the only ``nn.Dropout`` modules, and may be raised while training.
        affine: whether BatchNorms in cells have weights. DARTS searches without and retrains with.
        pool_norm: whether pooling is followed by a BatchNorm without weights, as DARTS searches.
        partial_channels: operations get one in so many channels, the others pass; 1 for all. Search
            with 4 as PC-DARTS does, and retrain with 1; see :class:`.PartialChannels`.
        operations: names of the candidates; those of the paper if left out.
        merge_op: which nodes a cell returns; those of the paper if left out. Strategies that
            weight candidates need ``"all"``.

    Raises:
        SpaceError: an operation or the stem is unknown, or a width is no multiple of
            ``partial_channels``.
    """

    candidates: ClassVar[tuple[str, ...]]
    nodes: ClassVar[int]
    inputs: ClassVar[Literal["free", "distinct"]] = "free"
    merge: ClassVar[MergeOp] = "loose_end"
    labels: ClassVar[tuple[str, str]] = ("normal", "reduce")

    def __init__(
        self,
        width: int = 16,
        layers: int = 8,
        classes: int = 10,
        *,
        stem: Stem = "cifar",
        auxiliary: bool = False,
        drop_path: float = 0.0,
        affine: bool = True,
        pool_norm: bool = False,
        partial_channels: int = 1,
        operations: Sequence[str] | None = None,
        merge_op: MergeOp | None = None,
    ) -> None:
        super().__init__()
        self.affine, self.pool_norm, self.drop_path = affine, pool_norm, drop_path
        self.partial_channels = partial_channels
        self.operations = tuple(self.candidates if operations is None else operations)
        self.merge_op: MergeOp = self.merge if merge_op is None else merge_op
        self._check(stem)
        before, last = self._build_stem(stem, width)
        self.cells = nn.ModuleList()
        reductions = (layers // 3, 2 * layers // 3)
        reduced = stem == "imagenet"  # the second stem halves what the first gives
        self.auxiliary_after = reductions[1] if auxiliary else None
        self.auxiliary: nn.Module | None = None
        for index in range(layers):
            reduce = index in reductions
            width = 2 * width if reduce else width
            align = Align(before, last, width, reduced, affine)
            self.cells.append(self._build_cell(width, reduce, align))
            before, last = last, self._width_of(self.cells[-1], width)
            reduced = reduce
            if index == self.auxiliary_after:
                self.auxiliary = _auxiliary(last, classes, stem)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = onn.Linear(last, classes)

    def _check(self, stem: str) -> None:
        unknown = [name for name in self.operations if name not in OPERATIONS]
        if unknown:
            raise SpaceError(
                f"{type(self).__name__} got the operation {unknown[0]!r}",
                expected=f"some of {sorted(OPERATIONS)}",
                fix="correct operations=[...]",
            )
        if stem not in get_args(Stem):
            raise SpaceError(
                f"{type(self).__name__} got stem={stem!r}",
                expected=f"one of {list(get_args(Stem))}",
                fix="correct it",
            )

    def _build_stem(self, stem: Stem, width: int) -> tuple[Any, Any]:
        """Build the stem and return the widths of the two states it gives."""
        if stem == "cifar":
            self.stem = nn.Sequential(
                nn.Conv2d(3, 3 * width, 3, padding=1, bias=False), nn.BatchNorm2d(3 * width)
            )
            self.second_stem: nn.Module = nn.Identity()
            return 3 * width, 3 * width
        self.stem = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.second_stem = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width)
        )
        return width, width

    def _build_cell(self, width: int, reduce: bool, align: nn.Module) -> Cell:
        part = part_of(width, self.partial_channels)
        candidates = {
            name: partial(self._operation, name, part, reduce) for name in self.operations
        }
        return Cell(
            candidates,
            self.nodes,
            2,
            2,
            self.merge_op,
            align,
            inputs=self.inputs,
            edge=partial(self._edge, width, reduce) if self.partial_channels > 1 else None,
            label=self.labels[reduce],
        )

    def _edge(
        self, width: int, reduce: bool, choice: nn.Module, node: int, op: int | None, state: int
    ) -> nn.Module:
        halved = nn.MaxPool2d(2, ceil_mode=True) if _stride(reduce, state) == 2 else None
        return PartialChannels(choice, width, self.partial_channels, halved)

    def _operation(
        self, name: str, width: int, reduce: bool, node: int, op: int | None, state: int
    ) -> nn.Module:
        stride = _stride(reduce, state)
        operation = OPERATIONS[name](width, stride, self.affine)
        if self.pool_norm and "pool" in name:
            operation = nn.Sequential(operation, nn.BatchNorm2d(width, affine=False))
        if self.drop_path and not isinstance(operation, nn.Identity):
            return nn.Sequential(operation, DropPath(self.drop_path))
        return operation

    @staticmethod
    def _width_of(cell: nn.Module, width: int) -> Any:
        assert isinstance(cell, Cell)
        return cell.output_width(width)

    def forward(self, x: Tensor) -> Any:
        """Classify images.

        Args:
            x: shape ``(batch, 3, height, width)``.

        Returns:
            Logits, shape ``(batch, classes)``; with ``auxiliary`` a pair of such.
        """
        before = self.stem(x)
        last = self.second_stem(before)
        extra = None
        for index, cell in enumerate(self.cells):
            before, last = last, cell(before, last)
            if self.auxiliary is not None and index == self.auxiliary_after:
                extra = self.auxiliary(last)
        logits = self.classifier(self.pool(last).flatten(1))
        return logits if extra is None else (logits, extra)


def _stride(reduce: bool, state: int) -> int:
    """Return the stride of an edge: a reduction cell halves its two inputs, and nothing else."""
    return 2 if reduce and state < 2 else 1


class Align(GraphWhenFrozen):
    """Give the two inputs of a cell its width and the resolution of the second.

    Args:
        before: channels of the first input; may be a value.
        last: channels of the second; may be a value.
        width: channels of both afterwards.
        reduced: whether the first has twice the resolution of the second.
        affine: of the BatchNorms.
    """

    def __init__(self, before: Any, last: Any, width: int, reduced: bool, affine: bool) -> None:
        super().__init__()
        make = FactorizedReduce if reduced else relu_conv_norm
        self.before = make(before, width, affine)
        self.last = relu_conv_norm(last, width, affine)

    def forward(self, states: list[Tensor]) -> list[Tensor]:
        """Return both inputs, aligned."""
        return [self.before(states[0]), self.last(states[1])]


def _auxiliary(before: Any, classes: int, stem: Stem) -> nn.Module:
    """Return the second classifier of DARTS, for 8x8 pixels (cifar) or 14x14 (imagenet)."""
    cifar = stem == "cifar"
    return nn.Sequential(
        nn.ReLU(),
        nn.AvgPool2d(5, 3 if cifar else 2, count_include_pad=False),
        onn.Conv2d(before, 128, 1, bias=False),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.Conv2d(128, 768, 2, bias=False),
        nn.BatchNorm2d(768),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(768, classes),
    )
