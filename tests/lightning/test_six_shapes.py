"""Optimizers of every shape: the user's and the architecture's, trained side by side.

Each cell of the table (what the user's ``configure_optimizers`` returns) x (what the strategy's
``configure_architecture_optimizers`` returns) is trained for four epochs of three batches.
Metrics that schedulers monitor are :data:`WAVE`, a number for each epoch; learning rates of the
architecture are powers of two, computed here by hand.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.core.optimizer import (
    _configure_optimizers,
    _configure_schedulers_automatic_opt,
    _configure_schedulers_manual_opt,
    _MockOptimizer,
)
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, ReduceLROnPlateau, StepLR

import oneshot_core as oneshot
from oneshot_core.lightning.architecture_step import listed
from oneshot_core.optimizers import merge_optimizers
from oneshot_plugins.strategies.darts import Darts

EPOCHS, BATCHES = 4, 3
WAVE = (1.0, 2.0, 0.5, 0.7)
"""The monitored metric by epoch: worse than the best before in epochs 1 and 3."""


# --- what the user returns -----------------------------------------------------------------------


def sgd(model: Any) -> SGD:
    return SGD(model.parameters(), lr=0.1, momentum=0.9)


def users_plateau(optimizer: Optimizer) -> ReduceLROnPlateau:
    return ReduceLROnPlateau(optimizer, factor=0.3, patience=0)


def with_scheduler(model: Any) -> Any:
    optimizer = sgd(model)
    return {"optimizer": optimizer, "lr_scheduler": StepLR(optimizer, 1, 0.5)}


def two_lists(model: Any) -> Any:
    optimizer = sgd(model)
    return [optimizer], [StepLR(optimizer, 1, 0.5), ExponentialLR(optimizer, 0.9)]


def two_lists_mixed(model: Any) -> Any:
    optimizer = sgd(model)
    by_step = {"scheduler": ExponentialLR(optimizer, 0.9), "interval": "step", "name": "fast"}
    return [[optimizer], [StepLR(optimizer, 1, 0.5), by_step]]


def list_and_scheduler(model: Any) -> Any:
    optimizer = sgd(model)
    return [optimizer], StepLR(optimizer, 2, 0.5)


def outer_monitor(model: Any) -> Any:
    optimizer = sgd(model)
    scheduler = users_plateau(optimizer)
    return {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "val_wave"}


def all_keys(model: Any) -> Any:
    optimizer = sgd(model)
    options = {
        "scheduler": users_plateau(optimizer),
        "interval": "step",
        "frequency": 2,
        "monitor": "train_wave",
        "strict": False,
        "name": "mine",
    }
    return {"optimizer": optimizer, "lr_scheduler": options}


USERS: dict[str, Callable[[Any], Any]] = {
    "none": lambda model: None,
    "single": sgd,
    "list": lambda model: [sgd(model)],
    "tuple": lambda model: (sgd(model),),
    "two-lists": two_lists,
    "two-lists-mixed": two_lists_mixed,
    "two-lists-none": lambda model: ([sgd(model)], []),
    "list-and-scheduler": list_and_scheduler,
    "dict": lambda model: {"optimizer": sgd(model)},
    "dict-scheduler": with_scheduler,
    "dict-outer-monitor": outer_monitor,
    "dict-all-keys": all_keys,
    "list-of-dicts": lambda model: [with_scheduler(model)],
}


def adams(model: Any) -> list[Adam]:
    return [Adam(model.body.parameters(), 0.01), Adam(model.head.parameters(), 0.02)]


def two_each(model: Any) -> Any:
    optimizers = adams(model)
    return optimizers, [StepLR(optimizer, 1, 0.5) for optimizer in optimizers]


def two_and_one(model: Any) -> Any:
    optimizers = adams(model)
    return optimizers, StepLR(optimizers[1], 1, 0.5)


def dicts(model: Any) -> Any:
    first, second = adams(model)
    options = {"scheduler": StepLR(first, 1, 0.5), "interval": "step", "frequency": 3, "name": "a"}
    return [{"optimizer": first, "lr_scheduler": options}, {"optimizer": second}]


MANUAL_USERS: dict[str, Callable[[Any], Any]] = {
    "manual-list": adams,
    "manual-tuple": lambda model: tuple(adams(model)),
    "manual-two-lists": two_each,
    "manual-list-and-scheduler": two_and_one,
    "manual-list-of-dicts": dicts,
}


# --- what the strategy returns -------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """One way to train the architecture.

    Attributes:
        configure: parameters -> what ``configure_architecture_optimizers`` returns.
        rates: (epoch, batch) -> learning rates that the optimizers then have.
    """

    configure: Callable[[list[nn.Parameter]], Any]
    rates: Callable[[int, int], list[float]]


def halving(optimizer: Optimizer) -> LambdaLR:
    return LambdaLR(optimizer, lambda n: 0.5**n)


def arch_plateau(optimizer: Optimizer) -> ReduceLROnPlateau:
    return ReduceLROnPlateau(optimizer, factor=0.5, patience=0)


def pair(p: list[nn.Parameter]) -> list[Optimizer]:
    return [Adam(p[:1], 0.5), SGD(p[1:], 0.25)]


def arch_scheduled(build: Callable[[Optimizer], Any] = halving, **options: Any) -> Any:
    def configure(p: list[nn.Parameter]) -> Any:
        optimizer = Adam(p, 0.5)
        options_ = {"scheduler": build(optimizer), **options}
        return {"optimizer": optimizer, "lr_scheduler": options_}

    return configure


def arch_outer_monitor(p: list[nn.Parameter]) -> Any:
    optimizer = Adam(p, 0.5)
    scheduler = arch_plateau(optimizer)
    return {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "val_wave"}


def arch_two_lists(p: list[nn.Parameter]) -> Any:
    first, second = pair(p)
    return [first, second], [{"scheduler": halving(second), "interval": "step"}, halving(first)]


def arch_list_of_dicts(p: list[nn.Parameter]) -> Any:
    first, second = pair(p)
    return [{"optimizer": first}, {"optimizer": second, "lr_scheduler": halving(second)}]


COLUMNS: dict[str, Column] = {
    "none": Column(lambda p: None, lambda e, b: []),
    "single": Column(lambda p: Adam(p, 0.5), lambda e, b: [0.5]),
    "list": Column(pair, lambda e, b: [0.5, 0.25]),
    "two-lists": Column(
        arch_two_lists, lambda e, b: [0.5 * 0.5**e, 0.25 * 0.5 ** (BATCHES * e + b)]
    ),
    "list-of-dicts": Column(arch_list_of_dicts, lambda e, b: [0.5, 0.25 * 0.5**e]),
    "every-epoch": Column(arch_scheduled(), lambda e, b: [0.5 * 0.5**e]),
    "every-second-epoch": Column(arch_scheduled(frequency=2), lambda e, b: [0.5 * 0.5 ** (e // 2)]),
    "every-step": Column(
        arch_scheduled(interval="step"), lambda e, b: [0.5 * 0.5 ** (BATCHES * e + b)]
    ),
    # Batches are counted anew in each epoch: of three, the second one.
    "every-second-step": Column(
        arch_scheduled(interval="step", frequency=2), lambda e, b: [0.5 * 0.5 ** (e + (b >= 2))]
    ),
    "plateau": Column(arch_outer_monitor, lambda e, b: [0.5 * 0.5 ** ((e > 1) + (e > 3))]),
    "plateau-every-second-step": Column(
        arch_scheduled(arch_plateau, monitor="train_wave", interval="step", frequency=2),
        lambda e, b: [0.5 * 0.5 ** (((e, b) >= (1, 2)) + ((e, b) >= (3, 2)))],
    ),
    "plateau-missing-not-strict": Column(
        arch_scheduled(arch_plateau, monitor="absent", strict=False), lambda e, b: [0.5]
    ),
}


# --- training ------------------------------------------------------------------------------------


class Net(LightningModule):
    """Dropout, BatchNorm, and notes of what it sees of its optimizers."""

    def __init__(self, layer: Callable[[nn.Module], nn.Module], configure: Any) -> None:
        super().__init__()
        self.configure = configure
        self.body = nn.Sequential(
            layer(nn.Linear(6, 8)), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3)
        )
        self.head = layer(nn.Linear(8, 3))
        self.notes: list[Any] = []
        self.returned: Any = None

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = nn.functional.cross_entropy(self.head(self.body(batch[0])), batch[1])
        self.log_dict({"train_loss": loss, "train_wave": WAVE[self.current_epoch]})
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_wave", WAVE[self.current_epoch])

    def configure_optimizers(self) -> Any:
        self.returned = self.configure(self)
        return self.returned

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.note()

    def on_train_end(self) -> None:
        self.note()

    def note(self) -> None:
        self.notes.append((seen(self.optimizers()), seen(self.lr_schedulers())))


class ManualNet(Net):
    """Steps two optimizers by itself, and their schedulers at the end of an epoch."""

    def __init__(self, layer: Callable[[nn.Module], nn.Module], configure: Any) -> None:
        super().__init__(layer, configure)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for optimizer in self.optimizers():
            self.toggle_optimizer(optimizer)
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()
            self.untoggle_optimizer(optimizer)
        if self.trainer.is_last_batch:
            found = self.lr_schedulers() or []
            for scheduler in found if isinstance(found, list) else [found]:
                scheduler.step()


def seen(found: Any) -> Any:
    """Describe optimizers or schedulers as the user got them, with their rates."""
    if isinstance(found, list):
        return [seen(item) for item in found]
    if found is None:
        return None
    raw = getattr(found, "optimizer", found)
    own = found.state_dict() if not isinstance(raw, Optimizer) else None
    return type(found).__name__, type(raw).__name__, [g.get("lr") for g in raw.param_groups], own


@dataclass
class Run:
    """A trained model, and what was noted."""

    model: Net
    trainer: Trainer
    search: Any = None
    returned: Any = None
    rates: list[list[float]] = field(default_factory=list)


def strategy(beside: type[Darts], column: Column, *, manual: bool) -> type[Darts]:
    """Return a strategy that trains its parameters, and leaves the weights alone."""

    class Configured(beside):  # type: ignore[misc,valid-type]
        def configure_architecture_optimizers(self) -> Any:
            config = column.configure(list(self.decisions.parameters()))
            self.__dict__["returned_by_strategy"] = config
            return config

        def note_rates(self) -> None:
            found = [o.param_groups[0]["lr"] for o in listed(self.architecture_optimizers())]
            self.__dict__.setdefault("rates", []).append(found)

        def search_step(self, batch: Any, batch_idx: int) -> None:
            self.note_rates()
            super().search_step(batch, batch_idx)

        def on_fit_end(self) -> None:
            self.note_rates()
            (super() if self.architecture_optimizers() else super(beside, self)).on_fit_end()

    class ConfiguredManual(Configured):
        def architecture_loss(self, batch: Any, batch_idx: int) -> Tensor:
            # The user's training_step would step the user's optimizers.
            total: Any = sum(decision.alpha.square().sum() for decision in self.decisions)
            return total * batch[0].square().mean()

    return ConfiguredManual if manual else Configured


@pytest.fixture(scope="module")
def train(comparison: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Return the run of a cell, ``None`` for the bare one; each is trained once."""
    known: dict[tuple[str, str | None], Run] = {}
    root = tmp_path_factory.mktemp("six-shapes")

    def run(user: str, column: str | None = None) -> Run:
        key = user, column
        if key not in known:
            known[key] = trained(user, column, comparison, root)
        return known[key]

    return run


