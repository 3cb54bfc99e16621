"""A search works in either of the packages that Lightning is published as, and in one at a time.

The cases for ``lightning.pytorch`` need ``pip install lightning``; `make test-versions` has it.
"""

from __future__ import annotations

import copy
import importlib.util
import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import oneshot_core as oneshot
from oneshot_core.errors import StrategyError
from oneshot_core.lightning.engine import OneShotOptimization
from oneshot_core.lightning.trees import HOME, Tree, is_lightning_module, tree_of
from oneshot_core.space import LayerChoice, ParameterSpec
from oneshot_plugins.strategies.collapse import CollapseAlarm, EigenvalueStop
from oneshot_plugins.strategies.darts import Darts, SoftmaxDecision

OTHER = "lightning.pytorch"
INSTALLED = importlib.util.find_spec("lightning") is not None
needs_both = pytest.mark.skipif(not INSTALLED, reason="the package `lightning` is not installed")
TREES = [HOME.prefix, pytest.param(OTHER, marks=needs_both)]

if INSTALLED:
    import lightning.pytorch as other_lightning
else:
    other_lightning = None


class _Net:
    """What the modules of both trees share: BatchNorm, dropout, logging, schedulers."""

    def __init__(self, choices: bool = True, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        hidden: list[nn.Module] = [nn.Linear(6, 8), nn.Sequential(nn.Linear(6, 8), nn.Tanh())]
        self.body = LayerChoice(hidden, label="body") if choices else hidden[0]
        self.rest = nn.Sequential(nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        head: list[nn.Module] = [nn.Linear(8, 3), nn.Linear(8, 3, bias=False)]
        self.head = LayerChoice(head, label="head") if choices else head[0]
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rest(self.body(x)))

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.seen.append(batch_idx)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return {"loss": loss, "size": len(batch[0])}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch[0])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), self.hparams.lr, momentum=0.9)
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=total)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.log("norm", sum(p.grad.norm() for p in self.parameters() if p.grad is not None))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0] + 0.5, batch[1]]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["users"] = self.trainer.global_step


class _ManualNet(_Net):
    """Steps its optimizers itself: body and head in turn."""

    def __init__(self, choices: bool = True, lr: float = 0.1) -> None:
        super().__init__(choices, lr)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        first, second = self.optimizers()
        self.toggle_optimizer(first)
        first.zero_grad()
        loss = self.loss(batch)
        self.manual_backward(loss)
        self.clip_gradients(first, 0.1, "norm")
        first.step()
        self.untoggle_optimizer(first)
        if batch_idx % 2:
            second.zero_grad()
            self.manual_backward(self.loss(batch))
            second.step()
        self.log("train_loss", loss, prog_bar=True)

    def configure_optimizers(self) -> Any:
        body = [*self.body.parameters(), *self.rest.parameters()]
        return torch.optim.SGD(body, 0.1), torch.optim.Adam(self.head.parameters(), 0.01)


class Net(_Net, pytorch_lightning.LightningModule):
    pass


class ManualNet(_ManualNet, pytorch_lightning.LightningModule):
    pass


class HomeData(pytorch_lightning.LightningDataModule):
    pass


NETS: dict[str, Any] = {HOME.prefix: Net}
MANUAL: dict[str, Any] = {HOME.prefix: ManualNet}
DATA: dict[str, Any] = {HOME.prefix: HomeData}
PACKAGES: dict[str, Any] = {HOME.prefix: pytorch_lightning, OTHER: other_lightning}

if INSTALLED:

    class OtherNet(_Net, other_lightning.LightningModule):
        pass

    class OtherManualNet(_ManualNet, other_lightning.LightningModule):
        pass

    class OtherData(other_lightning.LightningDataModule):
        pass

    NETS[OTHER], MANUAL[OTHER], DATA[OTHER] = OtherNet, OtherManualNet, OtherData


class LearnsBeside(Darts):
    """A third party's strategy: its architecture parameters do not enter the forward pass."""

    def make_decision(self, spec: ParameterSpec) -> SoftmaxDecision:
        return Beside(spec, seed=self.seed)

    def architecture_loss(self, batch: Any, batch_idx: int) -> Tensor | None:
        loss = super().architecture_loss(batch, batch_idx)
        squares: Any = sum((d.alpha - 1).square().sum() for d in self.decisions)
        return None if loss is None else loss * squares

    def on_fit_end(self) -> None:
        super().on_fit_end()
        assert all((p.abs() > 5e-3).any() for p in self.decisions.parameters()), "not trained"


