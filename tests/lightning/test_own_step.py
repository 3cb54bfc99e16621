"""Strategies with a ``training_step`` of their own, as the reference's have: trained by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import StochasticWeightAveraging
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core import BaseOneShotLightningModule, Decision, ParameterSpec
from oneshot_core.errors import StrategyError
from oneshot_plugins.strategies.darts import Darts, SoftmaxDecision
from oneshot_plugins.strategies.uniform import UniformDecision


class Training(pl.LightningModule):
    """A user's module; what ``configure_optimizers`` returns is given."""

    def __init__(self, configure: Callable[[pl.LightningModule], Any] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.configure = configure or sgd
        self.net = nn.Sequential(
            nn.Linear(4, 8),
            oneshot.LayerChoice([nn.Linear(8, 8), nn.Identity(), nn.Tanh()], label="middle"),
            nn.ReLU(),
            oneshot.LayerChoice([nn.Linear(8, 2), nn.Linear(8, 2, bias=False)], label="last"),
        )
        self.rates: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        optimizer: Any = self.optimizers()
        self.rates.append(optimizer.param_groups[0]["lr"])
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return self.configure(self)


def sgd(model: pl.LightningModule) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)


def scheduled(**options: Any) -> Callable[[pl.LightningModule], Any]:
    def configure(model: pl.LightningModule) -> Any:
        optimizer = sgd(model)
        make = options.get("make", lambda o: StepLR(o, 1, gamma=0.7))
        rest = {key: value for key, value in options.items() if key != "make"}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": make(optimizer), **rest}}

    return configure


def plateau(optimizer: torch.optim.Optimizer) -> ReduceLROnPlateau:
    return ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.2)


def data(n: int = 28, seed: int = 1) -> DataLoader[tuple[Tensor, ...]]:
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), batch_size=4)


def pairs() -> CombinedLoader:
    return CombinedLoader({"train": data(), "val": data(28, 2)}, "max_size_cycle")


def trainer(**options: Any) -> pl.Trainer:
    settings: dict[str, Any] = {
        "max_epochs": 3,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**settings | options)


class Sampling(BaseOneShotLightningModule):
    """Random sampling, written as for the reference."""

    def make_decision(self, spec: ParameterSpec) -> Decision:
        return UniformDecision(spec)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.resample()
        loss = self.model.training_step(batch, batch_idx)
        self.advance_optimization(loss, batch_idx)
        self.advance_lr_schedulers(batch_idx)


class WithSuper(Sampling):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.resample()
        loss = BaseOneShotLightningModule.training_step(self, batch, batch_idx)
        self.advance_optimization(loss, batch_idx)
        return loss  # schedulers are nobody's business here


class Ours(BaseOneShotLightningModule):
    """The same in our own way."""

    def make_decision(self, spec: ParameterSpec) -> Decision:
        return UniformDecision(spec)

    def search_step(self, batch: Any, batch_idx: int) -> None:
        self.reseed("train", self.current_epoch, batch_idx)
        self.resample()
        self.advance_optimization()


class BothLevels(BaseOneShotLightningModule):
    """First-order DARTS, written as for the reference."""

    def make_decision(self, spec: ParameterSpec) -> Decision:
        return SoftmaxDecision(spec, seed=0)

    def configure_architecture_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.decisions.parameters(), 0.05, betas=(0.5, 0.999))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer: Any = self.architecture_optimizers()
        assert isinstance(optimizer, torch.optim.Optimizer)
        self.resample()
        optimizer.zero_grad()
        loss = self.model.training_step(batch["val"], 2 * batch_idx)
        self.manual_backward(loss)
        optimizer.step()

        self.resample()
        loss = self.model.training_step(batch["train"], 2 * batch_idx + 1)
        self.advance_optimization(loss, batch_idx)
        self.advance_lr_schedulers(batch_idx)


