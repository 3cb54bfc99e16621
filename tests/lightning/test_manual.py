"""The manual driver: what it does as automatic optimization does, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import StochasticWeightAveraging
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core.errors import OptimizerConfigError, StrategyError


class Model(pl.LightningModule):
    """Dropout and BatchNorm; what ``configure_optimizers`` returns is given."""

    def __init__(self, configure: Callable[[pl.LightningModule], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.configure = configure
        self.net = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2)
        )
        self.rates: list[float] = []
        self.skipped: set[int] = set()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor | None:
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_epoch=True)
        optimizer = self.optimizers()
        self.rates.append(optimizer.param_groups[0]["lr"])  # type: ignore[union-attr]
        return None if batch_idx in self.skipped else loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return self.configure(self)


def data(n: int = 28) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 4, generator=generator)
    return DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), batch_size=4)


def trainer(**options: Any) -> pl.Trainer:
    if "plugins" in options:
        options["plugins"] = [make() for make in options["plugins"]]
    settings: dict[str, Any] = {
        "max_epochs": 3,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**settings | options)


def sgd(model: pl.LightningModule) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def with_scheduler(**options: Any) -> Callable[[pl.LightningModule], Any]:
    def configure(model: pl.LightningModule) -> Any:
        optimizer = sgd(model)
        make = options.get("make", lambda o: StepLR(o, 1, gamma=0.7))
        rest = {key: value for key, value in options.items() if key != "make"}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": make(optimizer), **rest}}

    return configure


def plateau(optimizer: torch.optim.Optimizer) -> ReduceLROnPlateau:
    return ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.2)


def lbfgs(model: pl.LightningModule) -> torch.optim.Optimizer:
    return torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)


def adamw_one_cycle(model: pl.LightningModule) -> Any:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    steps = int(model.trainer.estimated_stepping_batches)
    return [optimizer], [
        {"scheduler": OneCycleLR(optimizer, 0.05, total_steps=steps), "interval": "step"}
    ]


def half_precision() -> MixedPrecision:
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**8))


CASES: dict[str, tuple[Callable[[pl.LightningModule], Any], dict[str, Any], dict[str, Any]]] = {
    "plain": (sgd, {}, {}),
    "no optimizer": (lambda model: None, {}, {}),
    "clip by norm": (sgd, {"gradient_clip_val": 0.1}, {}),
    "clip by value": (sgd, {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}, {}),
    "accumulate": (sgd, {"accumulate_grad_batches": 3}, {}),
    "accumulate, clip, one cycle": (
        adamw_one_cycle,
        {"accumulate_grad_batches": 2, "gradient_clip_val": 0.2},
        {},
    ),
    "LBFGS": (lbfgs, {}, {}),
    "bf16": (sgd, {"gradient_clip_val": 0.1}, {"precision": "bf16-mixed"}),
    "16-mixed with a scaler, accumulate and clip": (
        sgd,
        {"gradient_clip_val": 0.1, "accumulate_grad_batches": 2},
        {"plugins": [half_precision]},
    ),
    "double": (sgd, {}, {"precision": "64-true"}),
    "each epoch": (with_scheduler(), {}, {}),
    "every second step": (with_scheduler(interval="step", frequency=2), {}, {}),
    "plateau each epoch": (with_scheduler(make=plateau, monitor="val_loss"), {}, {}),
    "plateau in steps": (
        with_scheduler(make=plateau, monitor="val_loss", interval="step", frequency=3),
        {},
        {"val_check_interval": 3},
    ),
    "metric missing, not strict": (
        with_scheduler(make=plateau, monitor="nothing", strict=False),
        {},
        {},
    ),
}


@pytest.mark.filterwarnings("ignore:.*ReduceLROnPlateau conditioned on metric.*")
@pytest.mark.filterwarnings("ignore:.*configure_optimizers.*returned.*None.*")
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*before.*optimizer.step.*")
@pytest.mark.parametrize("case", CASES)
def test_weights_rates_and_metrics_equal_those_of_automatic_optimization(case: str) -> None:
    configure, manual, options = CASES[case]
    results = []
    for driven in (False, True):
        model = Model(configure)
        if case == "no optimizer":
            model.training_step = _without_rate.__get__(model)  # type: ignore[method-assign]
        pl.seed_everything(3, verbose=False)
        if driven:
            runner = trainer(**options)
            search = oneshot.search(model, seed=0).drive_manually(**manual)
            runner.fit(search, data(), data(12))
        else:
            runner = trainer(**options, **manual)
            runner.fit(model, data(), data(12))
        results.append((model, dict(runner.callback_metrics), runner.global_step))
    (bare, metrics, steps), (ours, our_metrics, our_steps) = results
    for name, value in bare.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    assert ours.rates == bare.rates
    assert our_metrics == metrics
    assert our_steps == steps


def _without_rate(self: Model, batch: list[Tensor], batch_idx: int) -> Tensor:
    return nn.functional.cross_entropy(self.net(batch[0]), batch[1])


@pytest.mark.filterwarnings("ignore:.*training_step.*returned.*None.*")
@pytest.mark.parametrize("options", [{}, {"plugins": [half_precision]}], ids=["32", "16-mixed"])
def test_a_batch_without_a_loss_is_skipped_as_in_automatic_optimization(
    options: dict[str, Any],
) -> None:
    models = []
    for driven in (False, True):
        model = Model(sgd)
        model.skipped = {1, 4}
        pl.seed_everything(3, verbose=False)
        search = oneshot.search(model, seed=0).drive_manually() if driven else model
        trainer(**options).fit(search, data(), data(12))
        models.append(model)
    for name, value in models[0].state_dict().items():
        assert torch.equal(models[1].state_dict()[name], value), name


def test_every_hook_of_the_user_runs_in_the_order_of_automatic_optimization() -> None:
    class Traced(Model):
        def __init__(self) -> None:
            super().__init__(sgd)
            self.calls: list[str] = []

        def on_before_zero_grad(self, optimizer: Any) -> None:
            self.calls.append("on_before_zero_grad")

        def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
            self.calls.append("optimizer_zero_grad")
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

        def on_before_backward(self, loss: Tensor) -> None:
            self.calls.append("on_before_backward")

        def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
            self.calls.append("backward")
            super().backward(loss, *args, **kwargs)

        def on_after_backward(self) -> None:
            self.calls.append("on_after_backward")

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            self.calls.append("on_before_optimizer_step")

        def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
            self.calls.append(f"configure_gradient_clipping {sorted(kwargs.items())}")
            super().configure_gradient_clipping(*args, **kwargs)

        def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            self.calls.append("optimizer_step")
            super().optimizer_step(*args, **kwargs)

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.calls.append(f"on_train_batch_end {outputs['loss'].item()}")

    calls = []
    for driven in (False, True):
        model = Traced()
        pl.seed_everything(3, verbose=False)
        clip = {"gradient_clip_val": 0.1, "accumulate_grad_batches": 2}
        if driven:
            trainer(max_epochs=1).fit(oneshot.search(model).drive_manually(**clip), data(), data(4))
        else:
            trainer(max_epochs=1, **clip).fit(model, data(), data(4))
        calls.append(model.calls)
    assert calls[0] == calls[1]


def test_darts_trains_architecture_and_weights_with_it() -> None:
    class Searched(Model):
        def __init__(self) -> None:
            super().__init__(sgd)
            layers = [nn.Linear(8, 8), nn.Identity()]
            self.net.insert(2, oneshot.LayerChoice(layers, label="extra"))

    states = []
    for driven in (False, True):
        model = Searched()
        search = oneshot.search(model, "darts", arch_dataloader=data(), seed=0)
        if driven:
            search.drive_manually()
        pl.seed_everything(3, verbose=False)
        trainer().fit(search, data(), data(12))
        states.append((model.state_dict(), search.export_probs()))
    assert states[0][1] == states[1][1]
    assert states[0][1]["extra"]["0"] != pytest.approx(0.5, abs=1e-4)
    for name, value in states[0][0].items():
        assert torch.equal(states[1][0][name], value), name


def two_optimizers(model: pl.LightningModule) -> Any:
    return [sgd(model), sgd(model)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"configure": two_optimizers}, "has 2 optimizers"),
        ({"callbacks": [StochasticWeightAveraging(0.1)]}, "StochasticWeightAveraging"),
        ({"manual": True}, "optimizes manually by itself"),
    ],
)
def test_what_it_cannot_do_is_refused_before_training(change: dict[str, Any], words: str) -> None:
    model = Model(change.get("configure", sgd))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    if change.get("manual"):
        model.automatic_optimization = False
    search = oneshot.search(model).drive_manually()
    with pytest.raises(StrategyError, match=words):
        trainer(callbacks=change.get("callbacks", [])).fit(search, data(), data(4))
    for name, value in model.state_dict().items():
        assert torch.equal(before[name], value)


def test_a_strict_scheduler_without_its_metric_is_an_error() -> None:
    model = Model(with_scheduler(make=plateau, monitor="nothing"))
    with pytest.raises(StrategyError, match="'nothing', which was not logged"):
        trainer().fit(oneshot.search(model).drive_manually(), data(), data(4))


def test_a_plateau_scheduler_without_a_monitor_is_refused_before_training() -> None:
    model = Model(with_scheduler(make=plateau))
    with pytest.raises(OptimizerConfigError, match="without a metric"):
        trainer().fit(oneshot.search(model).drive_manually(), data(), data(4))


@pytest.mark.parametrize(
    "wrong", [{"accumulate_grad_batches": 0}, {"gradient_clip_algorithm": "median"}]
)
def test_arguments_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(StrategyError, match="drive_manually got"):
        oneshot.search(Model(sgd)).drive_manually(**wrong)


def test_the_trainer_gets_its_setting_back() -> None:
    runner = trainer()
    search = oneshot.search(Model(sgd)).drive_manually(accumulate_grad_batches=3)
    runner.fit(search, data(), data(4))
    assert runner.accumulate_grad_batches == 1


def test_schedulers_are_lightnings_business_in_the_default_driver() -> None:
    search = oneshot.search(Model(sgd))
    with pytest.raises(StrategyError, match="drive_manually"):
        search.advance_lr_schedulers()
