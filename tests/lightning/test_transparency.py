"""Training through a search equals training the bare module, in everything that can be seen.

Each case is trained bare and wrapped from the same seed, and compared: weights bit for bit,
logged rows, hyperparameters, every callback event with what callbacks see there, every hook of
the module in order, warnings, errors, and whole checkpoints except for the search's entry.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer, callbacks
from pytorch_lightning.callbacks import (
    BaseFinetuning,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.tuner.tuning import Tuner
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import ExponentialLR, OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils.data import IterableDataset
from torchmetrics import Accuracy

from oneshot_plugins.strategies.uniform import UniformSampling

Case = Callable[[Any], None]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Add to the cases under the function's name."""
    CASES[function.__name__] = function
    return function


def optimizer_of(model: LightningModule) -> SGD:
    return SGD(model.parameters(), lr=model.lr, momentum=0.9)


class Net(LightningModule):
    """A classifier with BatchNorm and dropout: with state and with randomness.

    Args:
        layer: applied to each linear layer; makes choices of them.
        configure: what ``configure_optimizers`` calls.
        lr: a hyperparameter.
    """

    def __init__(
        self,
        layer: Callable[[nn.Module], nn.Module] = lambda module: module,
        configure: Callable[[Any], Any] = optimizer_of,
        lr: float = 0.1,
    ) -> None:
        super().__init__()
        self.save_hyperparameters("lr")
        self.lr = lr
        self.configure = configure
        self.body = nn.Sequential(
            layer(nn.Linear(6, 8)), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3)
        )
        self.head = layer(nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", self.loss(batch), add_dataloader_idx=dataloader_idx > 0)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self.loss(batch))

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch[0])

    def configure_optimizers(self) -> Any:
        return self.configure(self)


def fit_with(configure: Callable[[Any], Any], **options: Any) -> Case:
    """A case that trains ``Net`` with other optimizers or another Trainer."""

    def run(bench: Any) -> None:
        bench.fit(Net(bench.layer, configure), **options)

    return run


# --- optimizers and schedulers -------------------------------------------------------------------


def scheduled(**options: Any) -> Callable[[Any], Any]:
    def configure(model: Any) -> Any:
        optimizer = optimizer_of(model)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": StepLR(optimizer, 1, 0.5), **options},
        }

    return configure


def two_lists(model: Any) -> Any:
    optimizer = optimizer_of(model)
    return [optimizer], [StepLR(optimizer, 1, 0.5)]


def two_lists_mixed(model: Any) -> Any:
    optimizer = optimizer_of(model)
    by_step = {"scheduler": ExponentialLR(optimizer, 0.9), "interval": "step", "name": "fast"}
    return [optimizer], [StepLR(optimizer, 1, 0.5), by_step]


def list_of_dicts(model: Any) -> Any:
    return [scheduled()(model)]


def one_cycle(model: Any) -> Any:
    optimizer = optimizer_of(model)
    total = model.trainer.estimated_stepping_batches
    scheduler = OneCycleLR(optimizer, max_lr=0.2, total_steps=int(total))
    return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


def plateau(**options: Any) -> Callable[[Any], Any]:
    def configure(model: Any) -> Any:
        optimizer = optimizer_of(model)
        scheduler = ReduceLROnPlateau(optimizer, patience=0, threshold=0.5)
        return [optimizer], [{"scheduler": scheduler, "monitor": "val_loss", **options}]

    return configure


def plateau_outer_monitor(model: Any) -> Any:
    optimizer = optimizer_of(model)
    scheduler = ReduceLROnPlateau(optimizer, patience=0, threshold=0.5)
    return {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "val_loss"}


