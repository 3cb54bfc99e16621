"""Train a supernet, then choose: by ranking, by what was learned, or in a way of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pytorch_lightning import seed_everything

from oneshot_core import Architecture, BaseOneShotLightningModule, Ranking
from oneshot_core import search as build_search
from oneshot_plugins.demo.data import TRAIN, VALIDATION, in_order, shuffled
from oneshot_plugins.demo.training import Classifier, trainer
from oneshot_plugins.spaces.chain import OPERATIONS, Chain1d
from oneshot_plugins.strategies.enas import Enas
from oneshot_plugins.strategies.fewshot import rank_parts, split
from oneshot_plugins.strategies.selection import select_by_perturbation

from .networks import BATCH, TRAINING, Setting

CALIBRATION_BATCHES = 4
"""Training batches that give each ranked network its own BatchNorm statistics."""
METRIC = "val_acc"


class Chosen(NamedTuple):
    """What a search found.

    Attributes:
        architecture: the best.
        scores: what the search thinks of the networks of all pools; empty if nothing.
        passes: what choosing cost, in evaluations of one signal by one network.
    """

    architecture: Architecture
    scores: list[float]
    passes: float


@dataclass(frozen=True)
class Configuration:
    """One row of the table: a strategy with options that were set before any result was seen.

    Attributes:
        strategy: its name in the registry.
        epochs: of the supernet.
        passes: cost of one training signal, in evaluations of it by one network.
        choose: takes the trained search, and returns what it found.
        halves: whether weights and architecture learn from two halves of the training signals.
        options: of the strategy.
        partial_channels: of the chain that is searched; what is found is trained with all.
    """

    strategy: str
    epochs: int
    passes: float
    choose: Callable[[Setting, BaseOneShotLightningModule, int], Chosen]
    halves: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    partial_channels: int = 1


@dataclass(frozen=True)
class Run:
    """One search.

    Attributes:
        configuration: its name.
        seed: of everything random in it.
        found: the operations of the network that it chose.
        passes: what it cost, in evaluations of one signal by one network.
        seconds: processor time.
        scores: see :class:`Chosen`.
    """

    configuration: str
    seed: int
    found: str
    passes: float
    seconds: float
    scores: list[float]


class Trained(NamedTuple):
    """A trained search, what it chose, and what both cost."""

    search: BaseOneShotLightningModule
    chosen: Chosen
    passes: float
    seconds: float


def run(setting: Setting, configuration: Configuration, seed: int, epochs: int = 0) -> Trained:
    """Search once.

    Args:
        setting: data and space.
        configuration: how to search.
        seed: of everything random.
        epochs: of the supernet; 0 takes those of the configuration.
    """
    seed_everything(seed, verbose=False)
    options = dict(configuration.options)
    (x, y), half = setting.data.train, TRAIN // 2
    weights_data = x, y
    if configuration.halves:
        weights_data = x[:half], y[:half]
        options["arch_dataloader"] = shuffled((x[half:], y[half:]), BATCH, seed + 1)
    model = Classifier(Chain1d(partial_channels=configuration.partial_channels))
    search = build_search(model, configuration.strategy, seed=seed, **options)
    loader, epochs = shuffled(weights_data, BATCH, seed), epochs or configuration.epochs
    began = time.process_time()
    trainer(epochs).fit(search, loader)
    chosen = configuration.choose(setting, search, seed)
    seconds = time.process_time() - began
    passes = configuration.passes * epochs * len(loader) * BATCH + chosen.passes
    return Trained(search, chosen, passes, seconds)


def ranked(setting: Setting, search: BaseOneShotLightningModule, seed: int) -> Chosen:
    """Choose the network that is best on the validation signals with the supernet's weights."""
    ranking = search.rank("all", **_evaluation(setting, seed))
    return _best(setting, ranking)


def exported(setting: Setting, search: BaseOneShotLightningModule, seed: int) -> Chosen:
    """Choose the most probable network; scores are logarithms of probabilities."""
    return Chosen(search.export(), [_log_p(search, a) for a in setting.pools()], 0)


def split_in_five(setting: Setting, search: BaseOneShotLightningModule, seed: int) -> Chosen:
    """Train one supernet for each operation at the first position further, 16 epochs; rank."""
    label, epochs = "op1", 16
    parts = split(search, label)
    for part in parts.values():
        trainer(epochs).fit(part, shuffled(setting.data.train, BATCH, seed))
    ranking = rank_parts(parts, label, setting.architectures, **_evaluation(setting, seed))
    found = _best(setting, ranking)
    return found._replace(passes=found.passes + TRAINING * len(parts) * epochs * TRAIN)


def perturbed(setting: Setting, search: BaseOneShotLightningModule, seed: int) -> Chosen:
    """Choose what the supernet misses most, with 5 epochs of training after each position."""
    tuning, (x, y), half = 5, setting.data.train, TRAIN // 2
    loader = shuffled((x[:half], y[:half]), BATCH, seed)
    architecture = select_by_perturbation(
        search,
        in_order(setting.data.validation),
        metric=METRIC,
        tune=lambda search: trainer(tuning).fit(search, loader),
        trainer=trainer(1),
        seed=seed,
    )
    # All candidates count as run, though those of decided positions are not.
    n, positions = len(OPERATIONS), len(architecture)
    tuned = 2 * TRAINING * n * tuning * len(loader) * BATCH
    return Chosen(architecture, [], positions * (n * n * VALIDATION + tuned))


def _evaluation(setting: Setting, seed: int) -> dict[str, Any]:
    return {
        "dataloaders": in_order(setting.data.validation),
        "metric": METRIC,
        "train_dataloader": shuffled(setting.data.train, BATCH, seed),
        "calibration_batches": CALIBRATION_BATCHES,
        "progress": False,
    }


def _best(setting: Setting, ranking: Ranking) -> Chosen:
    scores = {entry.architecture: entry.score for entry in ranking}
    passes = len(ranking) * (VALIDATION + CALIBRATION_BATCHES * BATCH)
    return Chosen(ranking.best, [scores[a] for a in setting.pools()], passes)


def _log_p(search: BaseOneShotLightningModule, architecture: Architecture) -> float:
    if isinstance(search, Enas):
        assert search.controller is not None
        return float(search.controller.log_probability(architecture).detach())
    probabilities = search.export_probs()
    return sum(
        math.log(max(p, 1e-30))  # a softmax may be exactly 0
        for label, choice in architecture.items()
        for candidate, p in probabilities[label].items()
        if candidate == choice
    )