class Beside(SoftmaxDecision):
    def mixture(self) -> list[oneshot.Active]:
        return [oneshot.Active(self.spec.candidates[0])]


@pytest.fixture(params=TREES)
def prefix(request: pytest.FixtureRequest) -> str:
    """The name of a tree."""
    name: str = request.param
    return name


@pytest.fixture
def trainer_of(tmp_path: Path) -> Callable[..., Any]:
    """Build a quiet Trainer of a tree."""

    def make(prefix: str, **options: Any) -> Any:
        defaults = {
            "max_epochs": 2,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": tmp_path,
        }
        return PACKAGES[prefix].Trainer(**(defaults | options))

    return make


@pytest.fixture
def build(make_loader: Callable[..., Any]) -> Callable[..., Any]:
    """Build a search over a new module of a tree."""

    def make(prefix: str, strategy: Any, *, nets: Any = NETS, choices: bool = True) -> Any:
        options = {} if strategy == "random" else {"arch_dataloader": make_loader(seed=3)}
        torch.manual_seed(0)
        return oneshot.search(nets[prefix](choices), strategy, seed=5, **options)

    return make


@pytest.fixture
def loaders(make_loader: Callable[..., Any]) -> tuple[DataLoader[Any], DataLoader[Any]]:
    return make_loader(shuffle=True), make_loader(12, seed=1)


# --- which tree ----------------------------------------------------------------------------------


def test_a_module_belongs_to_the_tree_it_derives_from(prefix: str) -> None:
    package = PACKAGES[prefix]

    assert tree_of(NETS[prefix]()) == Tree(prefix)
    assert tree_of(package.LightningDataModule()) == Tree(prefix)
    assert tree_of(nn.Linear(1, 1)) == HOME
    assert is_lightning_module(NETS[prefix]())
    assert not any(is_lightning_module(x) for x in (package.LightningDataModule(), nn.Tanh(), 3))
    assert Tree(prefix).own(pytorch_lightning.Trainer) is package.Trainer