CASES |= {
    "sgd": fit_with(optimizer_of),
    "list_of_one": fit_with(lambda model: [Adam(model.parameters(), 0.01)]),
    "tuple_of_one": fit_with(lambda model: (Adam(model.parameters(), 0.01),)),
    "two_lists": fit_with(two_lists),
    "two_lists_mixed": fit_with(two_lists_mixed),
    "dict_step_every_2": fit_with(scheduled(interval="step", frequency=2)),
    "list_of_dicts": fit_with(list_of_dicts),
    "no_optimizer": fit_with(lambda model: None),
    "accumulate": fit_with(optimizer_of, accumulate_grad_batches=3),
    "clip_norm": fit_with(optimizer_of, gradient_clip_val=0.1),
    "clip_value": fit_with(optimizer_of, gradient_clip_val=0.01, gradient_clip_algorithm="value"),
    "clip_accumulate_one_cycle": fit_with(
        one_cycle, gradient_clip_val=0.1, accumulate_grad_batches=2
    ),
    "plateau_epoch": fit_with(plateau(), max_epochs=4),
    "plateau_outer_monitor": fit_with(plateau_outer_monitor, max_epochs=4),
    "plateau_missing_not_strict": fit_with(plateau(monitor="nothing", strict=False)),
    "plateau_step": fit_with(plateau(interval="step", frequency=2), val_check_interval=2),
    "lbfgs": fit_with(lambda model: torch.optim.LBFGS(model.parameters(), 0.05, max_iter=3)),
    "two_optimizers_in_automatic": fit_with(lambda model: [optimizer_of(model)] * 2),
    "plateau_missing_strict": fit_with(plateau(monitor="nothing")),
}


def half_precision(scaler: bool = True) -> Any:
    scale = torch.amp.GradScaler("cpu", init_scale=2.0**8) if scaler else None
    return MixedPrecision("16-mixed", "cpu", scale)


@case
def sixteen_mixed(bench: Any) -> None:
    bench.fit(Net(bench.layer), plugins=[half_precision()])


@case
def sixteen_mixed_clip_accumulate(bench: Any) -> None:
    options = {"gradient_clip_val": 0.1, "accumulate_grad_batches": 2}
    bench.fit(Net(bench.layer), plugins=[half_precision()], **options)


CASES |= {
    "bf16_mixed": fit_with(optimizer_of, precision="bf16-mixed"),
    "double": fit_with(optimizer_of, precision="64-true"),
}


# --- what training_step takes and returns --------------------------------------------------------


