"""The search: what is mutated, asked, saved and resumed, and what happens with each batch."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loops.optimization.automatic import _AutomaticOptimization
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau, StepLR

import oneshot_core as oneshot
from oneshot_core.errors import (
    ArchitectureError,
    LabelError,
    OptimizerConfigError,
    StrategyError,
    UnsupportedModuleError,
)
from oneshot_core.lightning.architecture_step import listed
from oneshot_core.lightning.kit import plugin_hooks
from oneshot_core.space import LayerChoice, Repeat
from oneshot_plugins.strategies.darts import Darts
from oneshot_plugins.strategies.uniform import UniformSampling
from oneshot_plugins.supernets.modules import MixedLayer


class Net(LightningModule):
    """Two choices and a plain head; deterministic."""

    def __init__(self, width: int = 8, labels: tuple[str, str] = ("first", "second")) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.first = LayerChoice(
            {"linear": nn.Linear(6, width), "mlp": mlp(6, width)}, label=labels[0]
        )
        self.second = LayerChoice(
            {"linear": nn.Linear(width, width), "mlp": mlp(width, width), "skip": nn.Identity()},
            label=labels[1],
        )
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).relu()).relu())

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return SGD(self.parameters(), lr=0.1, momentum=0.9)


def mlp(n: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(n, 5), nn.Tanh(), nn.Linear(5, width))


@pytest.fixture
def darts(make_loader: Any) -> Callable[..., Any]:
    """Build a DARTS search over ``Net``."""

    def make(model: LightningModule | None = None, cls: Any = "darts", **options: Any) -> Any:
        loader = make_loader(12, seed=2, shuffle=True)
        return oneshot.search(model or Net(), cls, arch_dataloader=loader, **options)

    return make


@pytest.fixture
def fit(make_loader: Any, make_trainer: Any) -> Callable[..., Trainer]:
    """Fit on a loader without shuffling; returns the Trainer."""

    def run(search: LightningModule, ckpt_path: Any = None, **options: Any) -> Trainer:
        trainer = make_trainer(**options)
        trainer.fit(search, make_loader(20), make_loader(8, seed=1), ckpt_path=ckpt_path)
        return trainer

    return run


def same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# --- construction --------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [nn.Linear(2, 2), None, Net], ids=["module", "none", "class"])
def test_only_a_lightning_module_can_be_searched(model: Any) -> None:
    with pytest.raises(StrategyError, match="LightningModule that is not a search"):
        oneshot.search(model)


def test_a_search_cannot_be_searched() -> None:
    with pytest.raises(StrategyError, match="got a UniformSampling"):
        oneshot.search(oneshot.search(Net()))


def test_strategy_must_be_one() -> None:
    with pytest.raises(StrategyError, match="expected: a subclass"):
        oneshot.search(Net(), nn.Linear)


def test_unknown_option_is_refused_with_those_that_exist() -> None:
    with pytest.raises(StrategyError, match="takes no temperature"):
        oneshot.search(Net(), "random", temperature=3)


def test_a_loader_that_the_strategy_would_not_use_is_refused() -> None:
    with pytest.raises(StrategyError, match="takes no arch_dataloader"):
        oneshot.search(Net(), "random", arch_dataloader=[1])


def test_darts_needs_a_loader_of_its_own() -> None:
    with pytest.raises(StrategyError, match="no data to train the architecture on"):
        oneshot.search(Net(), "darts")


def test_one_label_for_two_different_choices_is_refused() -> None:
    with pytest.raises(LabelError, match="'x' names two different choices"):
        oneshot.search(Net(labels=("x", "x")))


def test_seed_is_that_of_seed_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "31")

    assert oneshot.search(Net()).seed == 31
    assert oneshot.search(Net(), seed=5).seed == 5


# --- the walk ------------------------------------------------------------------------------------


def test_choices_are_replaced_in_place_and_listed_in_order() -> None:
    model = Net()

    search = oneshot.search(model)

    assert search.model is model
    assert search.nas_modules == [model.first, model.second]
    assert all(isinstance(module, MixedLayer) for module in search.nas_modules)
    assert search.search_space_spec() == {
        "first": oneshot.ParameterSpec("first", ("linear", "mlp")),
        "second": oneshot.ParameterSpec("second", ("linear", "mlp", "skip")),
    }


def test_mutating_again_changes_nothing(darts: Any) -> None:
    search = darts()
    modules, alphas = list(search.modules()), list(search.decisions.parameters())

    search.mutate()

    assert [id(m) for m in search.modules()] == [id(m) for m in modules]
    assert [id(p) for p in search.decisions.parameters()] == [id(p) for p in alphas]


class BuiltLate(Net):
    """Makes choices when Lightning asks for it."""

    def setup(self, stage: str) -> None:
        if not hasattr(self, "third"):
            self.third = LayerChoice([nn.Linear(8, 8), nn.Identity()], label="third")

    def configure_model(self) -> None:
        if not hasattr(self, "fourth"):
            self.fourth = LayerChoice([nn.Linear(8, 8), nn.Identity()], label="fourth")

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fourth(self.third(self.second(self.first(x)))))


def test_choices_made_in_setup_and_configure_model_are_searched(darts: Any, fit: Any) -> None:
    """Their architecture parameters are trained, their weights are the user's."""
    search = darts(BuiltLate())
    assert search.search_space_spec().keys() == {"first", "second"}

    fit(search)

    assert search.search_space_spec().keys() == {"first", "second", "third", "fourth"}
    assert isinstance(search.model.fourth, MixedLayer)
    optimizer = search.architecture_optimizers()
    assert len(optimizer.param_groups[0]["params"]) == 4
    assert len(optimizer.state) == 4
    fit(search)  # setup and configure_model are called again
    assert len(search.nas_modules) == 4


