"""What the tests of the LightningModule share: data, and the bench that compares two runs."""

from __future__ import annotations

import functools
import hashlib
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.loops.optimization.automatic import Closure, _AutomaticOptimization
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core.lightning.module import BaseOneShotLightningModule
from oneshot_core.space import LayerChoice, ParameterSpec
from oneshot_plugins.strategies.darts import Darts, SoftmaxDecision

SEED = 7
FEATURES = 6
CLASSES = 3


@pytest.fixture(autouse=True)
def _seeded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    seed_all()
    # On tensors this small threads cost a hundred times what they save.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _choices_are_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared with the bare module often has none."""
    monkeypatch.setattr(BaseOneShotLightningModule, "needs_choices", False)


def seed_all() -> None:
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)


def dataset(n: int, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, FEATURES, generator=generator)
    return TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long())


def loader_of(
    n: int = 24, *, seed: int = 0, batch_size: int = 4, **options: Any
) -> DataLoader[Any]:
    return DataLoader(dataset(n, seed), batch_size=batch_size, **options)


@pytest.fixture
def make_loader() -> Callable[..., DataLoader[Any]]:
    """Build a loader of a small three-class problem: ``make_loader(n, seed=0, batch_size=4)``."""
    return loader_of


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """Build a Trainer on the CPU that prints and writes nothing unless asked."""

    def make(**options: Any) -> Trainer:
        return quiet_trainer(tmp_path, **options)

    return make


def quiet_trainer(root: Path, **options: Any) -> Trainer:
    defaults = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": root,
    }
    return Trainer(**(defaults | options))


class MemoryLogger(Logger):
    """Keeps what Lightning logs."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.rows: list[tuple[int | None, dict[str, float]]] = []
        self.hyperparameters: list[Any] = []

    @property
    def name(self) -> str:
        return "memory"

    @property
    def version(self) -> int:
        return 0

    @property
    def save_dir(self) -> str:
        return str(self.root)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.hyperparameters.append(params)


@pytest.fixture
def memory_logger(tmp_path: Path) -> MemoryLogger:
    return MemoryLogger(tmp_path)


class Refused(_AutomaticOptimization):
    """A loop engine that the search does not know: it must fall back to public hooks."""


def hook_names() -> list[str]:
    """Every hook of a LightningModule that Lightning may call."""
    steps = ("training_step", "validation_step", "test_step", "predict_step", "optimizer_step")
    others = (
        "backward configure_callbacks configure_gradient_clipping configure_model "
        "configure_optimizers lr_scheduler_step optimizer_zero_grad predict_dataloader "
        "prepare_data setup teardown test_dataloader train_dataloader transfer_batch_to_device "
        "val_dataloader"
    )
    return [*steps, *others.split(), *(n for n in dir(LightningModule) if n.startswith("on_"))]


class Recorder:
    """Everything that happened in a run, in order, in a form that can be compared."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events: list[Any] = []
        self.paused = False

    def add(self, *event: Any) -> None:
        if not self.paused:
            self.events.append(self.canonical(event))

    @contextmanager
    def pause(self) -> Iterator[None]:
        self.paused = True
        try:
            yield
        finally:
            self.paused = False

    def canonical(self, value: Any) -> Any:
        """Return plain data that is equal for equal values, NaN and tensors included."""
        if isinstance(value, Tensor):
            data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            digest = hashlib.blake2b(data.tobytes(), digest_size=8).hexdigest()
            total = value.detach().double().sum().item()
            return f"{value.dtype} {tuple(value.shape)} sum={total!r} {digest}"
        if isinstance(value, Mapping):
            return {str(self.canonical(k)): self.canonical(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.canonical(item) for item in value]
        if isinstance(value, (str, Path)):
            text = str(value).replace(str(self.root), "<root>")
            return text.replace(".candidates.only", "")  # a choice of one candidate
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, (float, np.generic)):
            return repr(float(value))
        return f"<{type(value).__name__}>"