class ReturnsDict(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": super().training_step(batch, batch_idx), "extra": batch[1]}


class ReturnsNone(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx % 3 == 1 else loss


class TakesBatchOnly(Net):
    def training_step(self, batch: Any) -> Any:
        return super().training_step(batch, 0)


class TakesIterator(Net):
    def training_step(self, dataloader_iter: Any) -> Any:
        batch, _, _ = next(dataloader_iter)
        loss = self.loss(batch)
        self.log("train_loss", loss, batch_size=len(batch[0]))
        return loss


class Decorated(Net):
    """Decorated by something that passes any arguments on."""

    @torch.enable_grad()
    def training_step(self, batch: Any) -> Any:
        return super().training_step(batch, 0)

    @torch.no_grad()
    def validation_step(self, batch: Any) -> None:
        super().validation_step(batch, 0)


class TakesAnything(Net):
    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        return super().training_step(*args, **kwargs)


class DictWithoutLoss(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"other": super().training_step(batch, batch_idx)}


class Fails(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 3:
            raise ZeroDivisionError("in the user's step")
        return super().training_step(batch, batch_idx)


class NoTrainingStep(LightningModule):
    def configure_optimizers(self) -> None:
        return None


def fit_class(cls: type[Net], **options: Any) -> Case:
    def run(bench: Any) -> None:
        bench.fit(cls(bench.layer), **options)

    return run


CASES |= {
    "returns_dict": fit_class(ReturnsDict),
    "returns_dict_accumulate": fit_class(ReturnsDict, accumulate_grad_batches=2),
    "returns_none": fit_class(ReturnsNone),
    "takes_batch_only": fit_class(TakesBatchOnly),
    "takes_iterator": fit_class(TakesIterator),
    "takes_anything": fit_class(TakesAnything),
    "decorated": fit_class(Decorated),
    "dict_without_loss": fit_class(DictWithoutLoss),
}


@case
def returns_none_sixteen_mixed(bench: Any) -> None:
    bench.fit(ReturnsNone(bench.layer), plugins=[half_precision()])


@case
def user_error(bench: Any) -> None:
    if bench.driver.strategy == "beside":
        pytest.skip("its architecture step meets the error first")
    bench.fit(Fails(bench.layer))


@case
def no_training_step(bench: Any) -> None:
    bench.fit(NoTrainingStep(), val=False)


# --- hooks ---------------------------------------------------------------------------------------


class Hooky(Net):
    """Overrides the hooks around a weight step, and uses what they give."""

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        self.log("step_seen", float(self.trainer.global_step))
        if self.trainer.global_step < 4:
            for group in optimizer.param_groups:
                group["lr"] = 0.01 * (self.trainer.global_step + 1)
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        optimizer.zero_grad(set_to_none=False)

    def on_before_zero_grad(self, optimizer: Any) -> None:
        torch.rand(1)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        (1.5 * loss).backward()

    def on_before_backward(self, loss: Tensor) -> None:
        self.log("scaled_loss", loss)

    def on_after_backward(self) -> None:
        for parameter in self.parameters():
            parameter.grad += 1e-3 * torch.randn_like(parameter)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.log("norm", sum(p.grad.norm() for p in self.parameters()))

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: Any = None,
        gradient_clip_algorithm: Any = None,
    ) -> None:
        self.clip_gradients(
            optimizer,
            gradient_clip_val=gradient_clip_val,
            gradient_clip_algorithm=gradient_clip_algorithm,
        )

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        super().lr_scheduler_step(scheduler, metric)

    def on_fit_start(self) -> None:
        torch.rand(1)

    def on_fit_end(self) -> None:
        torch.rand(2)

    def on_train_start(self) -> None:
        self.log("from_start", 1.0)

    def on_train_end(self) -> None:
        torch.rand(3)

    def on_train_epoch_start(self) -> None:
        self.log("from_epoch_start", float(self.current_epoch))

    def on_train_epoch_end(self) -> None:
        self.log("from_epoch_end", float(self.global_step))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
        torch.rand(1)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.log("from_batch_end", outputs["loss"] if outputs else 0.0)

    def on_validation_epoch_start(self) -> None:
        torch.rand(1)

    def on_validation_batch_end(
        self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.log("from_val_batch_end", float(batch_idx))

    def on_validation_epoch_end(self) -> None:
        self.log("val_end", float(self.global_step))

    def on_validation_model_eval(self) -> None:
        self.eval()

    def on_validation_model_train(self) -> None:
        self.train()

    def on_validation_model_zero_grad(self) -> None:
        self.zero_grad()

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0] * 1.5, batch[1]]

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0] + 1, batch[1]]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["mine"] = {"global_step": self.global_step}

    def setup(self, stage: str) -> None:
        torch.rand(1)

    def teardown(self, stage: str) -> None:
        torch.rand(1)

    def prepare_data(self) -> None:
        torch.rand(1)

    def configure_callbacks(self) -> list[Callback]:
        return [LogsFromCallback()]


class SkipsSteps(Hooky):
    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        if batch_idx % 2:
            optimizer_closure()
        else:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)


class StopsEpoch(Hooky):
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
        return -1 if batch_idx == 3 else None


class LogsFromCallback(Callback):
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        pl_module.log("from_callback", float(trainer.global_step))
        pl_module.log_dict({"also": 2.0})