def trained(user: str, name: str | None, comparison: Any, root: Path) -> Run:
    bench = comparison.bench(root, comparison.driver(single=name is not None))
    torch.manual_seed(11)
    manual = user in MANUAL_USERS
    cls = ManualNet if manual else Net
    model = cls(bench.layer, (MANUAL_USERS if manual else USERS)[user])
    module: LightningModule = model
    if name is not None:
        chosen = strategy(comparison.learns_beside, COLUMNS[name], manual=manual)
        module = oneshot.search(model, chosen, arch_dataloader=bench.loader(8, seed=2))
    trainer = comparison.trainer(root, max_epochs=EPOCHS)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*this fit will run with no optimizer")
        warnings.filterwarnings("ignore", ".*metric absent which is not available")
        trainer.fit(module, bench.loader(12), bench.loader(4, seed=1, shuffle=False))
    if name is None:
        return Run(model, trainer)
    noted = module.__dict__
    return Run(model, trainer, module, noted["returned_by_strategy"], noted["rates"])


WHOLE_ROWS = ("single", "dict-outer-monitor", "manual-two-lists")
WHOLE_COLUMNS = ("list", "two-lists", "plateau-every-second-step")
FAST_ROWS, FAST_COLUMN = ("single", "manual-two-lists"), "two-lists"
"""Each configuration of one side with three of the other: one by one these are read, and then put
one behind the other, so no pair can do what its parts do not do with others. Whole rows are one
without and one with a monitor, and one where the user steps by hand, as the driver of the
architecture's schedulers is another then. All other pairs are trained every night."""