class Doubled(MixedLayer):
    """A user's own supernet module."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return 2 * super().forward(*args, **kwargs)


def test_custom_hooks_are_asked_before_the_installed_ones() -> None:
    seen: list[str] = []

    def first_only(module: nn.Module, name: str, memo: Any, options: Any) -> Any:
        seen.append(name)
        return Doubled.mutate(module, name, memo, options) if name == "first" else None

    search = oneshot.search(Net(), mutation_hooks=[first_only])

    assert [type(module) for module in search.nas_modules] == [Doubled, MixedLayer]
    assert seen[0] == "first"


def test_choice_that_no_hook_handles_is_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match="first"):
        oneshot.search(Net(), UniformSampling, registry=oneshot.Registry(entry_points=False))


def test_broken_plugin_is_warned_about_and_its_choice_refused() -> None:
    registry = oneshot.Registry(entry_points=False)
    registry.register(oneshot.Component("supernet", "broken", "no_such_package.module:Mixed"))

    with (
        pytest.warns(RuntimeWarning, match="no_such_package"),
        pytest.raises(UnsupportedModuleError, match="first"),
    ):
        oneshot.search(Net(), UniformSampling, registry=registry)


def test_broken_plugin_does_not_disturb_the_others() -> None:
    registry = oneshot.Registry()
    registry.register(oneshot.Component("mutation_hook", "broken", "no_such_package:hook"))

    with pytest.warns(RuntimeWarning, match="no_such_package"):
        hooks = list(plugin_hooks(registry))

    assert MixedLayer.mutate in hooks


class Nested(Net):
    def __init__(self) -> None:
        super().__init__()
        inner = LayerChoice([nn.Linear(8, 8), nn.Tanh()], label="inner")
        self.second = LayerChoice({"deep": inner, "skip": nn.Identity()}, label="second")
        self.repeat = Repeat(lambda index: nn.Linear(8, 8), (1, 3), label="depth")

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.repeat(self.second(self.first(x).relu())))


# --- asking for architectures --------------------------------------------------------------------


def test_resample_draws_one_choice_for_every_label() -> None:
    search = oneshot.search(Nested())
    search.reseed("test")

    drawn = [tuple(sorted(search.resample().items())) for _ in range(200)]

    assert {label for label, _ in drawn[0]} == {"first", "second", "inner", "depth"}
    assert len(set(drawn)) == 2 * 2 * 2 * 3


def test_draws_are_a_function_of_seed_and_key() -> None:
    def draws(seed: int, key: str) -> list[dict[str, Any]]:
        search = oneshot.search(Net(), seed=seed)
        search.reseed(key)
        torch.rand(3)
        random.random()
        return [search.resample() for _ in range(8)]

    assert draws(1, "a") == draws(1, "a")
    assert draws(1, "a") != draws(2, "a")
    assert draws(1, "a") != draws(1, "b")


def test_export_is_the_most_probable_architecture_and_deterministic(darts: Any) -> None:
    search = darts(Nested())
    with torch.no_grad():
        for label, value in {"first": 1, "second": 1, "inner": 1, "depth": 2}.items():
            search.decisions[label].alpha[value] = 3.0

    assert search.export() == {"first": "mlp", "second": "skip", "depth": 3}
    assert search.export() == search.top_k(1)[0]  # `inner` decides nothing under skip


def test_probabilities_are_plain_numbers_by_label_and_candidate(darts: Any) -> None:
    search = darts()

    probabilities = search.export_probs()

    assert probabilities.keys() == {"first", "second"}
    assert list(probabilities["second"]) == ["linear", "mlp", "skip"]
    assert sum(probabilities["second"].values()) == pytest.approx(1)
    assert all(type(p) is float for p in probabilities["second"].values())


def test_sampling_alone_prefers_nothing() -> None:
    search = oneshot.search(Net())

    with pytest.raises(StrategyError, match="prefers no architecture"):
        search.export()
    with pytest.raises(ValueError, match="k >= 1"):
        search.top_k(0)


def test_at_computes_exactly_that_architecture(darts: Any) -> None:
    x = torch.randn(4, 6)
    for search in (oneshot.search(Net()), darts()):
        model = search.model
        with search.at({"first": "mlp", "second": "skip"}) as inside:
            assert inside is search
            expected = model.head(model.first.candidates["mlp"](x).relu().relu())

            assert torch.equal(search(x), expected)


def test_at_restores_what_was_pinned_also_after_an_error() -> None:
    search = oneshot.search(Net())
    outer = {"first": "mlp", "second": "skip"}

    def pinned() -> dict[str, Any]:
        return {d.spec.label: d.pinned for d in search.decisions}

    with search.at(outer):
        with suppress(ZeroDivisionError), search.at({"first": "linear", "second": "mlp"}):
            assert pinned() == {"first": "linear", "second": "mlp"}
            raise ZeroDivisionError
        assert pinned() == outer
    assert pinned() == {"first": None, "second": None}


def test_at_refuses_an_architecture_of_another_space_and_changes_nothing() -> None:
    search = oneshot.search(Net())

    with pytest.raises(ArchitectureError, match="third"), search.at({"third": 1}):
        pass

    assert all(decision.pinned is None for decision in search.decisions)


# --- one batch -----------------------------------------------------------------------------------


class Counts(Net):
    """Records the path of each batch, and in which gradients are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        decisions = self.first.decision, self.second.decision
        self.paths.append(tuple(a.candidate for d in decisions for a in d.active()))
        return super().training_step(batch, batch_idx)


