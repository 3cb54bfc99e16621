"""Small elastic networks for the tests of the mechanism."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_plugins.elastic.extent import Extent, Size
from oneshot_plugins.elastic.module import make_elastic

of = Extent.of
Table = Mapping[str, Mapping[int, Extent]]


class Task(LightningModule):
    """Trains a network to give zeros."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.net(*args, **kwargs)

    def training_step(self, batch: Any, index: int) -> Tensor:
        loss: Tensor = self(batch[0]).square().mean()
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("loss", self(batch[0]).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def prefix(size: Size, *names: str, dim: int = 0) -> dict[str, dict[int, Extent]]:
    """Return a table in which one dimension of some tensors is a size."""
    return {name: {dim: of(size)} for name in names}


def mlp() -> tuple[nn.Module, Table, dict[Size, Sequence[int]]]:
    a, b = Size("a", 16), Size("b", 12)
    net = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3))
    table = {
        **prefix(a, "0.weight", "0.bias"),
        "2.weight": {0: of(b), 1: of(a)},
        **prefix(b, "2.bias"),
        **prefix(b, "4.weight", dim=1),
    }
    return net, table, {a: (2, 5, 8, 16), b: (3, 7, 12)}


def elastic_mlp() -> nn.Module:
    return make_elastic(*mlp())


def searched(net: nn.Module, strategy: str = "random", **options: Any) -> Any:
    """Return a search of ``net``, in evaluation mode."""
    search = oneshot.search(Task(net), strategy, **options)
    search.model.eval()
    return search