class EventRecorder(Callback):
    """A callback that overrides every hook and records what it sees there."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder


def _recording(name: str) -> Callable[..., None]:
    def hook(
        self: EventRecorder, trainer: Trainer, module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        gradients = []
        if name in ("on_save_checkpoint", "on_load_checkpoint"):
            args = ()  # see trace_hooks
        if name in ("on_after_backward", "on_before_optimizer_step", "on_train_batch_end"):
            gradients = [p.grad for p in users(module).parameters()]
        self.recorder.add(
            name,
            trainer.global_step,
            trainer.current_epoch,
            [group["lr"] for o in users_optimizers(trainer) for group in o.param_groups],
            trainer.callback_metrics,
            args,
            kwargs,
            gradients,
        )

    hook.__name__ = name
    return hook


for _name in dir(Callback):
    if _name.startswith("on_") or _name in ("setup", "teardown"):
        if _name in ("setup", "teardown"):

            def _staged(
                self: EventRecorder,
                trainer: Trainer,
                pl_module: LightningModule,
                stage: str,
                _name: str = _name,
            ) -> None:
                self.recorder.add(_name, stage)

            setattr(EventRecorder, _name, _staged)
        else:
            setattr(EventRecorder, _name, _recording(_name))


def users(module: LightningModule) -> LightningModule:
    return module.model if isinstance(module, BaseOneShotLightningModule) else module


def users_optimizers(trainer: Trainer) -> list[Any]:
    module = trainer.lightning_module
    if not isinstance(module, BaseOneShotLightningModule):
        return list(trainer.optimizers)
    return [o for o in trainer.optimizers if not module.is_architecture_optimizer(o)]


def trace_hooks(model: LightningModule, recorder: Recorder) -> None:
    """Record each call of a hook that the model's class overrides; the others stay untouched."""
    cls = type(model)

    def traced(name: str) -> Any:
        original = getattr(cls, name)

        def hook(self: LightningModule, *args: Any, **kwargs: Any) -> Any:
            # A checkpoint holds the search's entry; files are compared without it.
            recorder.add("module", name, *(() if "checkpoint" in name else (args, kwargs)))
            return original(self, *args, **kwargs)

        # Lightning looks behind one decorator; it must see there what it sees without a trace.
        hook.__wrapped__ = getattr(original, "__wrapped__", original)  # type: ignore[attr-defined]
        return hook

    overridden = [
        n for n in hook_names() if getattr(cls, n, None) is not getattr(LightningModule, n, None)
    ]
    body = {name: traced(name) for name in overridden}
    model.__class__ = type(
        cls.__name__,
        (cls,),
        {**body, "__module__": cls.__module__, "__qualname__": cls.__qualname__},
    )


class Beside(SoftmaxDecision):
    """A learned vector that does not enter the forward pass."""

    def __init__(self, spec: ParameterSpec, *, seed: int) -> None:
        super().__init__(spec, seed=seed)
        with torch.no_grad():
            self.alpha.fill_(0.5)

    def mixture(self) -> list[oneshot.Active]:
        return [oneshot.Active(self.spec.candidates[0])]


class LearnsBeside(Darts):
    """Trains architecture parameters, which leave the weights as they would be without them.

    The architecture step runs the user's ``training_step`` with dropout, BatchNorm, metrics and
    logging, and really moves the parameters; the user's training must not notice.
    """

    def make_decision(self, spec: ParameterSpec) -> Beside:
        return Beside(spec, seed=self.seed)

    def configure_architecture_optimizers(self) -> Any:
        parameters = list(self.decisions.parameters())
        return torch.optim.Adam(parameters, lr=0.05) if parameters else None

    def architecture_loss(self, batch: Any, batch_idx: int) -> Tensor | None:
        loss = super().architecture_loss(batch, batch_idx)
        squares: Any = sum(decision.alpha.square().sum() for decision in self.decisions)
        return None if loss is None else loss * squares

    def on_fit_end(self) -> None:
        super().on_fit_end()
        assert all((p != 0.5).all() for p in self.decisions.parameters()), "nothing was trained"


