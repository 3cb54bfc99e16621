"""An honest comparison: what was found, random search of equal cost, and the largest network.

All three are trained from scratch, in the same way. Costs are counted in evaluations of one example
by one network, of which training with it takes three, and given in networks trained from scratch.
"""

from __future__ import annotations

import json
import math
import platform
import random
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

import oneshot_core as oneshot
from oneshot_core.files import write_text
from oneshot_plugins.costs.counts import macs, parameters

from .common import Data, in_order, shuffled, trainer

TRAINING = 3
"""Evaluations that training with one example costs: forward and backward pass."""
FEW = 200
"""Examples of each part in a quick run."""
SCHEMA = "oneshot.gallery/1"


@dataclass(frozen=True)
class Found:
    """What a search returns.

    Attributes:
        architecture: its answer.
        passes: its cost, in evaluations of one example by one network.
    """

    architecture: oneshot.Architecture
    passes: int


@dataclass(frozen=True)
class Task:
    """A model with choices, its data, and how it is searched.

    Attributes:
        name: on the command line.
        strategy: in the registry.
        model: makes the model; it logs ``val_METRIC`` and ``test_METRIC``.
        data: makes the data.
        find: searches, given data, seed and epochs.
        epochs: of each network that is trained from scratch.
        search_epochs: of the supernet.
        batch: examples in a batch.
        macs_limit: multiply-accumulate operations that a network may have.
        metric: ``"acc"``, which should be large, or ``"bits"``, which should be small.
    """

    name: str
    strategy: str
    model: Callable[[], pl.LightningModule]
    data: Callable[[], Data]
    find: Callable[[Data, int, int], Found]
    epochs: int
    search_epochs: int
    batch: int
    macs_limit: int | None = None
    metric: str = "acc"


@dataclass(frozen=True)
class Network:
    """A network that was trained from scratch.

    Attributes:
        architecture: label -> choice.
        parameters: how many it has.
        macs: multiply-accumulate operations for one example.
        validation: the metric there.
        test: the metric there.
        seconds: processor time of the training.
    """

    architecture: dict[str, Any]
    parameters: int
    macs: int
    validation: float
    test: float
    seconds: float


@dataclass(frozen=True)
class Run:
    """One seed.

    Attributes:
        seed: of everything that is random.
        cost: of the search, in networks trained from scratch.
        seconds: processor time of the search.
        found: its answer, retrained.
        random: the networks of the random search.
        largest: the network with the most parameters, whatever the limit.
        fitting: the one with the most parameters within the limit; None without a limit.
    """

    seed: int
    cost: float
    seconds: float
    found: Network
    random: list[Network]
    largest: Network
    fitting: Network | None = None