def test_each_batch_trains_one_path_that_depends_on_seed_epoch_and_index(fit: Any) -> None:
    def paths(seed: int) -> list[Any]:
        search = oneshot.search(Counts(), seed=seed)
        fit(search)
        return search.model.paths

    first = paths(0)
    torch.manual_seed(99)

    assert all(len(path) == 2 for path in first)
    assert len(set(first)) > 1
    assert first[:5] != first[5:]  # another epoch, other paths
    assert paths(0) == first
    assert paths(1) != first


@pytest.mark.parametrize("strategy", ["random", "darts"])
def test_same_seed_gives_the_same_search_and_another_seed_another(
    strategy: str, fit: Any, darts: Any
) -> None:
    def trained(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(0)
        search = darts(seed=seed) if strategy == "darts" else oneshot.search(Net(), seed=seed)
        fit(search)
        return {**search.state_dict(), **dict(search.decisions.named_parameters())}

    first = trained(0)

    assert same(first, trained(0))
    assert not same(first, trained(1))


class Watch(Callback):
    """Counts how often gradients of weights and of architecture parameters are computed."""

    def __init__(self) -> None:
        self.weights = self.alphas = 0
        self.grads: list[Any] = []

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        def count(name: str) -> Any:
            return lambda grad: setattr(self, name, getattr(self, name) + 1)

        pl_module.head.weight.register_hook(count("weights"))
        pl_module.decisions["first"].alpha.register_hook(count("alphas"))

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        self.grads += [p.grad for p in pl_module.decisions.parameters()]


def test_weight_step_computes_no_architecture_gradient_and_conversely(darts: Any, fit: Any) -> None:
    watch = Watch()

    trainer = fit(darts(), callbacks=[watch])

    assert trainer.global_step == 10
    assert watch.weights == 10
    assert watch.alphas == 10
    assert all(grad is None for grad in watch.grads)


class PlainStep(Darts):
    """Moves the architecture parameters by exactly minus their gradient."""

    def configure_architecture_optimizers(self) -> Any:
        return SGD(self.decisions.parameters(), lr=1.0)


def test_architecture_gradient_is_that_of_the_users_loss_on_the_other_batch(
    darts: Any, fit: Any
) -> None:
    """Compared with an independent autograd computation with the weights before their step."""
    search = darts(cls=PlainStep, seed=3)
    model, decisions = search.model, search.decisions
    search.architecture_batches.next()
    x, y = search.architecture_batches.next()
    search.architecture_batches.rewind(1)
    alphas = [
        decisions[label].alpha.detach().clone().requires_grad_() for label in decisions.labels
    ]
    w1, w2 = (alpha.softmax(0) for alpha in alphas)
    ops1, ops2 = model.first.candidates.values(), model.second.candidates.values()
    hidden = sum(w * op(x) for w, op in zip(w1, ops1, strict=True)).relu()
    hidden = sum(w * op(hidden) for w, op in zip(w2, ops2, strict=True)).relu()
    loss = nn.functional.cross_entropy(model.head(hidden), y)
    expected = torch.autograd.grad(loss, alphas)

    fit(search, max_steps=1)

    for label, before, gradient in zip(decisions.labels, alphas, expected, strict=True):
        assert gradient.abs().max() > 1e-4
        torch.testing.assert_close(decisions[label].alpha.detach(), before.detach() - gradient)


class TinyLoss(Net):
    """Its gradients vanish in float16 unless they are scaled."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return 1e-7 * super().training_step(batch, batch_idx)


def half(scale: float) -> MixedPrecision:
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))


def test_architecture_gradient_in_float16_is_scaled_and_unscaled(darts: Any, fit: Any) -> None:
    def moved(**options: Any) -> Tensor:
        torch.manual_seed(0)
        search = darts(TinyLoss(), PlainStep)
        before = torch.cat([p.detach().clone() for p in search.decisions.parameters()])
        fit(search, max_steps=1, **options)
        after = torch.cat([p.detach() for p in search.decisions.parameters()])
        return (after.double() - before.double()) * 1e7

    expected = moved(precision="64-true")
    found = moved(plugins=[half(2.0**16)])

    assert expected.abs().max() > 2e-2
    torch.testing.assert_close(found, expected, rtol=0.05, atol=2e-3)


def test_architecture_step_with_an_infinite_gradient_is_left_out(darts: Any, fit: Any) -> None:
    """As Lightning leaves out the weight step; the user's scaler then lowers its scale."""
    search = darts(cls=PlainStep)
    before = [p.detach().clone() for p in search.decisions.parameters()]
    precision = half(2.0**60)

    fit(search, max_steps=1, plugins=[precision])

    assert precision.scaler.get_scale() == 2.0**59
    assert all(map(torch.equal, before, search.decisions.parameters()))


def test_warmup_epochs_train_weights_only(darts: Any, fit: Any) -> None:
    search = darts(warmup_epochs=2)
    before = [p.detach().clone() for p in search.decisions.parameters()]

    fit(search, max_epochs=2)

    assert all(map(torch.equal, before, search.decisions.parameters()))
    fit(search, max_epochs=3)
    assert not any(map(torch.equal, before, search.decisions.parameters()))


def test_advancing_outside_of_a_batch_is_refused() -> None:
    with pytest.raises(StrategyError, match="outside of a training batch"):
        oneshot.search(Net()).advance_optimization()


class TrainsNothing(UniformSampling):
    def search_step(self, batch: Any, batch_idx: int) -> None:
        self.resample()


def test_batch_without_advance_trains_nothing(fit: Any) -> None:
    search = oneshot.search(Net(), TrainsNothing)
    before = {k: v.clone() for k, v in search.state_dict().items()}

    trainer = fit(search)

    assert same(before, search.state_dict())
    assert trainer.global_step == 0


class TwiceABatch(Darts):
    def search_step(self, batch: Any, batch_idx: int) -> None:
        self.architecture_step()
        self.architecture_step()
        self.advance_optimization()


def test_several_architecture_steps_for_one_batch_draw_several_batches(
    darts: Any, fit: Any
) -> None:
    search = darts(cls=TwiceABatch)

    trainer = fit(search)

    assert search.architecture_batches.drawn == 20
    assert trainer.global_step == 10


class SkipsArchitecture(Darts):
    def architecture_loss(self, batch: Any, batch_idx: int) -> None:
        return None


def test_architecture_loss_of_none_skips_the_step(darts: Any, fit: Any) -> None:
    search = darts(cls=SkipsArchitecture)
    before = [p.detach().clone() for p in search.decisions.parameters()]

    fit(search)

    assert all(map(torch.equal, before, search.decisions.parameters()))


class ReturnsText(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": "low"}


def test_training_step_without_a_loss_is_refused_by_the_architecture_step(
    darts: Any, fit: Any
) -> None:
    with pytest.raises(StrategyError, match="expected: a loss tensor"):
        fit(darts(ReturnsText()))


class EvaluatedPaths(Counts):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.paths.append((batch_idx, self.first.decision.active()[0].candidate))
        super().validation_step(batch, batch_idx)

    test_step = validation_step


def test_each_validation_batch_has_a_path_of_its_own_that_is_repeatable(
    make_loader: Any, make_trainer: Any
) -> None:
    def paths(seed: int) -> list[Any]:
        search = oneshot.search(EvaluatedPaths(), seed=seed)
        make_trainer().validate(search, make_loader(64), verbose=False)
        return search.model.paths

    assert [index for index, _ in paths(0)] == list(range(16))
    assert {path for _, path in paths(0)} == {"linear", "mlp"}
    assert paths(0) == paths(0) != paths(1)


# --- architecture optimizers ---------------------------------------------------------------------


class Recording(Net):
    """Looks at its optimizers and schedulers during training."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.scheduled: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.seen.append((self.optimizers(), self.lr_schedulers()))
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        return [optimizer], [StepLR(optimizer, 1, 0.5)]

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        self.scheduled.append(scheduler)
        super().lr_scheduler_step(scheduler, metric)


class Configured(Darts):
    """Takes its optimizers from a function."""

    configure: Callable[[list[nn.Parameter]], Any]

    def configure_architecture_optimizers(self) -> Any:
        return type(self).configure(list(self.decisions.parameters()))


def configured(function: Callable[[list[nn.Parameter]], Any]) -> type[Configured]:
    return type("Configured", (Configured,), {"configure": staticmethod(function)})


def constant(optimizer: Optimizer) -> LambdaLR:
    return LambdaLR(optimizer, lambda epoch: 1.0)


def shape_none(p: Any) -> Any:
    return None


def shape_single(p: Any) -> Any:
    return Adam(p, 0.01)


def shape_list(p: Any) -> Any:
    return [Adam(p[:1], 0.01), SGD(p[1:], 0.02)]


def shape_tuple(p: Any) -> Any:
    return (Adam(p, 0.01),)


def shape_two_lists(p: Any) -> Any:
    optimizers = shape_list(p)
    return optimizers, [constant(optimizers[1])]


def shape_dict(p: Any) -> Any:
    optimizer = shape_single(p)
    return {"optimizer": optimizer, "lr_scheduler": constant(optimizer)}


def shape_dicts(p: Any) -> Any:
    return [{"optimizer": optimizer} for optimizer in shape_list(p)]


@pytest.mark.parametrize(
    ("shape", "n_optimizers", "n_schedulers"),
    [
        pytest.param(shape_none, 0, 0, id="none"),
        pytest.param(shape_single, 1, 0, id="single"),
        pytest.param(shape_list, 2, 0, id="list"),
        pytest.param(shape_tuple, 1, 0, id="tuple"),
        pytest.param(shape_two_lists, 2, 1, id="two-lists"),
        pytest.param(shape_dict, 1, 1, id="dict"),
        pytest.param(shape_dicts, 2, 0, id="list-of-dicts"),
    ],
)
def test_architecture_optimizers_of_every_shape_train_beside_the_users(
    shape: Any, n_optimizers: int, n_schedulers: int, darts: Any, fit: Any
) -> None:
    search = darts(Recording(), configured(shape))
    before = [p.detach().clone() for p in search.decisions.parameters()]

    trainer = fit(search)

    assert len(listed(search.architecture_optimizers())) == n_optimizers
    assert not any(map(search.is_architecture_optimizer, trainer.optimizers[:1]))
    ours = [c.scheduler for c in trainer.lr_scheduler_configs]
    assert [search.is_architecture_scheduler(s) for s in ours] == [False] + [True] * n_schedulers
    moved = not any(map(torch.equal, before, search.decisions.parameters()))
    assert moved == (n_optimizers > 0)
    assert trainer.global_step == 10  # architecture steps are not counted


@pytest.mark.parametrize("shape", [shape_single, shape_two_lists, shape_dict])
def test_the_user_sees_their_own_optimizers_and_schedulers_only(
    shape: Any, darts: Any, fit: Any
) -> None:
    search = darts(Recording(), configured(shape))

    fit(search)

    for optimizer, scheduler in search.model.seen:
        assert isinstance(optimizer.optimizer, SGD)
        assert optimizer.param_groups[0]["momentum"] == 0.9
        assert isinstance(scheduler, StepLR)
    assert all(isinstance(scheduler, StepLR) for scheduler in search.model.scheduled)
    assert "optimizers" not in vars(search.model)  # nothing is left on the user's module


class WithoutScheduler(Recording):
    def configure_optimizers(self) -> Any:
        return Net.configure_optimizers(self)


def test_a_user_without_schedulers_sees_none(darts: Any, fit: Any) -> None:
    search = darts(WithoutScheduler(), configured(shape_dict))

    fit(search)

    assert {scheduler for _, scheduler in search.model.seen} == {None}


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        pytest.param({}, 2, id="epoch"),
        pytest.param({"interval": "step"}, 10, id="step"),
        pytest.param({"interval": "step", "frequency": 2}, 4, id="every-second-step"),
        pytest.param({"frequency": 2}, 1, id="every-second-epoch"),
    ],
)
def test_architecture_scheduler_is_stepped_when_it_says(
    options: dict[str, Any], steps: int, darts: Any, fit: Any
) -> None:
    def halving(p: Any) -> Any:
        optimizer = Adam(p, 1.0)
        scheduler = LambdaLR(optimizer, lambda n: 0.5**n)
        return [optimizer], [{"scheduler": scheduler, **options}]

    search = darts(cls=configured(halving))

    fit(search)

    assert search.architecture_optimizers().param_groups[0]["lr"] == 0.5**steps


def test_architecture_plateau_follows_the_metric_it_names(darts: Any, fit: Any) -> None:
    def plateau(p: Any) -> Any:
        optimizer = Adam(p, 1.0)
        scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.99)
        return {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "val_loss"}

    search = darts(cls=configured(plateau))

    fit(search, max_epochs=3)

    assert search.architecture_optimizers().param_groups[0]["lr"] == 0.25


def test_scheduler_of_darts_is_stepped_every_epoch(darts: Any, fit: Any) -> None:
    search = darts(arc_learning_rate=0.5, arc_scheduler=lambda o: StepLR(o, 1, 0.1))

    fit(search)

    assert search.architecture_optimizers().param_groups[0]["lr"] == pytest.approx(0.005)


def unknown_key(p: Any) -> Any:
    optimizer = Adam(p)
    return [optimizer], [{"scheduler": constant(optimizer), "every": 2}]


def plateau_without_metric(p: Any) -> Any:
    optimizer = Adam(p)
    return {"optimizer": optimizer, "lr_scheduler": ReduceLROnPlateau(optimizer)}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (unknown_key, r"keys \['every'\]"),
        (plateau_without_metric, "without a metric"),
        (lambda p: 3, "configure_architecture_optimizers of Configured returned 3"),
    ],
    ids=["unknown-key", "plateau-without-metric", "no-shape"],
)
def test_architecture_configuration_without_meaning_is_refused_before_training(
    shape: Any, message: str, darts: Any, fit: Any
) -> None:
    search = darts(cls=configured(shape))

    with pytest.raises(OptimizerConfigError, match=message):
        fit(search)

    assert search.trainer.global_step == 0


# --- checkpoints ---------------------------------------------------------------------------------


def test_users_class_loads_a_checkpoint_of_a_search_strictly(
    darts: Any, fit: Any, tmp_path: Path
) -> None:
    search = darts(Net(width=10))
    fit(search).save_checkpoint(tmp_path / "end.ckpt")

    model = Net.load_from_checkpoint(tmp_path / "end.ckpt")

    assert model.hparams.width == 10
    assert same(model.state_dict(), search.model.state_dict())


@pytest.mark.parametrize("strategy", ["random", "darts"])
def test_entry_of_a_search_holds_plain_data_and_tensors_only(
    strategy: str, darts: Any, fit: Any, tmp_path: Path
) -> None:
    search = darts() if strategy == "darts" else oneshot.search(Net())
    fit(search).save_checkpoint(tmp_path / "end.ckpt")
    entry = torch.load(tmp_path / "end.ckpt", weights_only=False)["oneshot"]
    torch.save(entry, tmp_path / "entry.pt")

    read = torch.load(tmp_path / "entry.pt", weights_only=True)

    assert read["schema"] == "oneshot.search/1"
    assert read["decisions"].keys() == {"first", "second"}
    assert "oneshot" not in str(read["strategy"])


def everything(search: Any) -> dict[str, Any]:
    found = {**search.state_dict(), **dict(search.decisions.named_parameters())}
    for index, optimizer in enumerate(listed(search.architecture_optimizers())):
        found[f"lr{index}"] = torch.tensor(optimizer.param_groups[0]["lr"])
        for key, state in enumerate(optimizer.state.values()):
            found |= {f"{index}/{key}/{name}": value for name, value in state.items()}
    return found


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.parametrize("strategy", ["random", "darts"])
def test_resumed_search_equals_the_uninterrupted_one(
    strategy: str, darts: Any, fit: Any, tmp_path: Path
) -> None:
    """Weights, architecture parameters, their optimizer's state and rate; from an epoch's end."""

    def build() -> Any:
        torch.manual_seed(0)
        if strategy == "random":
            return oneshot.search(Net(), seed=4)
        return darts(seed=4, arc_learning_rate=0.05, arc_scheduler=lambda o: StepLR(o, 1, 0.5))

    def keeping(folder: str) -> dict[str, Any]:
        keeper = ModelCheckpoint(tmp_path / folder, "{epoch}", save_top_k=-1)
        return {"callbacks": [keeper], "enable_checkpointing": True, "max_epochs": 4}

    whole = build()
    fit(whole, **keeping("whole"))

    resumed = build()
    checkpoint = tmp_path / "whole" / "epoch=1.ckpt"
    trainer = fit(resumed, ckpt_path=checkpoint, **keeping("resumed"))

    assert trainer.global_step == 20
    assert same(everything(whole), everything(resumed))
    if strategy == "darts":
        assert len(everything(whole)) > len(whole.state_dict()) + 6


def test_checkpoint_of_the_bare_module_starts_a_search(
    darts: Any, fit: Any, tmp_path: Path
) -> None:
    """Its weights are taken over."""
    bare = Net()
    fit(bare, max_epochs=1).save_checkpoint(tmp_path / "bare.ckpt")
    search = oneshot.search(Net())

    trainer = fit(search, ckpt_path=tmp_path / "bare.ckpt", max_epochs=1)

    assert trainer.global_step == 5
    assert same(search.state_dict(), bare.state_dict())


def test_checkpoint_of_another_space_is_refused(fit: Any, tmp_path: Path) -> None:
    fit(oneshot.search(Net())).save_checkpoint(tmp_path / "end.ckpt")

    with pytest.raises(ArchitectureError, match="'other' is only in this model"):
        fit(oneshot.search(Net(labels=("first", "other"))), ckpt_path=tmp_path / "end.ckpt")


def test_checkpoint_of_another_strategy_is_refused(darts: Any, fit: Any, tmp_path: Path) -> None:
    fit(oneshot.search(Net())).save_checkpoint(tmp_path / "end.ckpt")

    with pytest.raises(StrategyError, match="holds a search of 'UniformSampling'"):
        fit(darts(), ckpt_path=tmp_path / "end.ckpt")


class Stateful(UniformSampling):
    count = 0

    def search_step(self, batch: Any, batch_idx: int) -> None:
        self.count += 1
        super().search_step(batch, batch_idx)

    def strategy_state(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_strategy_state(self, state: Mapping[str, Any]) -> None:
        self.count = state["count"]


def test_state_of_a_strategy_goes_through_the_checkpoint(fit: Any, tmp_path: Path) -> None:
    fit(oneshot.search(Net(), Stateful), max_epochs=1).save_checkpoint(tmp_path / "end.ckpt")
    search = oneshot.search(Net(), Stateful)

    fit(search, ckpt_path=tmp_path / "end.ckpt", max_epochs=2)

    assert search.count == 10


def test_search_is_loaded_from_a_checkpoint_around_a_new_model(
    darts: Any, fit: Any, make_loader: Any, tmp_path: Path
) -> None:
    search = darts(seed=8)
    fit(search).save_checkpoint(tmp_path / "end.ckpt")

    loaded = Darts.load_from_checkpoint(
        tmp_path / "end.ckpt", model=Net(), arch_dataloader=make_loader(8)
    )

    assert same(loaded.state_dict(), search.state_dict())
    assert loaded.seed == 8
    assert loaded.export_probs() == search.export_probs()


def test_search_is_not_loaded_from_a_checkpoint_of_the_bare_module(
    fit: Any, tmp_path: Path
) -> None:
    fit(Net(), max_epochs=1).save_checkpoint(tmp_path / "bare.ckpt")

    with pytest.raises(StrategyError, match=r"fix: load it with Net\.load_from_checkpoint"):
        UniformSampling.load_from_checkpoint(tmp_path / "bare.ckpt", model=Net())


def test_checkpoint_of_weights_only_holds_the_search_too(
    darts: Any, fit: Any, make_loader: Any, tmp_path: Path
) -> None:
    search = darts()
    fit(search).save_checkpoint(tmp_path / "end.ckpt", weights_only=True)

    loaded = Darts.load_from_checkpoint(
        tmp_path / "end.ckpt", model=Net(), arch_dataloader=make_loader(8)
    )

    assert loaded.export_probs() == search.export_probs()


# --- what cannot work, and what is replaced ------------------------------------------------------


@pytest.mark.parametrize(
    ("trainer_strategy", "refused"),
    [("ddp", True), ("ddp_find_unused_parameters_true", False), ("auto", False)],
)
def test_sampling_under_ddp_needs_a_search_for_unused_parameters(
    trainer_strategy: str, refused: bool, make_trainer: Any, darts: Any
) -> None:
    trainer = make_trainer(strategy=trainer_strategy)
    search, learned = oneshot.search(Net()), darts()
    search.trainer = learned.trainer = trainer

    learned.check_fit()  # all candidates take part: nothing is unused
    if refused:
        with pytest.raises(StrategyError, match="ddp_find_unused_parameters_true"):
            search.check_fit()
    else:
        search.check_fit()


class Unknown(_AutomaticOptimization):
    """What a future Lightning might have in its loop."""


@pytest.mark.parametrize("strategy", ["random", "darts"])
def test_search_equals_the_engines_where_the_loop_cannot_be_entered(
    strategy: str,
    darts: Any,
    make_trainer: Any,
    make_loader: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same paths, architecture parameters and weights; said once."""

    def trained(unknown: bool) -> tuple[dict[str, Any], list[Any]]:
        torch.manual_seed(0)
        model = Counts()
        search = darts(model) if strategy == "darts" else oneshot.search(model)
        trainer = make_trainer(max_epochs=3, gradient_clip_val=0.5)
        if unknown:
            trainer.fit_loop.epoch_loop.automatic_optimization = Unknown(trainer)
        with caplog.at_level(logging.INFO):
            trainer.fit(search, make_loader(20), make_loader(8, seed=1))
        return everything(search), model.paths

    expected, paths = trained(unknown=False)
    assert "runs in on_train_batch_start instead" not in caplog.text
    found, same_paths = trained(unknown=True)

    assert same(expected, found)
    assert paths == same_paths
    assert caplog.text.count("runs in on_train_batch_start instead") == 1