class CustomScheduler:
    """Not a torch scheduler; needs ``lr_scheduler_step``."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.turns = 0

    def advance(self) -> None:
        self.turns += 1
        for group in self.optimizer.param_groups:
            group["lr"] = 0.1 / (1 + self.turns)

    def state_dict(self) -> dict[str, int]:
        return {"turns": self.turns}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.turns = state["turns"]


class UsesCustomScheduler(Net):
    def configure_optimizers(self) -> Any:
        optimizer = optimizer_of(self)
        return [optimizer], [{"scheduler": CustomScheduler(optimizer), "interval": "step"}]

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.advance()


class Lbfgs(Hooky):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), 0.05, max_iter=3)


CASES |= {
    "hooks": fit_class(Hooky),
    "hooks_accumulate_clip": fit_class(Hooky, accumulate_grad_batches=2, gradient_clip_val=0.1),
    "hooks_bf16": fit_class(Hooky, precision="bf16-mixed"),
    "hooks_skip_steps": fit_class(SkipsSteps),
    "hooks_stop_epoch": fit_class(StopsEpoch),
    "hooks_lbfgs": fit_class(Lbfgs),
    "custom_scheduler": fit_class(UsesCustomScheduler),
    "callback_logs": fit_class(Net, callbacks=[LogsFromCallback()]),
}


@case
def hooks_sixteen_mixed_clip(bench: Any) -> None:
    bench.fit(Hooky(bench.layer), plugins=[half_precision()], gradient_clip_val=0.1)


# --- loops and callbacks -------------------------------------------------------------------------


CASES |= {
    "max_steps_and_validation_inside_epochs": fit_with(
        two_lists, max_steps=9, max_epochs=-1, val_check_interval=2
    ),
    "log_every_4": fit_with(optimizer_of, log_every_n_steps=4, accumulate_grad_batches=2),
    "overfit_batches": fit_with(optimizer_of, overfit_batches=2),
    "fast_dev_run": fit_with(optimizer_of, fast_dev_run=2),
    "no_validation": fit_with(optimizer_of, val=False),
    "no_sanity_check": fit_with(optimizer_of, num_sanity_val_steps=0),
}


@case
def early_stopping(bench: Any) -> None:
    stopping = EarlyStopping("val_loss", patience=1, min_delta=1.0)
    bench.fit(Net(bench.layer), max_epochs=6, callbacks=[stopping])
    bench.note("stopped", stopping.stopped_epoch)


@case
def checkpoint_every_3_steps(bench: Any) -> None:
    keeper = ModelCheckpoint(bench.root / "kept", every_n_train_steps=3, save_top_k=-1)
    bench.fit(Net(bench.layer, two_lists), callbacks=[keeper], enable_checkpointing=True)
    assert len(list((bench.root / "kept").iterdir())) == 4


@case
def checkpoint_monitored(bench: Any) -> None:
    keeper = ModelCheckpoint(
        bench.root / "kept", "{epoch}-{val_loss:.3f}", monitor="val_loss", save_last=True
    )
    bench.fit(
        Net(bench.layer, plateau()), callbacks=[keeper], enable_checkpointing=True, max_epochs=3
    )
    bench.note("best", [keeper.best_model_path, keeper.best_model_score])


@case
def checkpoints_of_everything(bench: Any) -> None:
    keeper = ModelCheckpoint(bench.root / "kept", every_n_train_steps=2, save_top_k=-1)
    bench.fit(
        Hooky(bench.layer, plateau(interval="step", frequency=2)),
        callbacks=[keeper],
        enable_checkpointing=True,
        plugins=[half_precision()],
        gradient_clip_val=0.1,
        val_check_interval=2,
    )


@case
def learning_rate_monitor(bench: Any) -> None:
    if bench.driver.strategy == "beside":
        pytest.skip("it logs the rate of the architecture's optimizer, too")
    bench.fit(Net(bench.layer, two_lists_mixed), callbacks=[LearningRateMonitor()])


@case
def weight_averaging(bench: Any) -> None:
    swa = StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=1, annealing_epochs=1)
    keeper = ModelCheckpoint(bench.root / "kept", save_top_k=-1)
    bench.fit(Net(bench.layer), max_epochs=4, callbacks=[swa, keeper], enable_checkpointing=True)


@case
def exponential_averaging(bench: Any) -> None:
    if not hasattr(callbacks, "EMAWeightAveraging"):
        pytest.skip("this Lightning has no EMAWeightAveraging")
    keeper = ModelCheckpoint(bench.root / "kept", save_top_k=-1)
    bench.fit(
        Net(bench.layer),
        max_epochs=3,
        callbacks=[callbacks.EMAWeightAveraging(decay=0.9), keeper],
        enable_checkpointing=True,
    )


@case
def accumulation_scheduler(bench: Any) -> None:
    callback = GradientAccumulationScheduler({0: 2, 1: 3})
    bench.fit(Net(bench.layer), max_epochs=3, callbacks=[callback])


@case
def resumed_inside_an_epoch(bench: Any) -> None:
    keeper = ModelCheckpoint(bench.root / "kept", every_n_train_steps=4, save_top_k=-1)
    bench.fit(Net(bench.layer, two_lists_mixed), callbacks=[keeper], enable_checkpointing=True)
    path = min((bench.root / "kept").iterdir())
    bench.fit(Net(bench.layer, two_lists_mixed), ckpt_path=path, max_epochs=3)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return ((torch.randn(6), torch.randint(3, ())) for _ in range(22))


@case
def iterable_dataset(bench: Any) -> None:
    loader = torch.utils.data.DataLoader(Stream(), batch_size=4)
    bench.fit(Net(bench.layer), train=loader, accumulate_grad_batches=2)


class SetsAttribute(Callback):
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        pl_module.scale = 1.0 + batch_idx


class ReadsAttribute(Net):
    scale = 1.0

    def loss(self, batch: Any) -> Tensor:
        return self.scale * super().loss(batch)


@case
def callback_sets_attribute(bench: Any) -> None:
    bench.fit(ReadsAttribute(bench.layer), callbacks=[SetsAttribute()])


class FinetunesBody(BaseFinetuning):
    def freeze_before_training(self, pl_module: LightningModule) -> None:
        self.freeze(pl_module.body)

    def finetune_function(
        self, pl_module: LightningModule, current_epoch: int, optimizer: Optimizer
    ) -> None:
        if current_epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.body, optimizer, lr=0.01)


@case
def finetuning(bench: Any) -> None:
    def trainable(model: Net) -> Any:
        return SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)

    if bench.driver.strategy == "beside":
        pytest.skip("it gives weights to every optimizer; refused in the architecture step")
    bench.fit(Net(bench.layer, trainable), max_epochs=3, callbacks=[FinetunesBody()])


class Measured(Net):
    """Logs torchmetrics objects, which Lightning resets, names and checkpoints."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.train_acc = Accuracy(task="multiclass", num_classes=3)
        self.val_acc = Accuracy(task="multiclass", num_classes=3)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        logits = self(batch[0])
        self.train_acc(logits, batch[1])
        self.log("train_acc", self.train_acc, on_step=True, on_epoch=True)
        return nn.functional.cross_entropy(logits, batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.val_acc.update(self(batch[0]), batch[1])
        self.log("val_acc", self.val_acc)


@case
def torchmetrics(bench: Any) -> None:
    keeper = ModelCheckpoint(bench.root / "kept", every_n_train_steps=4, save_top_k=-1)
    bench.fit(Measured(bench.layer), callbacks=[keeper], enable_checkpointing=True)


# --- everything else a Trainer does --------------------------------------------------------------


class Data(LightningDataModule):
    def __init__(self, bench: Any) -> None:
        super().__init__()
        self.bench = bench

    def setup(self, stage: str) -> None:
        torch.rand(1)

    def train_dataloader(self) -> Any:
        return self.bench.loader()

    def val_dataloader(self) -> Any:
        return self.bench.loader(10, seed=1, shuffle=False)

    def test_dataloader(self) -> Any:
        return self.bench.loader(8, seed=3, shuffle=False)

    def predict_dataloader(self) -> Any:
        return self.test_dataloader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0] + 0.5, batch[1]]