@dataclass(frozen=True)
class Driver:
    """How a case is trained.

    Attributes:
        strategy: None for bare; ``"beside"`` for :class:`LearnsBeside`.
        single: whether layers are choices of one candidate.
        refused: whether the training loop is one that cannot be entered.
    """

    strategy: str | type[BaseOneShotLightningModule] | None = None
    single: bool = False
    refused: bool = False


@dataclass
class Bench:
    """One run of a case, and all that was seen of it."""

    root: Path
    driver: Driver
    notes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.recorder = Recorder(self.root)
        self.logger = MemoryLogger(self.root)

    def layer(self, module: nn.Module) -> nn.Module:
        """Return a layer of the model: as it is, or as a choice of one candidate."""
        return LayerChoice({"only": module}) if self.driver.single else module

    def wrap(self, model: LightningModule, *, trace: bool = True) -> LightningModule:
        """Return what is given to the Trainer."""
        if trace:
            trace_hooks(model, self.recorder)
        strategy = self.driver.strategy
        if strategy is None:
            return model
        options: dict[str, Any] = {}
        if strategy in ("darts", "beside"):
            options["arch_dataloader"] = self.loader(seed=2)
        if strategy == "beside":
            strategy = LearnsBeside
        cls = strategy_class(strategy) if isinstance(strategy, str) else strategy
        # Without a trace the class itself is used: one made here could not be pickled.
        return oneshot.search(model, _observed(cls, self.recorder) if trace else cls, **options)

    def loader(self, n: int = 22, *, seed: int = 0, **options: Any) -> DataLoader[Any]:
        return loader_of(n, seed=seed, **{"shuffle": True} | options)

    def trainer(self, *, callbacks: Any = (), **options: Any) -> Trainer:
        trainer = quiet_trainer(
            self.root,
            callbacks=[EventRecorder(self.recorder), *callbacks],
            **{"logger": self.logger, "log_every_n_steps": 1} | options,
        )
        if self.driver.refused:
            trainer.fit_loop.epoch_loop.automatic_optimization = Refused(trainer)
        return trainer

    def fit(
        self,
        model: LightningModule,
        *,
        train: Any = None,
        val: Any = None,
        datamodule: Any = None,
        ckpt_path: Any = None,
        trace: bool = True,
        **options: Any,
    ) -> Trainer:
        """Train ``model`` and note how it ended; ``val=False`` for no validation."""
        module = self.wrap(model, trace=trace)
        trainer = self.trainer(**options)
        data: dict[str, Any] = {"datamodule": datamodule}
        if datamodule is None:
            data["train_dataloaders"] = self.loader() if train is None else train
            data["val_dataloaders"] = self.loader(10, seed=1, shuffle=False) if val is None else val
            data = {key: value for key, value in data.items() if value is not False}
        trainer.fit(module, ckpt_path=ckpt_path, **data)
        self.note_state(trainer, module)
        return trainer

    def note(self, key: str, value: Any) -> None:
        assert key not in self.notes
        self.notes[key] = self.recorder.canonical(value)

    def note_state(self, trainer: Trainer, module: LightningModule, key: str = "") -> None:
        n = len([k for k in self.notes if k.startswith("state")])
        self.note(f"state{key}{n}", module.state_dict())
        self.note(f"global_step{key}{n}", trainer.global_step)
        self.note(f"current_epoch{key}{n}", trainer.current_epoch)
        lrs = [group["lr"] for o in users_optimizers(trainer) for group in o.param_groups]
        self.note(f"lr{key}{n}", lrs)
        self.note(f"hparams{key}{n}", dict(module.hparams))
        self.note(f"random{key}{n}", [torch.rand(1), random.random(), np.random.rand()])
        if trainer.optimizers:
            trainer.save_checkpoint(self.root / f"final{key}{n}.ckpt")

    def checkpoints(self) -> dict[str, Any]:
        found = {}
        for path in sorted(self.root.rglob("*.ckpt")):
            checkpoint = torch.load(path, weights_only=False)
            search = checkpoint.pop("oneshot", None)
            assert (search is None) == (self.driver.strategy is None)
            if self.driver.strategy == "beside" and checkpoint["optimizer_states"]:
                del checkpoint["optimizer_states"][-1]  # the architecture's, documented
            found[str(path.relative_to(self.root))] = self.recorder.canonical(checkpoint)
        return found