def cell(user: str, column: str) -> Any:
    marks = []
    if user not in FAST_ROWS and column != FAST_COLUMN:
        whole = user in WHOLE_ROWS or column in WHOLE_COLUMNS
        marks = [pytest.mark.slow if whole else pytest.mark.nightly]
    return pytest.param(user, column, marks=marks, id=f"{user}+{column}")


every_cell = pytest.mark.parametrize(
    ("user", "column"),
    [cell(u, c) for u in USERS | MANUAL_USERS for c in COLUMNS],
    scope="module",  # the three tests of a cell run one after another, in one process
)


@every_cell
def test_user_trains_as_without_the_architecture(user: str, column: str, train: Any) -> None:
    """Weights bit for bit, steps, and at every batch the rates and what the user can get at."""
    bare, wrapped = train(user), train(user, column)

    weights = list(bare.model.state_dict().values())
    found = list(wrapped.model.state_dict().values())
    assert len(weights) == len(found)
    assert all(map(torch.equal, weights, found))
    assert wrapped.trainer.global_step == bare.trainer.global_step
    assert len(wrapped.model.notes) == EPOCHS * BATCHES + 1
    assert wrapped.model.notes == bare.model.notes


@every_cell
def test_rates_of_the_architecture_follow_its_schedulers(
    user: str, column: str, train: Any
) -> None:
    run = train(user, column)

    times = [(epoch, batch) for epoch in range(EPOCHS) for batch in range(BATCHES)]
    assert run.rates == [COLUMNS[column].rates(*time) for time in [*times, (EPOCHS, 0)]]


