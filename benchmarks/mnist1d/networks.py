"""The space, its data, and networks of it that are trained from scratch."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pytorch_lightning import seed_everything

from oneshot_core import Architecture, ModelSpace, freeze
from oneshot_plugins.costs.counts import macs, parameters
from oneshot_plugins.demo.data import TRAIN, VALIDATION, Mnist1d, in_order, shuffled
from oneshot_plugins.demo.training import Classifier, trainer
from oneshot_plugins.spaces.chain import OPERATIONS, Chain1d

BATCH = 128
WIDTH = 16
"""Channels of the chain."""
EPOCHS = 100
"""Of every network trained from scratch: a quarter of the 400 of `random`, as in the demo."""
SEEDS = (0, 1, 2, 3, 4)
POOL = 8
"""Random networks that are trained for each seed."""
TRAINING = 3
"""Cost of training with a signal, in evaluations of it: forward and backward pass."""
COST = TRAINING * TRAIN * EPOCHS + VALIDATION
"""Cost of training and validating one network, in evaluations of one signal by one network."""


@dataclass(frozen=True)
class Network:
    """One network, trained from scratch.

    Attributes:
        seed: of the run that it belongs to.
        operations: what was chosen, joined by spaces.
        parameters: how many it has.
        macs: multiply-accumulate operations for one signal.
        validation: accuracy, 0 to 1.
        test: accuracy on the official test set, 0 to 1.
        seconds: processor time of the training.
    """

    seed: int
    operations: str
    parameters: int
    macs: int
    validation: float
    test: float
    seconds: float


class Setting:
    """The data and the model space; the same for every run."""

    def __init__(self) -> None:
        self.space = ModelSpace(Chain1d())
        self.architectures = [Architecture(a, self.space) for a in self.space.architectures()]

    @cached_property
    def data(self) -> Mnist1d:
        """The signals, generated when they are asked for."""
        return Mnist1d()

    def pool(self, seed: int) -> list[Architecture]:
        """Return the random networks of a seed, all different."""
        return random.Random(f"{seed}/pool").sample(self.architectures, POOL)

    def pools(self) -> list[Architecture]:
        """Return the random networks of all seeds, one seed after the other."""
        return [architecture for seed in SEEDS for architecture in self.pool(seed)]

    def largest(self) -> Architecture:
        """Return the architecture with the most parameters: those of positions add up."""
        most = max(OPERATIONS, key=lambda name: parameters(OPERATIONS[name](WIDTH)))
        return Architecture(dict.fromkeys(self.space.specs, most), self.space)

    def train(self, architecture: Mapping[str, object], seed: int, epochs: int = EPOCHS) -> Network:
        """Train one network from scratch.

        Its initial weights depend on the seed and the architecture alone, so a network that
        several strategies find for one seed is the same network.
        """
        known = Architecture(architecture, self.space)
        seed_everything(seed * 1009 + self.architectures.index(known), verbose=False)
        net = freeze(Chain1d(), known)
        model, runner = Classifier(net), trainer(epochs)
        began = time.process_time()
        runner.fit(model, shuffled(self.data.train, BATCH, seed))
        seconds = time.process_time() - began
        validation = runner.validate(model, in_order(self.data.validation), verbose=False)[0]
        test = runner.test(model, in_order(self.data.test), verbose=False)[0]
        return Network(
            seed,
            operations(known),
            parameters=int(parameters(net)),
            macs=int(macs(net, self.data.test[0][:1])),
            validation=round(validation["val_acc"], 6),
            test=round(test["test_acc"], 6),
            seconds=round(seconds, 1),
        )


def operations(architecture: Mapping[str, object]) -> str:
    """Return the operations of an architecture, in the order of the chain."""
    return " ".join(str(architecture[label]) for label in sorted(architecture))