@case
def datamodule(bench: Any) -> None:
    trainer = bench.fit(Net(bench.layer), datamodule=Data(bench))
    module = trainer.lightning_module
    bench.note("validate", trainer.validate(module, datamodule=Data(bench), verbose=False))
    bench.note("test", trainer.test(module, datamodule=Data(bench), verbose=False))
    bench.note("predict", trainer.predict(module, datamodule=Data(bench)))


class OwnLoaders(Hooky):
    bench: Any

    def train_dataloader(self) -> Any:
        return self.bench.loader()

    def val_dataloader(self) -> Any:
        return self.bench.loader(10, seed=1, shuffle=False)


@case
def own_loaders(bench: Any) -> None:
    model = OwnLoaders(bench.layer)
    model.bench = bench
    module = bench.wrap(model)
    trainer = bench.trainer(reload_dataloaders_every_n_epochs=1)
    trainer.fit(module)
    bench.note_state(trainer, module)


@case
def several_validation_loaders(bench: Any) -> None:
    loaders = [bench.loader(8, seed=1, shuffle=False), bench.loader(6, seed=2, shuffle=False)]
    bench.fit(Net(bench.layer), val=loaders)


@case
def evaluation_without_a_fit(bench: Any) -> None:
    module = bench.wrap(Net(bench.layer))
    trainer = bench.trainer()
    bench.note("validate", trainer.validate(module, bench.loader(), verbose=False))
    bench.note("test", trainer.test(module, bench.loader(), verbose=False))
    bench.note("predict", trainer.predict(module, bench.loader()))