class Comparison:
    """Compares on one task.

    Args:
        task: which.
        quick: one epoch on few examples and two random networks, to see whether it runs.
    """

    def __init__(self, task: Task, *, quick: bool = False) -> None:
        self.task = task
        self.epochs = 1 if quick else task.epochs
        self.search_epochs = 1 if quick else task.search_epochs
        self.quick = quick
        self.data = task.data()
        if quick:
            self.data = Data(*((x[:FEW], y[:FEW]) for x, y in self.data))
        self.model = task.model()  # never trained: networks are frozen out of it
        self.space = oneshot.ModelSpace(self.model)

    def run(self, seed: int) -> Run:
        """Search, retrain what was found, search at random, and train the largest network."""
        began = time.process_time()
        found = self.task.find(self.data, seed, self.search_epochs)
        seconds = time.process_time() - began
        one = TRAINING * len(self.data.train[0]) * self.epochs + len(self.data.validation[0])
        cost = found.passes / one
        # What was found is trained once more, which counts, and a part counts as a whole.
        drawn = self.draw(2 if self.quick else math.ceil(cost) + 1, seed)
        return Run(
            seed,
            round(cost, 2),
            round(seconds, 1),
            self.train(found.architecture, seed),
            [self.train(architecture, seed) for architecture in drawn],
            self.train(self.largest, seed),
            None if self.fitting is None else self.train(self.fitting, seed),
        )

    def draw(self, n: int, seed: int) -> list[oneshot.Architecture]:
        """Return different random architectures that keep the limit."""
        rng, drawn = random.Random(f"{seed}/gallery"), dict[oneshot.Architecture, None]()
        while len(drawn) < n:
            architecture = oneshot.Architecture(self.space.sample(rng), self.space)
            if self._keeps_limit(architecture):
                drawn[architecture] = None
        return list(drawn)

    @cached_property
    def largest(self) -> oneshot.Architecture:
        """The architecture with the most parameters; of equals the one with most MACs."""
        best = self.space.default()
        size = self._size(best)
        while True:  # change one choice at a time, as long as that helps
            sizes = [(self._size(chosen), chosen) for chosen in self._neighbours(best)]
            larger = max(sizes, key=lambda each: each[0])
            if larger[0] <= size:
                return oneshot.Architecture(best, self.space)
            size, best = larger

    @cached_property
    def fitting(self) -> oneshot.Architecture | None:
        """The largest architecture that keeps the limit, if there is one; sizes all."""
        if self.task.macs_limit is None:
            return None
        sizes = [(self._size(chosen), chosen) for chosen in self.space.architectures()]
        kept = [(size, chosen) for size, chosen in sizes if size[1] <= self.task.macs_limit]
        return oneshot.Architecture(max(kept, key=lambda each: each[0])[1], self.space)

    def _neighbours(self, chosen: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for label, spec in self.space.specs.items():
            for candidate in spec.candidates:
                changed = {**self.space.default(), **chosen, label: candidate}
                yield self.space.reduce(changed)

    def train(self, architecture: Mapping[str, Any], seed: int) -> Network:
        """Train one network from scratch; its result depends on it and the seed alone."""
        chosen = dict(sorted(architecture.items()))
        pl.seed_everything(zlib.crc32(f"{seed} {json.dumps(chosen)}".encode()), verbose=False)
        model = oneshot.freeze(self.task.model(), architecture, weights="fresh")
        runner = trainer(self.epochs)
        began = time.process_time()
        runner.fit(model, shuffled(self.data.train, self.task.batch, seed))
        seconds = time.process_time() - began
        validation = runner.validate(model, in_order(self.data.validation), verbose=False)[0]
        test = runner.test(model, in_order(self.data.test), verbose=False)[0]
        return Network(
            chosen,
            parameters=int(parameters(model)),
            macs=int(self._size(architecture)[1]),
            validation=round(validation[f"val_{self.task.metric}"], 4),
            test=round(test[f"test_{self.task.metric}"], 4),
            seconds=round(seconds, 1),
        )

    def _size(self, chosen: Mapping[str, Any]) -> tuple[float, float]:
        net = oneshot.freeze(self.model, chosen)
        return parameters(net), macs(net, self.data.train[0][:1])

    def _keeps_limit(self, architecture: Mapping[str, Any]) -> bool:
        limit = self.task.macs_limit
        return limit is None or self._size(architecture)[1] <= limit


class Results:
    """The runs of one task that are finished, in a file that is whole at any time.

    Args:
        path: of the file; what it holds is read.

    Raises:
        ValueError: it holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.versions = {"python": platform.python_version(), "torch": torch.__version__}
        self.runs: dict[int, Run] = {}
        if path.exists():
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.get("schema") != SCHEMA:
                raise ValueError(
                    f"{path} has the schema {data.get('schema')!r}.\n"
                    f"  expected: {SCHEMA!r}\n  fix: name another folder with --out"
                )
            self.versions = data["versions"]
            self.runs = {run["seed"]: _run(run) for run in data["runs"]}

    def add(self, run: Run) -> None:
        """Keep a run, and write the file."""
        self.runs[run.seed] = run
        data = {
            "schema": SCHEMA,
            "versions": self.versions,
            "runs": [asdict(self.runs[seed]) for seed in sorted(self.runs)],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, json.dumps(data, indent=1) + "\n")


def _run(data: Mapping[str, Any]) -> Run:
    return Run(
        data["seed"],
        data["cost"],
        data["seconds"],
        Network(**data["found"]),
        [Network(**network) for network in data["random"]],
        Network(**data["largest"]),
        data.get("fitting") and Network(**data["fitting"]),
    )