@every_cell
def test_trainer_holds_what_the_merged_configuration_says(
    user: str, column: str, train: Any
) -> None:
    """The user's first, the architecture's last; as Lightning itself reads the merged shape."""
    run = train(user, column)
    merged = merge_optimizers(run.model.returned, run.returned)
    optimizers, schedulers, monitor = [], [], None
    if merged is not None:
        optimizers, schedulers, monitor = _configure_optimizers(merged)

    held = [o for o in run.trainer.optimizers if not isinstance(o, _MockOptimizer)]
    assert [id(o) for o in held] == [id(o) for o in optimizers]
    ours = [run.search.is_architecture_optimizer(o) for o in run.trainer.optimizers]
    assert ours == sorted(ours)  # all of the user's come before
    assert sum(ours) == len(listed(run.search.architecture_optimizers()))

    configs = run.trainer.lr_scheduler_configs
    users = [c for c in configs if not run.search.is_architecture_scheduler(c.scheduler)]
    if user in MANUAL_USERS:  # Lightning keeps less of the user's there
        expected = _configure_schedulers_manual_opt(schedulers[: len(users)])
        expected += _configure_schedulers_automatic_opt(schedulers[len(users) :], monitor)
    else:
        expected = _configure_schedulers_automatic_opt(schedulers, monitor)
    assert configs == expected
    assert configs[: len(users)] == users


@pytest.mark.parametrize("user", ["single", "dict-scheduler"])
def test_missing_metric_of_a_strict_architecture_scheduler_is_an_error(
    user: str, train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    column = Column(arch_scheduled(arch_plateau, monitor="absent"), lambda e, b: [])
    monkeypatch.setitem(COLUMNS, "strict", column)

    with pytest.raises(MisconfigurationException, match="absent"):
        train(user, "strict")
