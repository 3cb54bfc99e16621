"""The demo's experiment: search, retrain what was found, and the baselines beside it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning import seed_everything
from torch import nn

from oneshot_core import Architecture, BaseOneShotLightningModule, ModelSpace, Ranking, freeze
from oneshot_core import search as build_search
from oneshot_plugins.costs.counts import macs, parameters
from oneshot_plugins.spaces.chain import Chain1d

from .data import TRAIN, VALIDATION, Mnist1d, in_order, shuffled
from .training import Classifier, EpochProgress, Interrupt, RegularCheckpoint, trainer

BATCH = 128
CALIBRATION_BATCHES = 4
"""Training batches that give each ranked network its own BatchNorm statistics."""
STRATEGIES: dict[str, dict[str, Any]] = {
    "random": {},
    "darts": {"arc_learning_rate": 1e-2, "weight_decay": 0.0},
}
"""Options of each strategy the demo offers."""


class Interrupted(Exception):
    """Ctrl-C was pressed; what was trained is in the checkpoint."""


@dataclass(frozen=True)
class Result:
    """One network, trained from scratch.

    Attributes:
        architecture: what was chosen.
        parameters: how many the network has.
        macs: multiply-accumulate operations for one signal.
        validation: accuracy, 0 to 1.
        test: accuracy on the official test set, 0 to 1.
        net: the trained network.
    """

    architecture: Architecture
    parameters: int
    macs: int
    validation: float
    test: float
    net: nn.Module


class Experiment:
    """Everything the demo computes.

    Args:
        seed: of initial weights, sampling, shuffling and baselines.
        strategy: a key of :data:`STRATEGIES`.
        epochs: of the supernet; networks are retrained for a quarter of it.
        checkpoint: where the search is kept.
        interrupt: asked at the end of every epoch.
    """

    def __init__(
        self, *, seed: int, strategy: str, epochs: int, checkpoint: Path, interrupt: Interrupt
    ) -> None:
        self.seed = seed
        self.strategy = strategy
        self.epochs = epochs
        self.retrain_epochs = max(1, epochs // 4)
        self.checkpoint = checkpoint
        self.interrupt = interrupt
        self.data = Mnist1d()
        self.space = ModelSpace(Chain1d())

    def search(self, *, resume: bool = False) -> BaseOneShotLightningModule:
        """Train the supernet and return the search.

        Raises:
            Interrupted: Ctrl-C; the checkpoint is written.
        """
        seed_everything(self.seed, verbose=False)
        model = Classifier(Chain1d())
        model.save_hyperparameters(
            {"seed": self.seed, "strategy": self.strategy, "epochs": self.epochs}
        )
        options = dict(STRATEGIES[self.strategy])
        x, y = self.data.train
        weights_data = x, y
        if self.strategy != "random":  # architecture and weights learn from different halves
            half = TRAIN // 2
            weights_data = x[:half], y[:half]
            options["arch_dataloader"] = shuffled((x[half:], y[half:]), BATCH, self.seed + 1)
        search = build_search(model, self.strategy, seed=self.seed, **options)
        trainer(
            self.epochs,
            EpochProgress("training the supernet", self.interrupt),
            RegularCheckpoint(self.checkpoint),
        ).fit(
            search,
            shuffled(weights_data, BATCH, self.seed),
            ckpt_path=self.checkpoint if resume else None,
        )
        self.check_interrupt()
        return search

    def rank(self, search: BaseOneShotLightningModule) -> Ranking:
        """Score every network of the space with the weights of the supernet."""
        ranking = search.rank(
            "all",
            in_order(self.data.validation),
            metric="val_acc",
            train_dataloader=shuffled(self.data.train, BATCH, self.seed),
            calibration_batches=CALIBRATION_BATCHES,
        )
        self.check_interrupt()
        return ranking

    def train(
        self, architecture: Mapping[str, object], title: str | EpochProgress, draw: int = 0
    ) -> Result:
        """Train one network of the space from scratch.

        Args:
            architecture: which.
            title: of its progress bar, or a bar that counts several trainings.
            draw: another one gives other initial weights.

        Raises:
            Interrupted: Ctrl-C.
        """
        seed_everything(self.seed * 1009 + draw, verbose=False)
        net = freeze(Chain1d(), architecture)
        model = Classifier(net)
        progress = EpochProgress(title, self.interrupt) if isinstance(title, str) else title
        runner = trainer(self.retrain_epochs, progress)
        runner.fit(model, shuffled(self.data.train, BATCH, self.seed))
        self.check_interrupt()
        validation = runner.validate(model, in_order(self.data.validation), verbose=False)[0]
        test = runner.test(model, in_order(self.data.test), verbose=False)[0]
        return Result(
            Architecture(architecture, self.space),
            parameters=int(parameters(net)),
            macs=int(macs(net, self.data.test[0][:1])),
            validation=validation["val_acc"],
            test=test["test_acc"],
            net=net,
        )

    def largest(self) -> dict[str, Any]:
        """Return the architecture with the most parameters."""
        model = Chain1d()
        return max(self.space.architectures(), key=lambda a: parameters(freeze(model, a)))

    def random_search_size(self) -> int:
        """Count the networks that can be trained at the cost of the search.

        Counted in passes of one signal through one network, a training pass being three
        evaluation passes.
        """
        supernet = 3 * TRAIN * self.epochs
        if self.strategy != "random":  # all five candidates, on both halves
            supernet *= 5
        ranking = len(self.space) * (VALIDATION + CALIBRATION_BATCHES * BATCH)
        ranking = ranking if self.strategy == "random" else 0
        return max(1, round((supernet + ranking) / (3 * TRAIN * self.retrain_epochs)))

    def random_search(self) -> Result:
        """Train random networks at the cost of the search; return the best on validation."""
        rng = random.Random(f"{self.seed}/random search")
        n = self.random_search_size()
        bar = EpochProgress(f"random search, {n} networks", self.interrupt, trainings=n)
        trained = [self.train(self.space.sample(rng), bar, draw=i + 1) for i in range(n)]
        return max(trained, key=lambda result: result.validation)

    def check_interrupt(self) -> None:
        """Raise if Ctrl-C was pressed."""
        if self.interrupt.requested:
            raise Interrupted