@case
def fit_twice(bench: Any) -> None:
    module = bench.wrap(Measured(bench.layer))
    for epochs in (1, 2):
        trainer = bench.trainer(max_epochs=epochs)
        trainer.fit(module, bench.loader(), bench.loader(10, seed=1, shuffle=False))
        bench.note_state(trainer, module)


@case
def one_trainer_fits_on(bench: Any) -> None:
    trainer = bench.fit(Net(bench.layer, two_lists))
    trainer.fit_loop.max_epochs = 3
    trainer.fit(trainer.lightning_module, bench.loader())
    bench.note_state(trainer, trainer.lightning_module)


@case
def learning_rate_finder(bench: Any) -> None:
    module = bench.wrap(Net(bench.layer))
    trainer = bench.trainer()
    finder = Tuner(trainer).lr_find(module, bench.loader(), num_training=12, update_attr=True)
    bench.note("found", [finder.results, module.lr, module.hparams.lr])
    trainer.fit(module, bench.loader())
    bench.note_state(trainer, module)


class HasLimit(Net):
    """Has no memory for a batch of more than eight."""

    def loss(self, batch: Any) -> Tensor:
        if len(batch[0]) > 8:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return super().loss(batch)


class SizesBatches(HasLimit):
    bench: Any
    batch_size = 2

    def train_dataloader(self) -> Any:
        return self.bench.loader(batch_size=self.batch_size, drop_last=True)

    def val_dataloader(self) -> Any:
        return self.bench.loader(8, seed=1, shuffle=False)


@case
def batch_size_finder(bench: Any) -> None:
    model = SizesBatches(bench.layer)
    model.bench = bench
    module = bench.wrap(model)
    trainer = bench.trainer()
    found = Tuner(trainer).scale_batch_size(module, init_val=4)
    assert found == 8
    bench.note("found", [found, module.batch_size, model.batch_size])
    trainer.fit(module)
    bench.note_state(trainer, module)


class SizedData(Data):
    def __init__(self, bench: Any) -> None:
        super().__init__(bench)
        self.batch_size = 2

    def train_dataloader(self) -> Any:
        return self.bench.loader(batch_size=self.batch_size, drop_last=True)


@case
def batch_size_finder_datamodule(bench: Any) -> None:
    model = HasLimit(bench.layer)
    module, data = bench.wrap(model), SizedData(bench)
    trainer = bench.trainer()
    options = {"mode": "binsearch", "init_val": 6, "max_trials": 2}
    found = Tuner(trainer).scale_batch_size(module, datamodule=data, **options)
    assert 6 <= found <= 8
    bench.note("found", [found, data.batch_size])
    trainer.fit(module, datamodule=data)
    bench.note_state(trainer, module)


@case
def deep_copy(bench: Any) -> None:
    module = copy.deepcopy(bench.wrap(Net(bench.layer)))
    trainer = bench.trainer()
    trainer.fit(module, bench.loader())
    bench.note_state(trainer, module)
    trainer = bench.trainer()
    trainer.fit(copy.deepcopy(module), bench.loader())
    bench.note_state(trainer, trainer.lightning_module)


