"""An architecture step that really trains leaves no trace in the user's training."""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import BaseFinetuning
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torchmetrics import Accuracy, CatMetric, MeanMetric, MetricCollection, Recall

import oneshot_core as oneshot
from oneshot_core.errors import StrategyError
from oneshot_core.lightning.isolation import (
    discarded_logs,
    isolated_attributes,
    isolated_buffers,
    isolated_metrics,
    isolated_rng,
)
from oneshot_core.space import LayerChoice


class Net(LightningModule):
    """Everything in it has a state that a second forward pass would change."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.save_hyperparameters(ignore="layer")
        self.body = nn.Sequential(
            layer(nn.Linear(6, 8)), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3)
        )
        self.head = layer(nn.Linear(8, 3))
        self.register_buffer("seen", torch.zeros(()))
        self.acc = Accuracy(task="multiclass", num_classes=3)
        self.mean = MeanMetric()
        self.all = MetricCollection(
            [Accuracy(task="multiclass", num_classes=3), Recall(task="multiclass", num_classes=3)],
            prefix="all_",
        )
        self.count = 0
        self.outputs: list[Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        logits = self.head(self.body(batch[0]))
        self.seen += 1
        noise = random.random() + np.random.rand()
        loss = nn.functional.cross_entropy(logits, batch[1]) * (1 + 0.1 * noise)
        self.acc(logits, batch[1])
        self.mean.update(loss.detach())
        self.log("train_acc", self.acc, on_step=True, on_epoch=True)
        self.log("train_mean", self.mean)
        self.log_dict(self.all(logits, batch[1]), on_step=True, on_epoch=True)
        self.count += 1
        self.outputs.append(loss.detach())
        self.log("count", float(self.count))
        self.log_dict({"train_loss": loss, "x_mean": batch[0].mean()}, on_step=True, on_epoch=True)
        self.log("largest", loss, on_step=False, on_epoch=True, reduce_fx="max", prog_bar=True)
        return {"loss": loss, "size": len(batch[1])}

    def on_train_epoch_end(self) -> None:
        self.log("mean_of_outputs", torch.stack(self.outputs).mean())
        self.outputs.clear()
        self.all.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self.head(self.body(batch[0]))
        self.log("val_loss", nn.functional.cross_entropy(logits, batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


class SkipsBatches(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        output = super().training_step(batch, batch_idx)
        return None if batch_idx % 3 == 1 else output


class Lbfgs(Net):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), 0.05, max_iter=3)


def scaled() -> Any:
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**8))


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        pytest.param(Net, dict, id="plain"),
        pytest.param(
            Net, lambda: {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1}, id="accumulate"
        ),
        pytest.param(Net, lambda: {"precision": "bf16-mixed"}, id="bf16-mixed"),
        pytest.param(Net, lambda: {"precision": "64-true"}, id="double"),
        pytest.param(Net, lambda: {"plugins": [scaled()]}, id="16-mixed-with-scaler"),
        pytest.param(Net, lambda: {"val_check_interval": 2}, id="validation-inside-epochs"),
        pytest.param(SkipsBatches, dict, id="skipped-batches"),
        pytest.param(Lbfgs, dict, id="lbfgs"),
    ],
)
@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(False, id="engine"),
        pytest.param(True, id="fallback", marks=pytest.mark.slow),
    ],
)
def test_user_training_equals_the_bare_run(
    cls: type[Net], options: Any, refused: bool, comparison: Any, tmp_path: Path
) -> None:
    """Weights, buffers, metrics, rows, steps, callback events and checkpoints are the same."""

    def case(bench: Any) -> None:
        bench.fit(cls(bench.layer), max_epochs=2, **options())

    bare = comparison.run(case, tmp_path / "bare", comparison.driver())
    driver = comparison.driver("beside", single=True, refused=refused)
    wrapped = comparison.run(case, tmp_path / "wrapped", driver)

    assert bare["error"] is None
    assert comparison.differences(bare, wrapped)[:6] == []


class LogsBatch(LightningModule):
    """Logs which batch it saw, in every way of logging."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = LayerChoice([nn.Linear(6, 3), nn.Linear(6, 3)])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.log("batch", batch[0].mean(), on_step=True, on_epoch=True)
        self.log("index", float(batch_idx), prog_bar=True)
        return nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_values_logged_in_an_architecture_step_are_not_in_the_training_metrics(
    make_loader: Any, make_trainer: Any, memory_logger: Any
) -> None:
    train = make_loader(16)
    other = [[torch.full((4, 6), 1e6), torch.zeros(4, dtype=torch.long)]]
    search = oneshot.search(LogsBatch(), "darts", arch_dataloader=other)
    trainer = make_trainer(max_epochs=1, logger=memory_logger, log_every_n_steps=1)

    trainer.fit(search, train)

    steps = [row["batch_step"] for _, row in memory_logger.rows if "batch_step" in row]
    means = [float(x.mean()) for x, _ in train]
    assert steps == pytest.approx(means)
    assert trainer.callback_metrics["batch_epoch"] == pytest.approx(sum(means) / len(means))
    assert [row["index"] for _, row in memory_logger.rows if "index" in row] == [0, 1, 2, 3]