def test_lightning_is_imported_by_the_users_module_or_not_at_all() -> None:
    script = (
        "import sys, torch, pytorch_lightning as pl, oneshot_core as oneshot\n"
        "class Net(pl.LightningModule):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = oneshot.LayerChoice([torch.nn.Linear(1, 1), torch.nn.Tanh()])\n"
        "oneshot.search(Net())\n"
        "assert not {'lightning', 'lightning.pytorch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("strategy", ["random", "darts"])
def test_a_search_is_a_module_of_the_users_tree_and_of_no_other(
    prefix: str, strategy: str, build: Any
) -> None:
    search = build(prefix, strategy)
    cls = oneshot.registry.load("strategy", strategy)

    assert isinstance(search, PACKAGES[prefix].LightningModule)
    assert isinstance(search, (cls, oneshot.BaseOneShotLightningModule))
    assert {tree_of(search), tree_of(search.model)} == {Tree(prefix)}
    assert [t for t in PACKAGES if issubclass(type(search), _module_class(t))] == [prefix]
    assert (type(search).__name__, type(search).__module__) == (cls.__name__, cls.__module__)
    assert type(search) is type(build(prefix, strategy))
    assert type(type(search)(NETS[prefix](), **_options(search))) is type(search)
    assert repr(search).startswith(f"{cls.__name__}(")


def _module_class(prefix: str) -> type:
    return PACKAGES[prefix].LightningModule if PACKAGES[prefix] else type(None)


def _options(search: Any) -> dict[str, Any]:
    loader = search.arch_dataloader
    return {} if loader is None else {"arch_dataloader": loader}


@needs_both
def test_what_lightning_pytorch_adds_to_the_order_of_classes_stands_in_the_same_place(
    build: Any,
) -> None:
    def names(cls: type) -> list[str]:
        return [c.__name__ for c in cls.__mro__]

    home, other = type(build(HOME.prefix, "darts")), type(build(OTHER, "darts"))
    assert names(other) == ["Darts", *names(home)]
    roots = {c.__module__.split(".")[0] for c in other.__mro__}
    assert roots & {"pytorch_lightning", "lightning_fabric"} == set()


# --- transparency --------------------------------------------------------------------------------


class _Observer:
    """A callback of either tree: records what every hook of a batch sees."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []

    def see(self, name: str, trainer: Any, *more: Any) -> None:
        metrics = {key: value.item() for key, value in trainer.callback_metrics.items()}
        rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
        self.events.append((name, trainer.global_step, trainer.current_epoch, metrics, rates, more))

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self.see("batch_start", trainer, batch[0].sum().item(), batch_idx)

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        weights = sum(p.sum().item() for p in module.state_dict().values())
        self.see("batch_end", trainer, str(outputs), weights)

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        self.see("step", trainer, type(optimizer).__name__)

    def on_validation_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
        self.see("validation_batch_end", trainer)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.see("epoch_end", trainer, torch.rand(1).item())

    def on_fit_end(self, trainer: Any, module: Any) -> None:
        self.see("fit_end", trainer)


def _run(
    prefix: str, module: Any, trainer_of: Any, loaders: Any, path: Path, **options: Any
) -> Any:
    observer = type("Observer", (_Observer, PACKAGES[prefix].Callback), {})()
    trainer = trainer_of(prefix, callbacks=[observer], **options)
    torch.manual_seed(1)
    trainer.fit(module, *loaders)
    trainer.save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=False)
    search = checkpoint.pop("oneshot", None)
    if search is not None and len(checkpoint["optimizer_states"]) > _users(module):
        del checkpoint["optimizer_states"][-1]  # of the architecture
    predicted = trainer.predict(module, loaders[1])
    return [
        observer.events,
        trainer.validate(module, loaders[1], verbose=False),
        [p.tolist() for p in predicted],
        str(checkpoint),
        checkpoint["hyper_parameters"],
    ]


def _users(module: Any) -> int:
    return 2 if not module.automatic_optimization else 1


@pytest.mark.parametrize("strategy", ["random", "darts"])
@pytest.mark.parametrize(
    ("nets", "options"),
    [
        pytest.param(NETS, {}, id="automatic"),
        pytest.param(
            NETS, {"gradient_clip_val": 0.05, "accumulate_grad_batches": 2}, id="clip-accumulate"
        ),
        pytest.param(NETS, {"precision": "bf16-mixed"}, id="bf16"),
        pytest.param(MANUAL, {}, id="manual"),
    ],
)
def test_a_search_without_choices_trains_as_the_bare_module(
    prefix: str,
    strategy: str,
    nets: Any,
    options: dict[str, Any],
    build: Any,
    trainer_of: Any,
    loaders: Any,
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    bare = nets[prefix](False)
    expected = _run(prefix, bare, trainer_of, loaders, tmp_path / "bare.ckpt", **options)

    search = build(prefix, strategy, nets=nets, choices=False)
    found = _run(prefix, search, trainer_of, loaders, tmp_path / "wrapped.ckpt", **options)

    assert found == expected
    restored = nets[prefix].load_from_checkpoint(tmp_path / "wrapped.ckpt", weights_only=False)
    for name, value in bare.state_dict().items():
        assert torch.equal(value, search.state_dict()[name])
        assert torch.equal(value, restored.state_dict()[name])


def test_architecture_steps_leave_the_weights_as_they_are(
    prefix: str, build: Any, trainer_of: Any, loaders: Any, tmp_path: Path
) -> None:
    """Also: a strategy written on `pytorch_lightning` by somebody else works in both trees."""
    torch.manual_seed(0)
    bare = NETS[prefix](False)
    expected = _run(prefix, bare, trainer_of, loaders, tmp_path / "bare.ckpt")

    class First(_First, NETS[prefix]):  # type: ignore[name-defined,misc]
        pass

    torch.manual_seed(0)
    search = oneshot.search(
        First(False), LearnsBeside, arch_dataloader=loaders[1], arc_learning_rate=0.05
    )
    found = _run(prefix, search, trainer_of, loaders, tmp_path / "wrapped.ckpt")

    assert search.space.size == 2
    assert found[:2] == expected[:2]
    assert [p.tolist() for p in search.model.parameters()][:2] == [
        p.tolist() for p in bare.parameters()
    ][:2]


class _First:
    """Puts the layer ``head`` into a choice whose first candidate is always taken."""

    def __init__(self, choices: bool = True, lr: float = 0.1) -> None:
        super().__init__(choices, lr)
        self.head = LayerChoice([self.head, nn.Identity()], label="head")


# --- a search from beginning to end --------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["random", "darts"])
def test_search_rank_export_and_freeze(
    prefix: str, strategy: str, build: Any, trainer_of: Any, loaders: Any
) -> None:
    search = build(prefix, strategy)
    trainer = trainer_of(prefix)
    trainer.fit(search, *loaders)
    engine = trainer.fit_loop.epoch_loop.automatic_optimization
    assert not isinstance(engine, OneShotOptimization)  # given back

    ranking = search.rank("all", loaders[1], metric="val_loss", mode="min", progress=False)

    assert len(ranking) == 4
    assert search._trainer is trainer
    best = ranking.best if strategy == "random" else search.export()
    assert search.export() == best
    one = search.evaluate(best, loaders[1], trainer=trainer_of(prefix))
    assert one == next(r.metrics for r in ranking if r.architecture == best)
    frozen = oneshot.freeze(search, best)
    assert isinstance(frozen, NETS[prefix])
    x = torch.randn(5, 6)
    with search.at(best), torch.no_grad():
        assert torch.equal(search.eval()(x), frozen.eval()(x))
    trainer_of(prefix, max_epochs=1).fit(frozen.train(), *loaders)


def test_our_callbacks_work_with_a_trainer_of_either_tree(
    prefix: str, build: Any, trainer_of: Any, loaders: Any, tmp_path: Path
) -> None:
    search = build(prefix, "darts")
    alarm, stop = CollapseAlarm(min_entropy=2.0), EigenvalueStop(window=1, ratio=1e-9)
    trainer = trainer_of(prefix, callbacks=[alarm, stop])
    trainer.fit(search, *loaders)
    assert len(stop.eigenvalues) == 2
    assert alarm.alarms == ["epoch 0: the search is decided already, entropy 1.000"]
    trainer.save_checkpoint(tmp_path / "search.ckpt")
    again, more = CollapseAlarm(), EigenvalueStop(window=1, ratio=1e-9)
    trainer = trainer_of(prefix, callbacks=[again, more])
    trainer.fit(build(prefix, "darts"), *loaders, ckpt_path=tmp_path / "search.ckpt")
    assert again.alarms == alarm.alarms
    assert more.eigenvalues == stop.eigenvalues


def test_the_engine_inside_the_loop_is_of_the_trainers_tree(
    prefix: str, build: Any, trainer_of: Any, loaders: Any
) -> None:
    search = build(prefix, "darts")
    engines: list[Any] = []
    base = Tree(prefix).own(pytorch_lightning.loops.optimization.automatic._AutomaticOptimization)

    class Looks(PACKAGES[prefix].Callback):  # type: ignore[name-defined,misc]
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            engines.append(trainer.fit_loop.epoch_loop.automatic_optimization)

    trainer = trainer_of(prefix, callbacks=[Looks()], max_epochs=1)
    trainer.fit(search, *loaders)

    assert len(engines) == 6
    assert all(isinstance(e, OneShotOptimization) and isinstance(e, base) for e in engines)
    assert type(trainer.fit_loop.epoch_loop.automatic_optimization) is base


@pytest.mark.parametrize("strategy", ["random", "darts"])
def test_a_resumed_search_goes_on_as_if_it_had_not_stopped(
    prefix: str, strategy: str, build: Any, trainer_of: Any, make_loader: Any, tmp_path: Path
) -> None:
    loaders = make_loader(), make_loader(12, seed=1)

    def fit(search: Any, epochs: int, path: Path | None = None) -> Any:
        rates = torch.optim.lr_scheduler.ConstantLR
        search.model.configure_optimizers = lambda: (
            [o := torch.optim.SGD(search.model.parameters(), 0.1)],
            [rates(o)],
        )
        search.model.rest[2].p = 0.0  # dropout draws from a generator that nobody saves
        trainer = trainer_of(prefix, max_epochs=epochs)
        trainer.fit(search, *loaders, ckpt_path=path)
        return trainer

    whole = build(prefix, strategy)
    fit(whole, 4)
    fit(build(prefix, strategy), 2).save_checkpoint(tmp_path / "half.ckpt")
    resumed = build(prefix, strategy)
    fit(resumed, 4, tmp_path / "half.ckpt")

    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert whole.export_probs() == resumed.export_probs()
    loaded = type(whole).load_from_checkpoint(
        tmp_path / "half.ckpt", model=NETS[prefix](), **_options(whole)
    )
    assert type(loaded) is type(whole)


@pytest.mark.parametrize(
    ("nets", "strategy"),
    [(NETS, "random"), (NETS, "darts"), (MANUAL, "random")],
    ids=["random", "darts", "manual"],
)
@pytest.mark.parametrize("fitted", [False, True], ids=["new", "fitted"])
@pytest.mark.parametrize(
    "again",
    [
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(lambda search: pickle.loads(pickle.dumps(search)), id="pickle"),
        pytest.param(lambda search: pickle.loads(pickle.dumps(search, 2)), id="pickle-2"),
        pytest.param(copy.copy, id="copy"),
    ],
)
def test_a_copy_is_a_search_of_its_own(
    prefix: str,
    nets: Any,
    strategy: str,
    fitted: bool,
    again: Callable[[Any], Any],
    build: Any,
    trainer_of: Any,
    loaders: Any,
) -> None:
    search = build(prefix, strategy, nets=nets)
    if fitted:
        trainer_of(prefix, max_epochs=1).fit(search, *loaders)
        search.trainer = None

    twin = again(search)

    assert type(twin) is type(search)
    assert twin.space == search.space or twin.space.fingerprint == search.space.fingerprint
    for name, value in search.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name])
    if again is not copy.copy:
        assert twin.model is not search.model
        trainer_of(prefix, max_epochs=1).fit(twin, *loaders)
        assert twin.rank(2, loaders[1], metric="val_loss", progress=False, calibration_batches=0)


def test_a_manual_module_is_searched(
    prefix: str, build: Any, trainer_of: Any, loaders: Any
) -> None:
    search = build(prefix, "random", nets=MANUAL)
    before = copy.deepcopy(search.state_dict())
    trainer = trainer_of(prefix)
    trainer.fit(search, *loaders)

    assert trainer.global_step == 12 + 6
    assert any(not torch.equal(v, before[k]) for k, v in search.state_dict().items())
    ranking = search.rank(
        "all", loaders[1], metric="val_loss", calibration_batches=0, progress=False
    )
    assert len(ranking) == 4


def test_device_dtype_trainer_and_data_reach_the_users_module(
    prefix: str, build: Any, trainer_of: Any
) -> None:
    search = build(prefix, "darts")
    trainer = trainer_of(prefix)
    search.trainer = trainer

    assert search.model.trainer is trainer
    assert search.double().dtype == search.model.dtype == torch.float64
    assert search.to(torch.float32).model.dtype == torch.float32
    assert search.to("meta").model.device == torch.device("meta")


def test_hooks_look_overridden_as_those_of_the_user(prefix: str, build: Any) -> None:
    is_overridden = Tree(prefix).own(pytorch_lightning.utilities.model_helpers.is_overridden)
    search = build(prefix, "random")
    for name in dir(pytorch_lightning.LightningModule):
        if name.startswith(("on_validation", "on_train", "on_before", "on_after")):
            assert is_overridden(name, search) == is_overridden(name, search.model), name
    assert is_overridden("training_step", search)
    assert not is_overridden("test_step", search)
    assert inspect.signature(search.training_step) == inspect.signature(search.model.training_step)


@pytest.mark.filterwarnings("ignore:.*on_after_batch_transfer.*It will use the implementation")
def test_a_datamodule_of_the_same_tree_works(
    prefix: str, build: Any, trainer_of: Any, loaders: Any
) -> None:
    data = DATA[prefix]()
    data.train_dataloader = lambda: loaders[0]
    data.val_dataloader = lambda: loaders[1]
    search = build(prefix, "random")

    trainer_of(prefix, max_epochs=1).fit(search, datamodule=data)

    assert len(search.rank(2, data, metric="val_loss", progress=False)) == 2


# --- one tree at a time --------------------------------------------------------------------------

BOTH_WAYS = pytest.mark.parametrize(
    ("mine", "theirs"), [(HOME.prefix, OTHER), (OTHER, HOME.prefix)], ids=["home", "other"]
)


@needs_both
@BOTH_WAYS
def test_a_module_of_the_other_tree_inside_the_model_is_refused_before_anything_is_changed(
    mine: str, theirs: str
) -> None:
    model = NETS[mine]()
    model.encoder = nn.Sequential(nn.Linear(6, 6), NETS[theirs](False))
    before = {name: id(module) for name, module in model.named_modules()}

    with pytest.raises(StrategyError) as raised:
        oneshot.search(model)

    what, expected, fix = str(raised.value).splitlines()
    assert "'encoder.1'" in what
    assert mine in what
    assert theirs in what
    assert expected == f"  expected: one Lightning everywhere, here {mine}"
    assert fix == f"  fix: take {NETS[theirs].__name__}, or what it derives from, from {mine}"
    assert {name: id(module) for name, module in model.named_modules()} == before


@needs_both
@BOTH_WAYS
def test_a_module_of_both_trees_is_refused(mine: str, theirs: str) -> None:
    class Both(NETS[mine], PACKAGES[theirs].LightningModule):  # type: ignore[name-defined,misc]
        pass

    with pytest.raises(StrategyError, match=f"Both is of {theirs}, the search of {mine}"):
        oneshot.search(Both())


@needs_both
@BOTH_WAYS
def test_a_module_of_the_other_tree_that_setup_makes_is_refused(
    mine: str, theirs: str, trainer_of: Any, loaders: Any
) -> None:
    class Late(NETS[mine]):  # type: ignore[name-defined,misc]
        def setup(self, stage: str) -> None:
            self.encoder = NETS[theirs](False)

    with pytest.raises(StrategyError, match="'encoder'"):
        trainer_of(mine).fit(oneshot.search(Late()), *loaders)


@needs_both
@BOTH_WAYS
def test_a_trainer_of_the_other_tree_refuses_the_search(
    mine: str, theirs: str, build: Any, trainer_of: Any, loaders: Any
) -> None:
    """Lightning's own error: a Trainer looks at the class and calls nothing of ours."""
    with pytest.raises(TypeError, match="must be a `LightningModule`"):
        trainer_of(theirs).fit(build(mine, "random"), *loaders)


@needs_both
@BOTH_WAYS
def test_a_ranking_refuses_what_is_of_the_other_tree(
    mine: str, theirs: str, build: Any, trainer_of: Any, loaders: Any
) -> None:
    search = build(mine, "random")

    with pytest.raises(StrategyError, match=f"the Trainer is of {theirs}") as raised:
        search.rank(
            2, loaders[1], metric="val_loss", trainer=trainer_of(theirs), calibration_batches=0
        )
    assert str(raised.value).splitlines()[2].endswith(f", from {mine}")
    with pytest.raises(StrategyError, match=f"Data to score with is of {theirs}") as raised:
        search.evaluate({"body": "0", "head": "0"}, DATA[theirs](), calibration_batches=0)
    assert str(raised.value).splitlines()[2].endswith(f", from {mine}")


@needs_both
@BOTH_WAYS
@pytest.mark.parametrize("run", ["fit", "validate", "test", "predict"])
def test_a_datamodule_of_the_other_tree_is_refused(
    mine: str, theirs: str, run: str, build: Any, trainer_of: Any
) -> None:
    with pytest.raises(StrategyError, match=f"Data is of {theirs}"):
        getattr(trainer_of(mine), run)(build(mine, "random"), datamodule=DATA[theirs]())


@needs_both
def test_the_class_of_a_search_belongs_to_its_tree(build: Any) -> None:
    with pytest.raises(StrategyError, match=f"Net is of {HOME.prefix}, the search of {OTHER}"):
        type(build(OTHER, "random"))(Net())