class Picklable(Net):
    def configure_optimizers(self) -> Any:
        return optimizer_of(self)


@case
def pickled(bench: Any) -> None:
    model = Picklable(bench.layer)
    model.configure = optimizer_of
    module = pickle.loads(pickle.dumps(bench.wrap(model, trace=False)))
    trainer = bench.trainer()
    trainer.fit(module, bench.loader())
    bench.note_state(trainer, module)


class Gan(LightningModule):
    """Two optimizers, therefore manual optimization."""

    def __init__(self, layer: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(layer(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 6))
        self.discriminator = nn.Sequential(layer(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 1))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        first, second = self.optimizers()
        fake = self.generator(torch.randn(len(batch[0]), 4))
        self.toggle_optimizer(first)
        loss = -self.discriminator(fake).mean()
        first.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(first, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
        first.step()
        self.untoggle_optimizer(first)
        self.toggle_optimizer(second)
        loss = (self.discriminator(fake.detach()) - self.discriminator(batch[0])).mean()
        second.zero_grad()
        self.manual_backward(loss)
        second.step()
        self.untoggle_optimizer(second)
        self.log("loss", loss, prog_bar=True)
        if self.trainer.is_last_batch:
            for scheduler in self.lr_schedulers():
                scheduler.step()

    def configure_optimizers(self) -> Any:
        optimizers = [
            Adam(self.generator.parameters(), 0.01),
            Adam(self.discriminator.parameters(), 0.02),
        ]
        return optimizers, [StepLR(optimizer, 1, 0.5) for optimizer in optimizers]


@case
def gan(bench: Any) -> None:
    if bench.driver.strategy == "beside":
        pytest.skip("manual optimization gives no architecture loss; refused before training")
    keeper = ModelCheckpoint(bench.root / "kept", every_n_train_steps=4, save_top_k=-1)
    bench.fit(Gan(bench.layer), val=False, callbacks=[keeper], enable_checkpointing=True)


# --- the tests -----------------------------------------------------------------------------------

EXPECTED_ERRORS = {
    "dict_without_loss": "MisconfigurationException",
    "no_training_step": "MisconfigurationException",
    "plateau_missing_strict": "MisconfigurationException",
    "two_optimizers_in_automatic": "RuntimeError",
    "user_error": "ZeroDivisionError",
}

DRIVERS = {
    "random": {"strategy": "random"},
    "learning-beside": {"strategy": "beside", "single": True},
    "darts": {"strategy": "darts"},
    "random-on-single-candidates": {"strategy": "random", "single": True},
    "darts-on-single-candidates": {"strategy": "darts", "single": True},
    "random-without-the-loop": {"strategy": "random", "refused": True},
    "learning-beside-without-the-loop": {"strategy": "beside", "single": True, "refused": True},
}
# One case for each thing that drivers do in their own way: the step and what surrounds it, what is
# saved and restored, what comes from the Trainer's tuners and callbacks, copies, manual
# optimization; and the cases that "learning-beside" cannot take.
TELLING = {
    "two_lists_mixed", "no_optimizer", "plateau_step", "returns_none", "takes_iterator",
    "user_error", "no_training_step", "hooks_accumulate_clip", "hooks_skip_steps",
    "hooks_stop_epoch", "hooks_lbfgs", "hooks_sixteen_mixed_clip",
    "max_steps_and_validation_inside_epochs", "checkpoints_of_everything",
    "learning_rate_monitor", "weight_averaging", "resumed_inside_an_epoch", "finetuning",
    "torchmetrics", "datamodule", "evaluation_without_a_fit", "fit_twice",
    "learning_rate_finder", "pickled", "gan",
}  # fmt: skip


def wrapped_case(name: str, driver: str) -> Any:
    """Return a cell of the table, marked by when it is run.

    Every case is trained by the driver that does all a search can do: choices, architecture
    parameters and their optimizer, steps between the user's. What other drivers do is a part of
    that, or goes through other code only for the telling cases, which all drivers train. "random"
    trains all: it leaves out the architecture step, which could hide what it puts back. The whole
    table is trained every night. Of the Trainer's two tuners, which both train and restore, the
    one that trains less is telling.
    """
    marks = []
    if driver != "learning-beside" and not (driver == "random" and name in TELLING):
        slow = driver == "random" or name in TELLING
        marks = [pytest.mark.slow if slow else pytest.mark.nightly]
    return pytest.param(name, driver, marks=marks, id=f"{name}-{driver}")


@pytest.fixture(scope="module")
def bare(
    comparison: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, Any]]:
    """Return the record of a case trained bare; each is trained once."""
    known: dict[str, dict[str, Any]] = {}

    def run(name: str) -> dict[str, Any]:
        if name not in known:
            root = tmp_path_factory.mktemp("bare")
            known[name] = comparison.run(CASES[name], root, comparison.driver())
        return known[name]

    return run


@pytest.mark.parametrize(
    ("name", "driver"), [wrapped_case(name, driver) for name in CASES for driver in DRIVERS]
)
def test_wrapped_training_equals_bare_training(
    name: str, driver: str, bare: Any, comparison: Any, tmp_path: Path
) -> None:
    """No difference can be seen, and the case does what it is there for."""
    expected = bare(name)
    assert (expected["error"] or [None])[0] == EXPECTED_ERRORS.get(name), expected["error"]

    wrapped = comparison.run(CASES[name], tmp_path, comparison.driver(**DRIVERS[driver]))

    assert comparison.differences(expected, wrapped)[:6] == []


def test_every_telling_case_is_a_case() -> None:
    assert set(CASES) >= TELLING


def tampered(**methods: Callable[..., Any]) -> type[UniformSampling]:
    """Return a strategy that does one small thing wrong."""
    return type("UniformSampling", (UniformSampling,), methods)


def nudge_gradients(search: Any) -> None:
    if search.trainer.global_step == 5:
        for parameter in search.model.parameters():
            parameter.grad *= 1 + 1e-6


def draw_once(search: Any, batch: Any, batch_idx: int) -> None:
    if batch_idx == 2:
        torch.rand(1)
    UniformSampling.search_step(search, batch, batch_idx)


def drop_hook(name: str) -> Callable[..., Any]:
    def complete(search: Any) -> None:
        UniformSampling.complete(search)
        search.__dict__[name] = lambda *args, **kwargs: None

    return complete


def swallow(name: str) -> Callable[..., Any]:
    def complete(search: Any) -> None:
        UniformSampling.complete(search)
        hook = search.__dict__[name]
        search.__dict__[name] = lambda *args, **kwargs: (hook(*args, **kwargs), None)[1]

    return complete


@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        pytest.param("sgd", tampered(on_after_backward=nudge_gradients), id="gradient-1e-6"),
        pytest.param("sgd", tampered(search_step=draw_once), id="one-random-number"),
        pytest.param("hooks", tampered(complete=drop_hook("on_train_end")), id="dropped-hook"),
        pytest.param(
            "hooks", tampered(complete=drop_hook("on_validation_batch_end")), id="dropped-log"
        ),
        pytest.param(
            "hooks_stop_epoch",
            tampered(complete=swallow("on_train_batch_start")),
            id="swallowed-return-value",
        ),
    ],
)
def test_comparison_notices_a_small_fault(
    name: str, strategy: type[UniformSampling], bare: Any, comparison: Any, tmp_path: Path
) -> None:
    """Negative controls: a comparison that sees nothing proves nothing."""
    wrapped = comparison.run(CASES[name], tmp_path, comparison.driver(strategy))

    assert comparison.differences(bare(name), wrapped) != []


def test_two_bare_runs_do_not_differ(bare: Any, comparison: Any, tmp_path: Path) -> None:
    """What is compared does not depend on anything but the seed."""
    again = comparison.run(CASES["hooks"], tmp_path, comparison.driver())

    assert comparison.differences(bare("hooks"), again) == []