def test_draws_of_an_architecture_step_are_a_function_of_seed_and_index(
    make_loader: Any, make_trainer: Any
) -> None:
    """Whatever the user drew before; a resumed search draws the same."""

    def drawn(seed: int, users: int) -> list[float]:
        seen: list[float] = []

        class Draws(LogsBatch):
            def training_step(self, batch: Any, batch_idx: int) -> Tensor:
                draw = float(torch.rand(())), random.random(), np.random.rand()
                if self.layer.decision.alpha.requires_grad:  # an architecture step
                    seen.extend(draw)
                return super().training_step(batch, batch_idx)

        search = oneshot.search(Draws(), "darts", arch_dataloader=make_loader(8), seed=seed)
        torch.manual_seed(users)
        random.seed(users)
        np.random.seed(users)
        make_trainer(max_epochs=1).fit(search, make_loader(12))
        return seen

    assert len(set(drawn(0, users=1))) == 9
    assert drawn(0, users=1) == drawn(0, users=2) != drawn(1, users=1)


class ThawsEverywhere(BaseFinetuning):
    def freeze_before_training(self, pl_module: LightningModule) -> None:
        self.freeze(pl_module.extra)

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Any) -> None:
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.extra, optimizer, lr=0.01)


class ThawsOnlyWeights(ThawsEverywhere):
    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        if not pl_module.is_architecture_optimizer(optimizer):
            super().finetune_function(pl_module, epoch, optimizer)


class HasExtra(LogsBatch):
    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Linear(3, 3)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.1)


def test_weights_that_a_callback_gave_to_the_architectures_optimizer_are_refused(
    make_loader: Any, make_trainer: Any
) -> None:
    """They would be trained twice for each batch, once with a gradient of the other data."""
    search = oneshot.search(HasExtra(), "darts", arch_dataloader=make_loader(8))
    with pytest.raises(StrategyError, match="holds weights of HasExtra"):
        make_trainer(callbacks=[ThawsEverywhere()]).fit(search, make_loader(8))

    search = oneshot.search(HasExtra(), "darts", arch_dataloader=make_loader(8))
    make_trainer(callbacks=[ThawsOnlyWeights()]).fit(search, make_loader(8))


class Manual(LogsBatch):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


def test_learning_with_a_manually_optimizing_module_is_refused_before_training(
    make_loader: Any, make_trainer: Any
) -> None:
    """Its training_step would step the user's optimizers on the architecture's batch."""
    search = oneshot.search(Manual(), "darts", arch_dataloader=make_loader(8))

    with pytest.raises(StrategyError, match="optimizes manually"):
        make_trainer().fit(search, make_loader(8))


def draw() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


