"""Search the activations of a residual network that knows nothing of choices; print the results.

Run by test_example_package.py in an environment in which the example package is installed.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import pytorch_lightning as pl
import torch
from oneshot_plugin_example import choose_activations
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot

CANDIDATES = ("relu", "gelu", "tanh")
MAKE = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class Block(nn.Module):
    """As torchvision's BasicBlock: one activation, called twice, in place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + x)  # type: ignore[no-any-return]


class ResNet(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))  # type: ignore[no-any-return]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def batches(seed: int) -> DataLoader[Any]:
    """Return images of one of three stripes in noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (48,), generator=generator)
    images = torch.randn(48, 1, 6, 6, generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, 2 * label] += 2
    return DataLoader(TensorDataset(images, labels), batch_size=16)


def searched(strategy: str, **options: Any) -> Any:
    """Return a trained search and the architecture that it prefers."""
    pl.seed_everything(0, verbose=False)
    hook = choose_activations(CANDIDATES)
    search = oneshot.search(ResNet(), strategy, mutation_hooks=[hook], seed=0, **options)
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(search, batches(0), batches(1))
    if strategy == "random":
        best = search.rank("all", batches(1), metric="accuracy", progress=False).best
    else:
        best = search.export()
    return search, best


def by_hand(architecture: Any) -> ResNet:
    """Return the network that an architecture stands for, written without any of our code."""
    network = ResNet()
    for path, choice in architecture.items():
        parent, _, name = path.rpartition(".")
        setattr(network.get_submodule(parent), name, MAKE[choice]())
    return network


def facts(search: Any, best: Any) -> dict[str, Any]:
    """Return what the test asserts."""
    frozen = oneshot.freeze(search, best).eval()
    hand = by_hand(best).eval()
    hand.load_state_dict(frozen.state_dict())
    search.model.eval()
    images = torch.randn(5, 1, 6, 6)
    with torch.no_grad(), search.at(best):
        outputs = [model(images) for model in (search.model, frozen, hand)]
    classes = {f"{type(m).__module__}.{type(m).__qualname__}" for m in frozen.modules()}
    return {
        "labels": sorted(search.search_space_spec()),
        "best": dict(best),
        "supernet_is_frozen": torch.equal(outputs[0], outputs[1]),
        "frozen_is_by_hand": torch.equal(outputs[1], outputs[2]),
        "foreign": sorted(c for c in classes if not c.startswith(("torch.nn.", "__main__."))),
        "keys": sorted(frozen.state_dict()) == sorted(ResNet().state_dict()),
    }


if __name__ == "__main__":
    found = {
        "random": facts(*searched("random")),
        "darts": facts(*searched("darts", arch_dataloader=batches(2), arc_learning_rate=0.1)),
    }
    json.dump(found, sys.stdout)
