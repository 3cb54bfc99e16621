"""What a search does, written by hand: a network, a loop over sampled paths, the loop of DARTS.

Needs torch only, so that other frameworks are measured against the same loops.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

LAYERS, OPERATIONS, CHANNELS, BATCH, STEPS = 6, 4, 16, 64, 20
RATE = 0.01
Batch = Sequence[Tensor]
Loader = Iterable[Any]


def operation(index: int) -> nn.Module:
    """Return one of four convolutions that keep the shape."""
    return nn.Sequential(
        nn.Conv2d(CHANNELS, CHANNELS, (1, 3, 5, 7)[index], padding=index, bias=False),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU(),
    )


def stem() -> nn.Module:
    """Return the first layer, which halves images of 32 x 32."""
    return nn.Conv2d(3, CHANNELS, 3, padding=1, stride=2)


def images(batches: int = STEPS) -> DataLoader[tuple[Tensor, ...]]:
    """Return batches of random images, the same each time."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batches * BATCH, 3, 32, 32, generator=generator)
    y = torch.randint(10, (len(x),), generator=generator)
    return DataLoader(TensorDataset(x, y), batch_size=BATCH)


def points(batches: int = 300) -> DataLoader[tuple[Tensor, ...]]:
    """Return batches of two points."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2 * batches, 4, generator=generator)
    y = torch.randint(4, (len(x),), generator=generator)
    return DataLoader(TensorDataset(x, y), batch_size=2)


class Net(nn.Module):
    """All candidates of all layers.

    Args:
        stem: of images.
        layers: the candidates of each layer.
        head: of features.

    Attributes:
        losses: those of all weight steps.
    """

    def __init__(
        self, stem: nn.Module, layers: Sequence[Sequence[nn.Module]], head: nn.Module
    ) -> None:
        super().__init__()
        self.stem = stem
        self.layers = nn.ModuleList(nn.ModuleList(layer) for layer in layers)
        self.head = head
        self.losses: list[Tensor] = []

    def sampled(self, x: Tensor, path: Sequence[int]) -> Tensor:
        """Compute one path."""
        x = self.stem(x)
        for layer, taken in zip(self.layers, path, strict=True):
            x = layer[taken](x)  # type: ignore[index]
        out: Tensor = self.head(x.mean((2, 3)))
        return out

    def mixed(self, x: Tensor, alphas: Sequence[Tensor]) -> Tensor:
        """Compute all candidates, weighted."""
        x = self.stem(x)
        for layer, alpha in zip(self.layers, alphas, strict=True):
            weights = alpha.softmax(0)
            terms = [w * part(x) for w, part in zip(weights, layer, strict=True)]  # type: ignore[arg-type]
            x = sum(terms[1:], terms[0])
        out: Tensor = self.head(x.mean((2, 3)))
        return out


def seconds_per_step(step: Callable[[Batch, int], object], loader: Loader) -> float:
    """Run a loop; return the mean seconds of a step, the first left out."""
    ends = []
    for index, batch in enumerate(loader):
        step(batch, index)
        ends.append(time.perf_counter())
    return mean_step(ends)


def mean_step(ends: Sequence[float]) -> float:
    """Return the mean time between the ends of steps."""
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def train_sampled(net: Net, loader: Loader, paths: Sequence[Sequence[int]]) -> float:
    """Train a path for each batch; return the seconds of a step."""
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)

    def step(batch: Batch, index: int) -> None:
        loss = nn.functional.cross_entropy(net.sampled(batch[0], paths[index]), batch[1])
        net.losses.append(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return seconds_per_step(step, loader)


def train_darts(net: Net, alphas: Sequence[Tensor], loader: Loader) -> float:
    """Train as the paper's first-order loop, two backward passes; return the seconds of a step."""
    weights = torch.optim.SGD(net.parameters(), lr=RATE)
    architecture = torch.optim.Adam(alphas, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    others = iter(loader)

    def step(batch: Batch, index: int) -> None:
        for x, y in (next(others), batch):
            optimizer = weights if x is batch[0] else architecture
            loss = nn.functional.cross_entropy(net.mixed(x, alphas), y)
            if optimizer is weights:
                net.losses.append(loss.detach())
            weights.zero_grad()
            architecture.zero_grad()
            loss.backward()
            optimizer.step()

    return seconds_per_step(step, loader)