def seed_all() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def test_random_numbers_after_an_isolated_block_are_those_without_it() -> None:
    seed_all()
    expected = draw()
    seed_all()

    with isolated_rng(nn.ReLU()):
        draw()

    assert draw() == expected


def test_isolated_random_numbers_are_a_function_of_the_seed() -> None:
    def drawn(seed: int) -> list[float]:
        with isolated_rng(nn.ReLU(), seed):
            return draw()

    assert drawn(3) == drawn(3) != drawn(4)


def test_generators_are_restored_after_an_error() -> None:
    before = torch.get_rng_state(), random.getstate()

    with suppress(ZeroDivisionError), isolated_rng(nn.ReLU(), 5):
        draw()
        raise ZeroDivisionError

    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_buffers_are_restored_in_place() -> None:
    """They stay the same tensors: optimizers, DDP and views keep pointing at them."""
    norm = nn.BatchNorm1d(3)
    mean = norm.running_mean

    with isolated_buffers(norm):
        norm(torch.randn(8, 3))
        assert norm.num_batches_tracked == 1

    assert norm.running_mean is mean
    assert torch.equal(mean, torch.zeros(3))
    assert norm.num_batches_tracked == 0


def test_metrics_are_restored_with_their_count_and_lists() -> None:
    holder = nn.ModuleDict({"mean": MeanMetric(), "all": CatMetric()})
    holder["mean"].update(1.0)
    holder["all"].update(torch.tensor([1.0]))

    with isolated_metrics(holder):
        holder["mean"].update(100.0)
        holder["all"].update(torch.tensor([100.0]))
        holder["mean"].compute()

    assert holder["mean"].compute() == 1
    assert holder["all"].compute() == 1
    assert holder["mean"].update_count == 1


def test_metrics_of_a_collection_are_grouped_by_the_users_batches() -> None:
    """Metrics whose states happen to agree on one batch are taken to share it from then on."""
    collection = MetricCollection(
        [Accuracy(task="multiclass", num_classes=3), Recall(task="multiclass", num_classes=3)]
    )
    holder = nn.ModuleDict({"all": collection})

    with isolated_metrics(holder):
        collection.update(torch.tensor([0, 1]), torch.tensor([0, 1]))
        assert len(collection.compute_groups) == 1

    assert not collection._groups_checked


def test_attributes_are_restored_with_what_their_containers_hold() -> None:
    model = LogsBatch()
    outputs = model.outputs = [1, 2]
    model.by_name = {"a": 1}
    model.count = 3

    with isolated_attributes(model):
        model.outputs.append(3)
        model.outputs = []
        model.by_name["b"] = 2
        model.count += 1
        model.created = True
        model.eval()

    assert model.outputs is outputs
    assert outputs == [1, 2]
    assert model.by_name == {"a": 1}
    assert model.count == 3
    assert not hasattr(model, "created")


def test_logs_are_discarded_only_where_there_is_a_trainer() -> None:
    """Without one, ``self.log`` warns as it does on the bare module."""
    model = LogsBatch()
    batch: Iterable[Any] = [torch.zeros(1, 6), torch.zeros(1, dtype=torch.long)]

    with discarded_logs(model, batch), pytest.warns(UserWarning, match="not registered"):
        model.training_step(batch, 0)


@pytest.mark.skipif(torch.cuda.is_initialized(), reason="no seed waits for a device in use")
def test_a_seed_that_waits_for_a_device_is_still_the_users_after_a_step_on_the_cpu() -> None:
    """torch keeps a seed for a device until it is used, and nobody could put it back."""
    torch.manual_seed(5)
    waiting = torch.cuda._lazy_seed_tracker.manual_seed_all_cb
    with isolated_rng(nn.Linear(2, 2), seed=11):
        inside = torch.rand(3)
    assert torch.cuda._lazy_seed_tracker.manual_seed_all_cb is waiting
    torch.manual_seed(11)
    assert torch.equal(inside, torch.rand(3))