@functools.cache
def strategy_class(name: str) -> type[BaseOneShotLightningModule]:
    cls: type[BaseOneShotLightningModule] = oneshot.Registry().load("strategy", name)
    return cls


def _observed(
    cls: type[BaseOneShotLightningModule], recorder: Recorder
) -> type[BaseOneShotLightningModule]:
    """Return the strategy, without a record of what its architecture steps call."""

    class Observed(cls):  # type: ignore[misc,valid-type]
        def architecture_step(self) -> Tensor | None:
            with recorder.pause():
                return super().architecture_step()

    Observed.__name__ = cls.__name__
    return Observed


def run_case(case: Callable[[Bench], None], root: Path, driver: Driver) -> dict[str, Any]:
    """Run a case; return everything that can be compared."""
    _forget_given_warnings()
    seed_all()
    bench = Bench(root, driver)
    error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            case(bench)
        except Exception as raised:  # errors are compared, too
            error = [type(raised).__name__, bench.recorder.canonical(str(raised))]
    shown = [w for w in caught if not issubclass(w.category, ResourceWarning)]
    return {
        "error": error,
        "notes": bench.notes,
        "rows": bench.recorder.canonical(bench.logger.rows),
        "hparams": bench.recorder.canonical(bench.logger.hyperparameters),
        "events": bench.recorder.events,
        "warnings": [
            [w.category.__name__, bench.recorder.canonical(str(w.message))] for w in shown
        ],
        "checkpoints": bench.checkpoints(),
    }


def _forget_given_warnings() -> None:
    """Let Lightning warn again: it gives many warnings once in a process."""
    Closure.warning_cache.clear()
    for name, module in list(sys.modules.items()):
        if name.startswith(("pytorch_lightning", "lightning_fabric")):
            cache = getattr(module, "warning_cache", None)
            if cache is not None:
                cache.clear()


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Return where two runs differ, by path; empty if nowhere."""
    if isinstance(a, dict) and isinstance(b, dict):
        found = [f"{path}: keys {sorted(a.keys() ^ b.keys())}"] if a.keys() != b.keys() else []
        return found + [
            d for key in a if key in b for d in differences(a[key], b[key], f"{path}/{key}")
        ]
    if isinstance(a, list) and isinstance(b, list):
        found = [f"{path}: {len(a)} != {len(b)} entries"] if len(a) != len(b) else []
        pairs = enumerate(zip(a, b, strict=False))
        return found + [d for i, (x, y) in pairs for d in differences(x, y, f"{path}/{i}")]
    return [] if a == b and type(a) is type(b) else [f"{path}: {a!r} != {b!r}"]


class Comparison:
    """The bench, for test files."""

    driver = Driver
    bench = Bench
    trainer = staticmethod(quiet_trainer)
    learns_beside = LearnsBeside
    run = staticmethod(run_case)
    differences = staticmethod(differences)


@pytest.fixture(scope="session")
def comparison() -> Comparison:
    """``driver``, ``run`` and ``differences``: train twice in different ways and compare all.

    ``bench`` and ``trainer`` are the parts of a case; ``learns_beside`` is the strategy of the
    driver ``"beside"``.
    """
    return Comparison()
