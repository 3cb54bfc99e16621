"""What the conformance checks try the model spaces with."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from oneshot_core.testing import Sample

from .cell_network import CellNetwork
from .cell_spaces import AmoebaNet, Darts, Enas, NasNet, Pnas
from .chain import Chain1d


def chains() -> list[Sample]:
    """Return the chain as the demo uses it, and a short one."""
    return [
        Sample(Chain1d, lambda: (torch.ones(2, 40),)),
        Sample(lambda: Chain1d(positions=2, width=4, length=8), lambda: (torch.ones(2, 8),)),
    ]


def _of_cells(space: type[CellNetwork], layers: int, **options: Any) -> list[Sample]:
    def images() -> tuple[Tensor]:
        return (torch.linspace(-1, 1, 2 * 3 * 64).reshape(2, 3, 8, 8),)

    return [Sample(partial(space, 4, layers, **options), images)]


darts = partial(_of_cells, Darts, 3)
"""One normal cell and two that reduce."""

# Of five nodes with free inputs one cell and two operations are enough to try in seconds; tests of
# ours try the rest.
FEW = ("skip_connect", "sep_conv_3x3")
enas = partial(_of_cells, Enas, 1, operations=FEW)
nasnet = partial(_of_cells, NasNet, 1, operations=FEW)
amoebanet = partial(_of_cells, AmoebaNet, 1, operations=FEW)
pnas = partial(_of_cells, Pnas, 1, operations=FEW)
