"""Handwritten digits of 8 x 8 pixels: which operations, and what the classifier looks at.

``drnas`` weights all candidates by draws from Dirichlet distributions, which it learns by gradient
from the half of the training digits that does not train the weights.
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import oneshot_core as oneshot

from .common import Data, Examples, halves, shuffled, trainer
from .compare import TRAINING, Found, Task

BATCH = 25
WIDTH = 8
"""Channels throughout."""


class Digits(pl.LightningModule):
    """Say which digit an image shows."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(),
            oneshot.LayerChoice(operations(), label="first"),
            oneshot.LayerChoice(operations(), label="second"),
            nn.MaxPool2d(2),
            oneshot.LayerChoice(operations(), label="third"),
            oneshot.LayerChoice(operations(), label="fourth"),
            oneshot.LayerChoice(
                {
                    "all": nn.Sequential(nn.Flatten(), nn.Linear(16 * WIDTH, 10)),
                    "quarters": pooled(nn.AdaptiveAvgPool2d(2), 4 * WIDTH),
                    "mean": pooled(nn.AdaptiveAvgPool2d(1), WIDTH),
                },
                label="classifier",
            ),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
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


def operations() -> dict[str, nn.Module]:
    """Return what can stand at one place; all keep the shape of the image."""
    return {
        "skip": nn.Identity(),
        "max_pool": nn.MaxPool2d(3, stride=1, padding=1),
        "conv1": convolution(1),
        "conv3": convolution(3),
        "depthwise5": convolution(5, groups=WIDTH),
    }


def convolution(kernel: int, groups: int = 1) -> nn.Module:
    """Return a convolution with BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(WIDTH, WIDTH, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(),
    )


def pooled(pool: nn.Module, features: int) -> nn.Module:
    """Return a classifier of what a layer of pooling leaves."""
    return nn.Sequential(pool, nn.Flatten(), nn.Linear(features, 10))


def data() -> Data:
    """Return the 1,797 images that scikit-learn carries, not shuffled.

    The first 1,000 train, the next 300 validate and the last 497 test, so that few people wrote
    digits of more than one part.
    """
    x, y = load_digits(return_X_y=True)
    images = torch.tensor(x).float().reshape(-1, 1, 8, 8) / 16
    parts = (slice(1000), slice(1000, 1300), slice(1300, None))
    return Data(*((images[part], torch.tensor(y)[part]) for part in parts))


def find(data: Data, seed: int, epochs: int) -> Found:
    """Learn weights and distributions in turn; take the most probable candidates."""
    pl.seed_everything(seed, verbose=False)
    weights, architecture = halves(data.train)
    search = oneshot.search(
        Digits(),
        "drnas",
        arch_dataloader=shuffled(architecture, BATCH, seed + 1),
        arc_learning_rate=0.01,
        weight_decay=0.0,
        seed=seed,
    )
    trainer(epochs).fit(search, shuffled(weights, BATCH, seed))
    candidates = len(operations())  # of the classifier there are fewer
    return Found(search.export(), 2 * TRAINING * candidates * epochs * len(weights[0]))


TASK = Task(
    name="digits",
    strategy="drnas",
    model=Digits,
    data=data,
    find=find,
    epochs=24,
    search_epochs=14,
    batch=BATCH,
)
