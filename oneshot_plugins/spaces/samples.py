"""What the conformance checks try the model spaces with."""

from __future__ import annotations

from functools import partial

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


def _of_cells(space: type[CellNetwork]) -> list[Sample]:
    """Return a small network: one normal cell and two that reduce."""

    def images() -> tuple[Tensor]:
        return (torch.linspace(-1, 1, 2 * 3 * 64).reshape(2, 3, 8, 8),)

    return [Sample(partial(space, 4, 3), images)]


darts = partial(_of_cells, Darts)
enas = partial(_of_cells, Enas)
nasnet = partial(_of_cells, NasNet)
amoebanet = partial(_of_cells, AmoebaNet)
pnas = partial(_of_cells, Pnas)
