"""MNIST-1D: widths, kernels and depths of a small CNN, under a limit of multiplications.

``sandwich`` trains the largest network, the smallest and two between with each batch. All share
one set of weights, with which networks are then compared: which is the most accurate of those
that need at most a third of the multiplications of the largest?
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from mnist1d.data import get_dataset_args, make_dataset
from torch import Tensor

import oneshot_core as oneshot
from oneshot_core import nn

from .common import Data, Examples, in_order, shuffled, trainer
from .compare import TRAINING, Found, Task

BATCH = 100
MACS = 43_000
"""The limit; the largest network has 128,640."""
SCORED = 100
"""Networks that are compared with shared weights."""
CALIBRATION = 4
"""Batches that give each of them its own BatchNorm statistics."""


class Signals(pl.LightningModule):
    """Say which of ten shapes a signal of 40 samples is."""

    def __init__(self) -> None:
        super().__init__()
        width1, width2 = (oneshot.choice([4, 8, 16], label=f"width{i}") for i in (1, 2))
        kernel1, kernel2 = (oneshot.choice([3, 5, 7], label=f"kernel{i}") for i in (1, 2))
        depth1, depth2 = (oneshot.choice([0, 1, 2], label=f"depth{i}") for i in (1, 2))
        self.net = nn.Sequential(
            block(1, width1, 5, stride=2),
            oneshot.Repeat(lambda index: block(width1, width1, kernel1), depth1),
            nn.MaxPool1d(2),
            block(width1, width2, kernel2),
            oneshot.Repeat(lambda index: block(width2, width2, kernel2), depth2),
            nn.Flatten(),
            nn.Linear(10 * width2, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x.unsqueeze(1))
        return logits

    def training_step(self, batch: Examples, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Examples, batch_idx: int) -> None:
        self.log("val_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def test_step(self, batch: Examples, batch_idx: int) -> None:
        self.log("test_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 0.01, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def block(before: Any, after: Any, kernel: Any, stride: int = 1) -> nn.Module:
    """Return a convolution with BatchNorm and ReLU; numbers of channels and kernel may be open."""
    return nn.Sequential(
        nn.Conv1d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm1d(after),
        nn.ReLU(),
    )


def data() -> Data:
    """Generate the official data: of its 4,000 training signals the last 800 validate."""
    made = make_dataset(get_dataset_args())
    x, y = torch.tensor(made["x"]).float(), torch.tensor(made["y"]).long()
    test = torch.tensor(made["x_test"]).float(), torch.tensor(made["y_test"]).long()
    return Data((x[:3200], y[:3200]), (x[3200:], y[3200:]), test)


def find(data: Data, seed: int, epochs: int) -> Found:
    """Train the supernet, look for trade-offs, and take the best network within the limit."""
    pl.seed_everything(seed, verbose=False)
    search = oneshot.search(
        Signals(), "sandwich", distill=lambda model, batch: model(batch[0]), seed=seed
    )
    trainer(epochs).fit(search, shuffled(data.train, BATCH, seed))
    front = search.pareto(
        {"val_acc": "max", "macs": "min"},
        in_order(data.validation),
        budget=SCORED,
        inputs=data.test[0][:1],
        constraints={"macs": (None, MACS)},
        train_dataloader=shuffled(data.train, BATCH, seed),
        calibration_batches=CALIBRATION,
        baselines=False,
        progress=False,
    )
    paths = 4 * TRAINING + 1  # and the teacher's logits
    scoring = SCORED * (len(data.validation[0]) + CALIBRATION * BATCH)
    return Found(front.best(macs=(None, MACS)), paths * epochs * len(data.train[0]) + scoring)


TASK = Task(
    name="mnist1d",
    strategy="sandwich",
    model=Signals,
    data=data,
    find=find,
    epochs=30,
    search_epochs=17,
    batch=BATCH,
    macs_limit=MACS,
)
