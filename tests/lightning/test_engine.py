"""The training loop is entered where it is as expected, and given back as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loops.optimization.automatic import _AutomaticOptimization
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core.lightning.engine import OneShotOptimization, install_engine, remove_engine
from oneshot_plugins.strategies.uniform import UniformSampling


class Net(LightningModule):
    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.fails = fails
        self.engines: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.engines.append(self.trainer.fit_loop.epoch_loop.automatic_optimization)
        if self.fails:
            raise ZeroDivisionError
        return nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def engine_of(trainer: Trainer) -> Any:
    return trainer.fit_loop.epoch_loop.automatic_optimization


def test_what_is_relied_on_inside_lightning_is_there(make_trainer: Any) -> None:
    """Fails for a Lightning whose loop is another: searches then use public hooks only."""
    engine = engine_of(make_trainer())

    assert type(engine) is _AutomaticOptimization
    assert install_engine(make_trainer(), oneshot.search(Net()))


def test_engine_is_ours_during_a_fit_and_lightnings_afterwards(
    make_trainer: Any, make_loader: Any
) -> None:
    search = oneshot.search(Net())
    trainer = make_trainer()

    trainer.fit(search, make_loader(8))

    assert all(type(engine) is OneShotOptimization for engine in search.model.engines)
    assert type(engine_of(trainer)) is _AutomaticOptimization


def test_progress_counters_stay_the_same_objects(make_trainer: Any) -> None:
    """``global_step`` and checkpoints read them through other references."""
    trainer = make_trainer()
    progress = engine_of(trainer).optim_progress
    search = oneshot.search(Net())

    assert install_engine(trainer, search)
    assert engine_of(trainer).optim_progress is progress
    remove_engine(trainer)

    assert engine_of(trainer).optim_progress is progress
    assert vars(engine_of(trainer)).keys() == vars(_AutomaticOptimization(trainer)).keys()


def test_installing_twice_is_harmless_and_serves_the_later_search(make_trainer: Any) -> None:
    trainer = make_trainer()
    first, second = oneshot.search(Net()), oneshot.search(Net())

    assert install_engine(trainer, first)
    engine = engine_of(trainer)
    assert install_engine(trainer, second)

    assert engine_of(trainer) is engine
    assert engine.search is second


def test_removing_from_a_loop_that_was_not_entered_changes_nothing(make_trainer: Any) -> None:
    trainer = make_trainer()
    engine = engine_of(trainer)

    remove_engine(trainer)

    assert engine_of(trainer) is engine


class Subclass(_AutomaticOptimization):
    pass


class OtherSignature(_AutomaticOptimization):
    def run(self, optimizer: Any, batch_idx: int) -> Any:  # type: ignore[override]
        return {}


@pytest.mark.parametrize("cls", [Subclass, OtherSignature])
def test_loop_that_is_not_as_expected_is_left_alone(cls: Any, make_trainer: Any) -> None:
    trainer = make_trainer()
    foreign = trainer.fit_loop.epoch_loop.automatic_optimization = cls(trainer)

    assert not install_engine(trainer, oneshot.search(Net()))
    assert engine_of(trainer) is foreign


def test_loop_without_an_engine_is_left_alone(make_trainer: Any) -> None:
    trainer = make_trainer()
    del trainer.fit_loop.epoch_loop.automatic_optimization

    assert not install_engine(trainer, oneshot.search(Net()))


def test_changed_signature_of_run_is_noticed(
    make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_AutomaticOptimization, "run", OtherSignature.run)

    assert not install_engine(make_trainer(), oneshot.search(Net()))


def test_trainer_of_a_failed_search_trains_a_bare_module_as_usual(
    make_trainer: Any, make_loader: Any
) -> None:
    """Lightning calls no ``on_fit_end`` after an error, so the engine is still there."""
    trainer = make_trainer()
    with pytest.raises(ZeroDivisionError):
        trainer.fit(oneshot.search(Net(fails=True)), make_loader(8))
    torch.manual_seed(0)
    after_failure = Net()
    trainer.fit(after_failure, make_loader(8))
    torch.manual_seed(0)
    fresh = Net()

    make_trainer().fit(fresh, make_loader(8))

    assert torch.equal(after_failure.layer.weight, fresh.layer.weight)


def test_search_goes_on_after_a_failed_fit(make_trainer: Any, make_loader: Any) -> None:
    search = oneshot.search(Net(fails=True))
    with pytest.raises(ZeroDivisionError):
        make_trainer().fit(search, make_loader(8))
    search.model.fails = False
    trainer = make_trainer()

    trainer.fit(search, make_loader(8))

    assert trainer.global_step == 4
    assert "optimizers" not in vars(search.model)


class Notes(UniformSampling):
    def search_step(self, batch: Any, batch_idx: int) -> None:
        self.model.engines.append((type(batch), len(batch), batch_idx))
        super().search_step(batch, batch_idx)


class TakesBatch(Net):
    def training_step(self, batch: Any) -> Tensor:
        return super().training_step(batch, 0)


class Manual(Net):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.step()


@pytest.mark.parametrize("cls", [Net, TakesBatch, Manual])
def test_strategy_gets_each_batch_with_its_index_once(
    cls: type[Net], make_trainer: Any, make_loader: Any
) -> None:
    search = oneshot.search(cls(), Notes)

    make_trainer(max_epochs=1).fit(search, make_loader(12))

    notes = [entry for entry in search.model.engines if isinstance(entry, tuple)]
    assert notes == [(list, 2, 0), (list, 2, 1), (list, 2, 2)]


class TakesIterator(Net):
    def training_step(self, dataloader_iter: Any) -> Tensor:
        batch, batch_idx, _ = next(dataloader_iter)
        return super().training_step(batch, batch_idx)


@pytest.mark.filterwarnings("ignore:.*`dataloader_iter`")
def test_strategy_gets_the_iterator_where_the_user_draws_batches(
    make_trainer: Any, make_loader: Any
) -> None:
    """No batch exists yet when the strategy's part of it begins."""
    search = oneshot.search(TakesIterator(), UniformSampling)

    trainer = make_trainer(max_epochs=1)
    trainer.fit(search, make_loader(12))

    assert trainer.global_step == 3