def fit(
    strategy: type[BaseOneShotLightningModule],
    configure: Callable[[pl.LightningModule], Any] | None = None,
    loader: Any = None,
    **options: Any,
) -> tuple[Any, pl.Trainer]:
    search = oneshot.search(Training(configure), strategy, seed=3)
    runner = trainer(**options)
    runner.fit(search, data() if loader is None else loader, data(8))
    return search, runner


def assert_equal(one: Any, other: Any) -> None:
    ours, theirs = dict(one.state_dict()), dict(other.state_dict())
    ours |= {f"decisions.{n}": p for n, p in one.decisions.named_parameters()}
    theirs |= {f"decisions.{n}": p for n, p in other.decisions.named_parameters()}
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(theirs[name], value), name


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (sgd, {}),
    "clipping of the Trainer": (sgd, {"gradient_clip_val": 0.1}),
    "clipping by value": (sgd, {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}),
    "accumulation of the Trainer": (sgd, {"accumulate_grad_batches": 3}),
    "accumulation and clipping": (
        scheduled(interval="step"),
        {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1},
    ),
    "bf16": (sgd, {"precision": "bf16-mixed"}),
    "schedulers by epoch": (scheduled(frequency=2), {}),
    "schedulers by step": (scheduled(interval="step", frequency=2), {}),
    "plateau": (scheduled(make=plateau, monitor="val_loss"), {}),
    "half of the validation": (sgd, {"val_check_interval": 3}),
}


@pytest.mark.filterwarnings("ignore:.*ReduceLROnPlateau.*", "ignore:.*lr_scheduler.step.*")
@pytest.mark.parametrize("strategy", [Sampling, WithSuper])
@pytest.mark.parametrize("case", CASES)
def test_a_strategy_of_the_reference_trains_exactly_what_ours_trains(
    case: str, strategy: type[BaseOneShotLightningModule]
) -> None:
    configure, options = CASES[case]
    ours, expected = fit(Ours, configure, **options)
    theirs, runner = fit(strategy, configure, **options)
    assert_equal(theirs, ours)
    assert theirs.model.rates == ours.model.rates
    assert runner.global_step == expected.global_step
    assert runner.callback_metrics["train_loss"] == expected.callback_metrics["train_loss"]
    assert runner.accumulate_grad_batches == options.get("accumulate_grad_batches", 1)
    assert runner.gradient_clip_val == options.get("gradient_clip_val")


