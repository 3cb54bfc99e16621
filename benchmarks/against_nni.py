"""The same measurements of NNI 3.0, in an environment of its own: ``benchmarks/against_nni.sh``.

Runs where this project is not installed: it needs torch, NNI and the Lightning that NNI wants.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))
warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

import pytorch_lightning as pl  # noqa: E402
from nni.nas.evaluator.pytorch import LightningModule  # noqa: E402
from nni.nas.nn.pytorch import LayerChoice, ModelSpace  # noqa: E402
from nni.nas.oneshot.pytorch.strategy import DARTS, RandomOneShot  # noqa: E402

from benchmarks.fitting import fitted  # noqa: E402
from benchmarks.plain import (  # noqa: E402
    CHANNELS,
    LAYERS,
    OPERATIONS,
    RATE,
    STEPS,
    Loader,
    Net,
    images,
    operation,
    points,
    stem,
    train_darts,
    train_sampled,
)
from benchmarks.timing import Ratio, compare, compare_seconds  # noqa: E402


class Space(ModelSpace):
    def __init__(self) -> None:
        super().__init__()
        self.stem = stem()
        self.layers = nn.Sequential(
            *(
                LayerChoice([operation(i) for i in range(OPERATIONS)], label=f"l{n}")
                for n in range(LAYERS)
            )
        )
        self.head = nn.Linear(CHANNELS, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.stem(x)).mean((2, 3)))


class TinySpace(ModelSpace):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(LayerChoice([nn.Linear(4, 4) for _ in range(4)], label=f"l{n}") for n in "01")
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Classifier(LightningModule):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=RATE)


class Bare(pl.LightningModule):
    training_step = Classifier.training_step
    configure_optimizers = Classifier.configure_optimizers

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


def build(strategy: Any, space: ModelSpace, loader: Loader) -> tuple[pl.LightningModule, Any]:
    """Return the module to train, and its batches."""
    classifier = Classifier()
    classifier.set_model(strategy.mutate_model(space))
    batches = strategy.train_dataloader(lambda: loader, lambda: loader)
    return strategy.configure_oneshot_module(classifier), batches


def by_hand() -> Net:
    layers = [[operation(i) for i in range(OPERATIONS)] for _ in range(LAYERS)]
    return Net(stem(), layers, nn.Linear(CHANNELS, 10))


def sampled_step() -> Ratio:
    module, batches = build(RandomOneShot(), Space(), images())
    generator = torch.Generator().manual_seed(0)
    paths = torch.randint(OPERATIONS, (STEPS, LAYERS), generator=generator).tolist()
    net, loader = by_hand(), images()
    return compare_seconds(
        lambda: fitted(module, batches), lambda: train_sampled(net, loader, paths)
    )


def sampled_tiny_step() -> Ratio:
    module, batches = build(RandomOneShot(), TinySpace(), points())
    bare, loader = Bare(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))), points()
    return compare_seconds(lambda: fitted(module, batches), lambda: fitted(bare, loader))


def darts_step() -> Ratio:
    module, batches = build(DARTS(), Space(), images())
    alphas = [torch.zeros(OPERATIONS, requires_grad=True) for _ in range(LAYERS)]
    net, loader = by_hand(), images()
    return compare_seconds(
        lambda: fitted(module, batches), lambda: train_darts(net, alphas, loader), pairs=7
    )


def mutation() -> Ratio:
    """A walk over 10,000 modules, 500 of them choices, against one pass of ``named_modules()``."""

    class Large(ModelSpace):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.Sequential(
                *(
                    nn.Sequential(
                        *(nn.Identity() for _ in range(16)),
                        LayerChoice([nn.Identity()], label=f"l{n}"),
                    )
                    for n in range(500)
                )
            )

    pairs = 7
    fresh = [Large() for _ in range(pairs + 1)]
    one = Large()
    return compare(
        lambda: RandomOneShot().mutate_model(fresh.pop()),
        lambda: sum(1 for _ in one.named_modules()),
        pairs,
    )


def main() -> None:
    """Measure all, and print it as JSON."""
    torch.set_num_threads(1)
    cases = (mutation, sampled_step, sampled_tiny_step, darts_step)
    found = {}
    for case in cases:
        print(f"{case.__name__} ...", file=sys.stderr, flush=True)
        found[case.__name__] = case()._asdict()
    print(json.dumps({"torch": torch.__version__, "lightning": pl.__version__, "time": found}))


if __name__ == "__main__":
    main()
