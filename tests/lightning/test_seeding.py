"""What the global generators draw in a batch is a function of seed, epoch, batch and rank."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

import oneshot_core as oneshot
from oneshot_core import LayerChoice, SeedEachBatch

pytestmark = pytest.mark.filterwarnings("ignore:The dirpath has changed")


class Net(LightningModule):
    """Has dropout, and notes what the generators draw."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = LayerChoice([nn.Linear(6, 8), nn.Linear(6, 8)], label="layer")
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 3))
        self.drawn: list[tuple[float, ...]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.drawn.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
        return nn.functional.cross_entropy(self.head(self.layer(batch[0])), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


@pytest.fixture
def fit(make_loader: Any, make_trainer: Any, tmp_path: Path) -> Any:
    """Train for three epochs of five batches; keep a checkpoint of the end of each epoch."""

    def run(folder: str, callbacks: list[Any], *, resume: str | None = None, noise: int = 0) -> Net:
        torch.manual_seed(0)
        model = Net()
        random.seed(noise)
        torch.manual_seed(noise)
        keeper = ModelCheckpoint(tmp_path / folder, "{epoch}", save_top_k=-1)
        trainer = make_trainer(
            max_epochs=3, callbacks=[keeper, *callbacks], enable_checkpointing=True
        )
        data = make_loader(20).dataset
        train = DataLoader(data, 4, sampler=DistributedSampler(data, 1, 0))
        path = None if resume is None else tmp_path / resume / "epoch=0.ckpt"
        trainer.fit(oneshot.search(model, seed=1), train, ckpt_path=path)
        return model

    return run


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_draws_depend_on_seed_epoch_and_batch_alone(fit: Any) -> None:
    first = fit("a", [SeedEachBatch(1)], noise=1)
    again = fit("b", [SeedEachBatch(1)], noise=2)
    other = fit("c", [SeedEachBatch(2)], noise=1)
    assert first.drawn == again.drawn
    assert len(set(first.drawn)) == 15
    assert not set(first.drawn) & set(other.drawn)


def test_a_resume_with_dropout_and_a_sampler_of_the_epoch_is_exact(fit: Any) -> None:
    whole = fit("whole", [SeedEachBatch(1)])
    resumed = fit("resumed", [SeedEachBatch(1)], resume="whole", noise=9)
    assert resumed.drawn == whole.drawn[5:]
    assert same(resumed, whole)


def test_without_the_callback_a_resume_draws_anew(fit: Any) -> None:
    """Control: what the callback is for."""
    whole = fit("whole", [])
    assert not same(fit("resumed", [], resume="whole", noise=9), whole)