def by_hand(accumulate: int = 1, clip: float | None = None, epochs: int = 3) -> Any:
    """Train as :class:`BothLevels` does, without any Trainer."""
    search: Any = oneshot.search(Training(), BothLevels, seed=3)
    model = search.model
    weights, alphas = sgd(model), search.configure_architecture_optimizers()

    def loss(batch: list[Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    for _ in range(epochs):
        total: list[Tensor] = []
        batches = list(zip(data(), data(28, 2), strict=True))
        for index, (train, val) in enumerate(batches):
            parameters = list(search.decisions.parameters())
            for alpha, gradient in zip(
                parameters, torch.autograd.grad(loss(val), parameters), strict=True
            ):
                alpha.grad = gradient
            alphas.step()
            gradients = torch.autograd.grad(loss(train) / accumulate, list(model.parameters()))
            total = [
                a + b
                for a, b in zip(total or map(torch.zeros_like, gradients), gradients, strict=True)
            ]
            if (index + 1) % accumulate and index + 1 < len(batches):
                continue
            for weight, gradient in zip(model.parameters(), total, strict=True):
                weight.grad = gradient
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            weights.step()
            total = []
    return search


@pytest.mark.parametrize(
    ("options", "hand"),
    [
        ({}, {}),
        ({"gradient_clip_val": 0.2}, {"clip": 0.2}),
        # The architecture's backward pass must not end up in the weights' accumulated gradient.
        ({"accumulate_grad_batches": 3}, {"accumulate": 3}),
    ],
)
def test_both_levels_of_darts_equal_a_loop_written_by_hand(
    options: dict[str, Any], hand: dict[str, Any]
) -> None:
    search, runner = fit(BothLevels, loader=pairs(), **options)
    assert_equal(search, by_hand(**hand))
    assert runner.global_step == 3 * -(-7 // options.get("accumulate_grad_batches", 1))
    start = oneshot.search(Training(), BothLevels, seed=3).export_probs()
    assert search.export_probs() != start


def test_the_first_batches_equal_our_own_darts() -> None:
    """Of the weights: our own isolates the architecture's batch and draws other ones."""
    loader = data(28, 2)
    ours = oneshot.search(Training(), Darts, arch_dataloader=loader, arc_learning_rate=0.05, seed=0)
    trainer(max_steps=1).fit(ours, data(), data(8))
    theirs = oneshot.search(Training(), BothLevels, seed=3)
    trainer(max_steps=1).fit(theirs, pairs(), data(8))
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(theirs.state_dict()[name], value, atol=1e-4, rtol=1e-3)


class Clips(Sampling):
    val: float | None = None
    algorithm: str | None = None

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.resample()
        loss = self.model.training_step(batch, batch_idx)
        self.advance_optimization(loss, batch_idx, self.val, self.algorithm)


class ByNorm(Clips):
    val = 0.1


class ByValue(Clips):
    val = 0.01
    algorithm = "value"


@pytest.mark.parametrize(
    ("strategy", "same_as"),
    [
        (ByNorm, {"gradient_clip_val": 0.1}),
        (ByValue, {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}),
    ],
)
@pytest.mark.parametrize("of_trainer", [{}, {"gradient_clip_val": 5.0}])
def test_clipping_that_is_asked_for_stands_in_the_place_of_the_trainers(
    strategy: Any, same_as: dict[str, Any], of_trainer: dict[str, Any]
) -> None:
    ours, _ = fit(Ours, **same_as)
    theirs, _ = fit(strategy, **of_trainer)
    assert_equal(theirs, ours)
    unclipped, _ = fit(Ours)
    assert not torch.equal(
        ours.state_dict()["net.0.weight"], unclipped.state_dict()["net.0.weight"]
    )


class OneLevel(BothLevels):
    """Weights and architecture from one loss: its gradient reaches both, as in the reference."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer: Any = self.architecture_optimizers()
        optimizer.zero_grad()
        self.advance_optimization(self.model.training_step(batch, batch_idx), batch_idx)
        optimizer.step()


def test_one_loss_may_train_both() -> None:
    theirs, _ = fit(OneLevel)
    hand: Any = oneshot.search(Training(), BothLevels, seed=3)
    optimizers = [sgd(hand.model), hand.configure_architecture_optimizers()]
    for _ in range(3):
        for x, y in data():
            for optimizer in optimizers:
                optimizer.zero_grad()
            nn.functional.cross_entropy(hand.model(x), y).backward()
            for optimizer in optimizers:
                optimizer.step()
    assert_equal(theirs, hand)


class Plain(Sampling):
    """Written as the reference's random sampling: Lightning trains on what it returns."""

    automatic_optimization = True

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        self.resample()
        return self.model.training_step(*args, **kwargs)


class PlainByProperty(Plain):
    @property
    def automatic_optimization(self) -> bool:
        return True


class PlainByAssignment(Sampling):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.automatic_optimization = True

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.resample()
        return self.model.training_step(batch, batch_idx)


@pytest.mark.parametrize("strategy", [Plain, PlainByProperty, PlainByAssignment])
def test_a_strategy_may_leave_the_weights_to_lightning(strategy: Any) -> None:
    options = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1}
    ours, _ = fit(Ours, scheduled(interval="step"), **options)
    theirs, _ = fit(strategy, scheduled(interval="step"), **options)
    assert theirs.automatic_optimization
    assert theirs._drive.manual is None
    assert_equal(theirs, ours)


class ByHand(Sampling):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False


def test_saying_that_it_optimizes_manually_changes_nothing() -> None:
    search, _ = fit(ByHand)
    assert search.model.automatic_optimization, "it is the strategy's word, not the user's"
    assert not search.automatic_optimization
    assert_equal(search, fit(Ours)[0])


def test_a_user_who_optimizes_manually_may_be_sampled() -> None:
    class Manual(Training):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(nn.functional.cross_entropy(self(batch[0]), batch[1]))
            optimizer.step()

    models = []
    for strategy in (Ours, Plain):
        search = oneshot.search(Manual(), strategy, seed=3)
        trainer().fit(search, data(), data(8))
        models.append(search)
    assert_equal(*models)
    search = oneshot.search(Manual(), Sampling, seed=3)
    with pytest.raises(StrategyError, match="Manual optimizes manually by itself"):
        trainer().fit(search, data(), data(8))


def test_the_same_with_a_penalty_in_training_step_stays_automatic() -> None:
    """A strategy with a search_step leaves training_step what Lightning trains on."""

    class Penalised(Darts):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return 2 * super().training_step(batch, batch_idx)

    class Doubled(Training):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return 2 * super().training_step(batch, batch_idx)

    states = []
    for cls, model in ((Penalised, Training()), (Darts, Doubled())):
        search = oneshot.search(model, cls, arch_dataloader=[next(iter(data()))], seed=0)
        # Only the weights: the architecture's loss is the user's in both.
        search.model.configure = lambda m: torch.optim.SGD(m.parameters(), lr=0.1)
        trainer(max_steps=1).fit(search, data(), data(8))
        states.append(search.state_dict()["net.0.bias"])
    assert torch.allclose(*states, atol=1e-5)


def test_the_schedulers_of_the_architecture_are_stepped_too() -> None:
    class Scheduled(BothLevels):
        def configure_architecture_optimizers(self) -> Any:
            optimizer = super().configure_architecture_optimizers()
            return [optimizer], [StepLR(optimizer, 1, gamma=0.1)]

    search, _ = fit(Scheduled, scheduled(), loader=pairs())
    assert search.architecture_optimizers().param_groups[0]["lr"] == pytest.approx(0.05e-3)
    assert search.model.rates[-1] == pytest.approx(0.2 * 0.7**2)


class TwoSteps(Sampling):
    """Two weight steps a batch, each with its own number, as a frequency counts them."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for index in (2 * batch_idx, 2 * batch_idx + 1):
            self.resample()
            self.advance_optimization(self.model.training_step(batch, index), index)
            self.advance_lr_schedulers(index)


def test_several_steps_in_one_batch_count_by_the_numbers_that_they_are_given() -> None:
    search, runner = fit(TwoSteps, scheduled(interval="step", frequency=2), max_epochs=1)
    assert runner.global_step == 14
    assert search.model.rates == pytest.approx([0.2 * 0.7 ** (i // 2) for i in range(14)])
    _, runner = fit(TwoSteps, scheduled(), max_epochs=2)
    rate = runner.optimizers[0].param_groups[0]["lr"]
    assert rate == pytest.approx(0.2 * 0.7**2), "an epoch ends once"


class Alternating(BothLevels):
    """Batches that train the weights, and batches that do not: as with a concatenated loader."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        if batch_idx % 2 == 0:
            loss = self.model.training_step(batch, batch_idx)
            self.advance_optimization(loss, batch_idx // 2)
        else:
            optimizer: Any = self.architecture_optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.model.training_step(batch, batch_idx))
            optimizer.step()


def test_batches_that_do_not_train_the_weights_step_no_scheduler() -> None:
    search, runner = fit(Alternating, scheduled(interval="step"), max_epochs=1)
    assert runner.global_step == 4  # of 7 batches
    used = [0.2 * 0.7 ** ((i + 1) // 2) for i in range(7)]
    assert search.model.rates == pytest.approx(used)


def test_what_was_accumulated_outlives_batches_that_train_the_architecture() -> None:
    search, runner = fit(Alternating, accumulate_grad_batches=2, max_epochs=1)
    hand: Any = oneshot.search(Training(), BothLevels, seed=3)
    weights, alphas = sgd(hand.model), hand.configure_architecture_optimizers()
    kept: list[Tensor] = []
    for index, (x, y) in enumerate(data()):
        loss = nn.functional.cross_entropy(hand.model(x), y)
        if index % 2:
            for alpha, gradient in zip(
                alphas.param_groups[0]["params"],
                torch.autograd.grad(loss, alphas.param_groups[0]["params"]),
                strict=True,
            ):
                alpha.grad = gradient
            alphas.step()
            continue
        gradients = torch.autograd.grad(loss / 2, list(hand.model.parameters()))
        kept = [
            a + b for a, b in zip(kept or map(torch.zeros_like, gradients), gradients, strict=True)
        ]
        if index in (2, 6):
            for weight, gradient in zip(hand.model.parameters(), kept, strict=True):
                weight.grad = gradient
            weights.step()
            kept = []
    assert runner.global_step == 2
    assert_equal(search, hand)


def resumed(strategy: Any, at_step: int, path: Path, loader: Callable[[], Any]) -> tuple[Any, Any]:
    """Return a search that was stopped at a step, and its Trainer."""
    configure, options = scheduled(interval="step", frequency=3), {"num_sanity_val_steps": 0}
    _, stopped = fit(strategy, configure, loader=loader(), max_steps=at_step, **options)
    stopped.save_checkpoint(path / "stopped.ckpt")
    search = oneshot.search(Training(configure), strategy, seed=99)
    runner = trainer(**options)
    runner.fit(search, loader(), data(8), ckpt_path=path / "stopped.ckpt")
    return search, runner


@pytest.mark.parametrize(("strategy", "loader"), [(Sampling, data), (BothLevels, pairs)])
def test_a_resumed_search_ends_as_one_that_was_not_stopped(
    strategy: Any, loader: Callable[[], Any], tmp_path: Path
) -> None:
    whole, expected = fit(strategy, scheduled(interval="step", frequency=3), loader=loader())
    search, runner = resumed(strategy, 7, tmp_path, loader)
    assert_equal(search, whole)
    assert runner.global_step == expected.global_step == 21
    assert search.model.rates == whole.model.rates[-len(search.model.rates) :]


def test_resumed_inside_an_epoch_it_goes_on_as_ours_does(tmp_path: Path) -> None:
    ours, expected = resumed(Ours, 10, tmp_path, data)
    theirs, runner = resumed(Sampling, 10, tmp_path, data)
    assert_equal(theirs, ours)
    assert theirs.model.rates == ours.model.rates
    assert runner.global_step == expected.global_step


def test_a_second_fit_steps_schedulers_again() -> None:
    """The driver remembered the last batch of the first fit, and left out that of the second."""
    search = oneshot.search(Training(scheduled()), Sampling, seed=3)
    rates = []
    for _ in range(2):
        runner = trainer(max_epochs=1, limit_train_batches=1)
        runner.fit(search, data(), data(8))
        rates.append(runner.optimizers[0].param_groups[0]["lr"])
    assert rates == pytest.approx([0.14, 0.14])


def test_a_failed_start_leaves_the_trainer_as_it_was() -> None:
    class FailsOnce(pl.Callback):
        failed = False

        def setup(self, *args: Any, **kwargs: Any) -> None:
            self.failed, before = True, self.failed
            if not before:
                raise ValueError("once")

    runner = trainer(gradient_clip_val=0.1, accumulate_grad_batches=2, callbacks=[FailsOnce()])
    with pytest.raises(ValueError, match="once"):
        runner.fit(oneshot.search(Training(), Sampling), data(), data(8))
    assert (runner.gradient_clip_val, runner.accumulate_grad_batches) == (0.1, 2)
    ours, _ = fit(Ours, gradient_clip_val=0.1, accumulate_grad_batches=2)
    theirs = oneshot.search(Training(), Sampling, seed=3)
    runner.fit(theirs, data(), data(8))
    assert_equal(theirs, ours)


class ForgetsToTrain(Sampling):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.resample()
        return self.model.training_step(batch, batch_idx)


class ForgetsTheLoss(Sampling):
    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.advance_optimization()


class PlainAdvances(Plain):
    def training_step(self, batch: Any, batch_idx: int) -> Any:  # type: ignore[override]
        loss = self.model.training_step(batch, batch_idx)
        self.advance_optimization(loss, batch_idx)
        return loss


class PlainAdvancesWithout(Plain):
    def training_step(self, batch: Any, batch_idx: int) -> Any:  # type: ignore[override]
        self.advance_optimization()


class OursWithALoss(Ours):
    def search_step(self, batch: Any, batch_idx: int) -> None:
        self.advance_optimization(self(batch[0]).sum(), batch_idx)


class SaysTwoThings(Ours):
    @property
    def automatic_optimization(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (ForgetsToTrain, "returned a loss, and nothing was trained on it"),
        (ForgetsTheLoss, "was called without a loss"),
        (PlainAdvances, "got a loss or clipping, and Lightning trains the weights"),
        (PlainAdvancesWithout, "outside of a training batch"),
        (OursWithALoss, "got a loss or clipping"),
        (SaysTwoThings, "automatic_optimization of SaysTwoThings is False"),
    ],
)
def test_what_would_train_nothing_or_twice_is_an_error(strategy: Any, words: str) -> None:
    with pytest.raises(StrategyError, match=words):
        fit(strategy)


def lbfgs(model: pl.LightningModule) -> torch.optim.Optimizer:
    return torch.optim.LBFGS(model.parameters(), max_iter=3)


def half_precision() -> MixedPrecision:
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**8))


@pytest.mark.parametrize(
    ("strategy", "configure", "options", "words"),
    [
        (Sampling, lambda m: [sgd(m), sgd(m)], {}, "has 2 optimizers"),
        (Sampling, sgd, {"callbacks": [StochasticWeightAveraging(0.1)]}, "Stochastic"),
        (Sampling, lbfgs, {}, "computes the loss more than once"),
        (BothLevels, sgd, {"plugins": [half_precision()]}, "the precision scales losses"),
    ],
)
def test_what_cannot_be_trained_from_a_loss_is_refused(
    strategy: Any, configure: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(StrategyError, match=words) as caught:
        fit(strategy, configure, loader=pairs() if strategy is BothLevels else None, **options)
    assert "search_step" in str(caught.value)


def test_a_scaler_may_scale_the_loss_of_the_weights() -> None:
    ours, _ = fit(Ours, plugins=[half_precision()], gradient_clip_val=0.1)
    theirs, _ = fit(Sampling, plugins=[half_precision()], gradient_clip_val=0.1)
    assert_equal(theirs, ours)


def test_hooks_of_the_user_run_in_the_order_of_the_manual_driver() -> None:
    class Traced(Training):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[str] = []

        def on_before_zero_grad(self, optimizer: Any) -> None:
            self.calls.append("zero")

        def on_before_backward(self, loss: Tensor) -> None:
            self.calls.append("backward")

        def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
            self.calls.append(f"clip {kwargs['gradient_clip_val']}")

        def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            self.calls.append("step")
            super().optimizer_step(*args, **kwargs)

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.calls.append("end")

    models = [Traced(), Traced()]
    for model, strategy in zip(models, (Ours, Sampling), strict=True):
        runner = trainer(max_epochs=1, gradient_clip_val=0.3)
        runner.fit(oneshot.search(model, strategy, seed=3), data(), data(8))
    assert models[0].calls == models[1].calls
    assert "clip 0.3" in models[1].calls


def test_an_error_of_the_user_says_which_path_was_computed() -> None:
    class Fails(Training):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no") as caught:
        trainer().fit(oneshot.search(Fails(), Sampling, seed=3), data(), data(8))
    notes = getattr(caught.value, "__notes__", ["raised by the path"])  # Python 3.11
    assert "raised by the path" in notes[0]
