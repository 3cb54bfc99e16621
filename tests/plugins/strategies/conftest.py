"""What the tests of strategies share: a small problem in float64, and a Trainer for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot

FEATURES = 4
CLASSES = 3


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


class Net(pl.LightningModule):
    """Two choices of three smooth candidates each, in float64.

    Args:
        norm: puts BatchNorm and dropout into the candidates of the first choice.
        optimizer: builds the optimizer of the weights.
    """

    def __init__(
        self,
        norm: bool = False,
        optimizer: Callable[[Any], torch.optim.Optimizer] | None = None,
    ) -> None:
        super().__init__()
        self.optimizer = optimizer or (lambda p: torch.optim.SGD(p, lr=0.1))
        self.first = oneshot.LayerChoice(
            {"a": layer(norm), "b": layer(norm), "skip": nn.Identity()}, label="first"
        )
        self.second = oneshot.LayerChoice(
            {"a": layer(norm), "b": layer(norm), "skip": nn.Identity()}, label="second"
        )
        self.head = nn.Linear(FEATURES, CLASSES)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.second(self.first(x)))
        return out

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.parameters())


def layer(norm: bool) -> nn.Module:
    linear = nn.Linear(FEATURES, FEATURES)
    if not norm:
        return nn.Sequential(linear, nn.Tanh())
    return nn.Sequential(linear, nn.BatchNorm1d(FEATURES), nn.Tanh(), nn.Dropout(0.2))


@pytest.fixture
def net() -> type[Net]:
    """The model class: ``net(norm=False, optimizer=None)``."""
    return Net


@pytest.fixture
def loader() -> Callable[..., DataLoader[Any]]:
    """Build a loader in float64: ``loader(seed=0, n=24, batch_size=8)``."""

    def make(seed: int = 0, n: int = 24, batch_size: int = 8) -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(n, FEATURES, generator=generator, dtype=torch.float64)
        y = (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()
        return DataLoader(TensorDataset(x, y), batch_size=batch_size)

    return make


@pytest.fixture
def fit(loader: Callable[..., DataLoader[Any]]) -> Callable[..., pl.Trainer]:
    """Train in silence on the CPU: ``fit(module, train=loader(1), **trainer_options)``."""

    def run(
        module: pl.LightningModule, train: Any = None, *, ckpt_path: Any = None, **options: Any
    ) -> pl.Trainer:
        defaults: dict[str, Any] = {
            "max_epochs": 1,
            "accelerator": "cpu",
            "devices": 1,
            "precision": "64-true",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
        }
        trainer = pl.Trainer(**(defaults | options))
        trainer.fit(module, train or loader(1), loader(9), ckpt_path=ckpt_path)
        return trainer

    return run
