"""Checkpoints: read by the bare module, read by a search, and a resume that nobody notices."""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

import oneshot_core as oneshot
from oneshot_core.space import LayerChoice
from oneshot_plugins.strategies.darts import Darts
from oneshot_plugins.strategies.uniform import UniformSampling

BATCHES = 5
"""In an epoch of the user's training; the architecture's loader has three."""

STOPS = ["end-of-epoch", "inside-epoch"]

pytestmark = pytest.mark.filterwarnings(
    "ignore:The dirpath has changed",
    "ignore:You're resuming from a checkpoint that ended before the epoch ended",
    # In warm-up the architecture's schedulers go on, its optimizers do not.
    "ignore:Detected call of `lr_scheduler.step\\(\\)` before `optimizer.step",
)


class Net(LightningModule):
    """Deterministic without a strategy that draws; notes what it is trained with."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.first = LayerChoice([nn.Linear(6, width), nn.Linear(6, width)], label="first")
        self.norm = nn.BatchNorm1d(width)
        self.second = LayerChoice(
            [nn.Linear(width, 3), nn.Sequential(nn.Tanh(), nn.Linear(width, 3))], label="second"
        )
        self.paths: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        decisions = [getattr(layer, "decision", None) for layer in (self.first, self.second)]
        self.paths.append([d.active()[0].candidate for d in decisions if d is not None])
        self.log("wave", float(batch_idx % 3))
        logits = self.second(self.norm(self.first(batch[0])).relu())
        return nn.functional.cross_entropy(logits, batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_mean", self.norm.running_mean.mean())

    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), lr=0.1, momentum=0.9)
        return [optimizer], [StepLR(optimizer, 1, 0.7)]


class Scheduled(Darts):
    """Two optimizers with a scheduler each, one of which has a memory; notes its batches."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batches: list[Tensor] = []

    def configure_architecture_optimizers(self) -> Any:
        first, second = ([p] for p in self.decisions.parameters())
        adam, sgd = Adam(first, 0.1), SGD(second, 0.2, momentum=0.5)
        plateau = {
            "scheduler": ReduceLROnPlateau(sgd, factor=0.5, patience=1),
            "monitor": "wave",
            "interval": "step",  # Lightning leaves one of an epoch out when it resumes
            "frequency": 2,
        }
        return [adam, sgd], [plateau, {"scheduler": StepLR(adam, 2, 0.9), "interval": "step"}]

    def architecture_loss(self, batch: Any, batch_idx: int) -> Tensor | None:
        self.batches.append(batch[0])
        return super().architecture_loss(batch, batch_idx)


class Resumable:
    """Batches of a loader, from where a checkpoint says: Lightning's resume is exact with it."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.position = 0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        start = self.position
        for index, batch in enumerate(self.loader):
            if index >= start:
                self.position = (index + 1) % len(self)
                yield batch

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.position = state["position"]


@pytest.fixture
def fit(make_loader: Any, make_trainer: Any, tmp_path: Path) -> Callable[..., Trainer]:
    """Train; keep a checkpoint of every epoch's end and every third step in ``folder``."""

    def run(module: Any, folder: str, *, resumable: bool = False, **options: Any) -> Trainer:
        ends = ModelCheckpoint(tmp_path / folder, "end{epoch}", save_top_k=-1)
        steps = ModelCheckpoint(
            tmp_path / folder, "step{step}", every_n_train_steps=3, save_top_k=-1
        )
        fitting = {k: options.pop(k) for k in ("ckpt_path", "weights_only") if k in options}
        trainer = make_trainer(
            **{"max_epochs": 4} | options, callbacks=[ends, steps], enable_checkpointing=True
        )
        train = make_loader(4 * BATCHES)
        val = make_loader(8, seed=1)
        trainer.fit(module, Resumable(train) if resumable else train, val, **fitting)
        return trainer

    return run


@pytest.fixture
def checkpoint_of(tmp_path: Path) -> Callable[[str, str], Path]:
    """Return where a fit kept a checkpoint; one of :data:`STOPS`."""

    def find(folder: str, stop: str) -> Path:
        # Inside the third epoch, after the sixth of all steps: one batch of the second epoch.
        name = {"end-of-epoch": "endepoch=0.ckpt", "inside-epoch": "stepstep=6.ckpt"}[stop]
        return tmp_path / folder / name

    return find


@pytest.fixture
def build(make_loader: Any, comparison: Any) -> Callable[..., Any]:
    """Build a model, or a search over one, always from the same random state."""

    def make(strategy: Any, **options: Any) -> Any:
        torch.manual_seed(0)
        model = Net()
        if strategy is None:
            return model
        if strategy == "beside":
            strategy = comparison.learns_beside
        if strategy not in ("random", UniformSampling):
            options["arch_dataloader"] = make_loader(12, seed=2, shuffle=True)
        return oneshot.search(model, strategy, seed=3, **options)

    return make


def state(trainer: Trainer) -> dict[str, Any]:
    """Return everything that a checkpoint would hold, as plain data."""
    checkpoint = trainer._checkpoint_connector.dump_checkpoint()
    checkpoint.pop("callbacks")  # paths and counters of the two keepers
    checkpoint.pop("loops")
    return checkpoint


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    return bool(a == b)


def users(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return what the bare module's checkpoint holds, too."""
    mine = dict(checkpoint)
    mine.pop("oneshot", None)
    mine["optimizer_states"] = mine["optimizer_states"][:1]
    mine["lr_schedulers"] = mine["lr_schedulers"][:1]
    return mine


# --- between bare and wrapped --------------------------------------------------------------------


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize(("saved", "resumed"), [("beside", None), (None, "beside")])
def test_checkpoint_resumes_across_the_wrapper_as_it_does_within_the_bare_module(
    saved: Any, resumed: Any, stop: str, build: Any, fit: Any, checkpoint_of: Any
) -> None:
    """Written by a search and resumed bare, or the other way: all that is the user's is equal."""
    fit(build(None), "bare", max_epochs=2)
    fit(build(saved), "saved", max_epochs=2)
    expected = fit(build(None), "bare-on", ckpt_path=checkpoint_of("bare", stop))

    trainer = fit(build(resumed), "on", ckpt_path=checkpoint_of("saved", stop))

    assert same(users(state(trainer)), users(state(expected)))
    assert trainer.global_step == expected.global_step


@pytest.mark.parametrize("stop", STOPS)
def test_resumed_search_trains_the_weights_as_the_resumed_bare_module(
    stop: str, build: Any, fit: Any, checkpoint_of: Any
) -> None:
    fit(build(None), "bare", max_epochs=2)
    fit(build("beside"), "wrapped", max_epochs=2)
    expected = fit(build(None), "bare-on", ckpt_path=checkpoint_of("bare", stop))

    trainer = fit(build("beside"), "on", ckpt_path=checkpoint_of("wrapped", stop))

    assert same(users(state(trainer)), users(state(expected)))
    assert trainer.global_step == expected.global_step


def test_checkpoint_of_a_trained_supernet_goes_on_in_the_bare_module(
    build: Any, fit: Any, checkpoint_of: Any
) -> None:
    """The bare module computes first candidates only; the others keep what the search taught."""
    trained = fit(build(Scheduled), "saved", max_epochs=1).lightning_module
    bare = build(None)

    trainer = fit(bare, "on", ckpt_path=checkpoint_of("saved", "end-of-epoch"), max_epochs=2)

    assert trainer.global_step == 2 * BATCHES
    for name, taught in trained.state_dict().items():
        # Weights without a gradient are left alone by SGD.
        assert torch.equal(bare.state_dict()[name], taught) == (".1." in name), name


def test_search_that_starts_from_a_bare_checkpoint_is_at_its_own_beginning(
    build: Any, fit: Any, checkpoint_of: Any
) -> None:
    fit(build(None), "bare", max_epochs=1)
    search = build(Scheduled)

    fit(search, "on", ckpt_path=checkpoint_of("bare", "end-of-epoch"), max_epochs=2)

    fresh = build(Scheduled)
    fit(fresh, "fresh", max_epochs=1)
    assert same(search.batches, fresh.batches)
    assert len(search.batches) == BATCHES


# --- resumed and uninterrupted -------------------------------------------------------------------


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        pytest.param("random", {}, id="random"),
        pytest.param(Scheduled, {}, id="darts"),
        pytest.param(Scheduled, {"warmup_epochs": 2}, id="darts-in-warm-up"),
        pytest.param(Scheduled, {"warmup_epochs": 1}, id="darts-at-the-end-of-warm-up"),
    ],
)
def test_resumed_search_cannot_be_told_from_an_uninterrupted_one(
    strategy: Any, options: Any, stop: str, build: Any, fit: Any, checkpoint_of: Any
) -> None:
    """Weights, architecture parameters, optimizers, schedulers, position of the loader, draws.

    Also inside an epoch, if the user's loader can be resumed there.
    """
    whole, resumed = build(strategy, **options), build(strategy, **options)
    expected = fit(whole, "whole", resumable=True)

    path = checkpoint_of("whole", stop)
    trainer = fit(resumed, "on", resumable=True, ckpt_path=path)

    assert trainer.global_step == expected.global_step == 4 * BATCHES
    assert same(state(trainer), state(expected))
    if strategy == "random":
        n = 4 * BATCHES - torch.load(path)["global_step"]
        assert resumed.model.paths == whole.model.paths[-n:]
        assert len({str(p) for p in whole.model.paths}) == 4
    else:
        assert len(resumed.batches) > 5
        assert same(resumed.batches, whole.batches[-len(resumed.batches) :])
        warm_up = options.get("warmup_epochs", 0)
        assert len(whole.batches) == (4 - warm_up) * BATCHES
        assert len(state(expected)["optimizer_states"]) == 3
        assert len(state(expected)["lr_schedulers"]) == 3


def test_architecture_parameters_are_saved_after_the_step_of_their_batch(
    build: Any, fit: Any, checkpoint_of: Any
) -> None:
    """Control: checkpoints of two moments differ in everything that a resume has to restore."""
    fit(build(Scheduled), "whole", resumable=True)

    end, inside = (torch.load(checkpoint_of("whole", stop)) for stop in STOPS)

    assert (end["oneshot"]["architecture_batches"], end["global_step"]) == (5, 5)
    assert (inside["oneshot"]["architecture_batches"], inside["global_step"]) == (6, 6)
    for key in ("first", "second"):
        assert not same(end["oneshot"]["decisions"][key], inside["oneshot"]["decisions"][key])
    for index in range(3):
        assert not same(end["optimizer_states"][index], inside["optimizer_states"][index])


def test_seed_of_the_checkpoint_wins_over_that_of_the_new_search(
    build: Any, fit: Any, checkpoint_of: Any, make_loader: Any
) -> None:
    """A resume goes on with the draws it was interrupted in."""
    whole = build("random")
    fit(whole, "whole")
    torch.manual_seed(0)
    other = oneshot.search(Net(), "random", seed=99)

    fit(other, "on", ckpt_path=checkpoint_of("whole", "end-of-epoch"))

    assert other.model.paths == whole.model.paths[BATCHES:]


# --- what is in the file -------------------------------------------------------------------------


class Opaque:
    """An object of the user's own, which a restricted load refuses."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque)

    __hash__ = object.__hash__


class SavesOpaque(Net):
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["mine"] = Opaque()


@pytest.mark.parametrize("strategy", ["random", Scheduled])
def test_checkpoint_is_read_and_resumed_without_running_code(
    strategy: Any, build: Any, fit: Any, checkpoint_of: Any
) -> None:
    fit(build(strategy), "saved", max_epochs=2)
    path = checkpoint_of("saved", "end-of-epoch")

    read = torch.load(path, weights_only=True)
    trainer = fit(build(strategy), "on", ckpt_path=path, weights_only=True)

    assert read["oneshot"]["decisions"].keys() == {"first", "second"}
    assert trainer.global_step == 4 * BATCHES


def test_object_of_the_users_own_is_refused_with_and_without_a_search(
    make_loader: Any, make_trainer: Any, tmp_path: Path
) -> None:
    """A restricted load is as far as the user's own content allows, no further and no less."""
    for name, module in {"bare": SavesOpaque(), "wrapped": oneshot.search(SavesOpaque())}.items():
        trainer = make_trainer(max_epochs=1)
        trainer.fit(module, make_loader(8), make_loader(8))
        trainer.save_checkpoint(tmp_path / name)

        with pytest.raises(pickle.UnpicklingError, match="Opaque"):
            torch.load(tmp_path / name, weights_only=True)
        assert torch.load(tmp_path / name, weights_only=False)["mine"] == Opaque()


def pickled_names(path: Path) -> set[str]:
    """Return what a pickle imports when it is read, without reading it."""
    with zipfile.ZipFile(path) as archive:
        (member,) = (n for n in archive.namelist() if n.endswith("data.pkl"))
        content = archive.read(member)
    found, strings = set(), []
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name == "GLOBAL":
            found.add(argument)
        elif opcode.name == "STACK_GLOBAL":
            found.add(" ".join(strings[-2:]))
        elif isinstance(argument, str):
            strings.append(argument)
    return found


@pytest.mark.parametrize("strategy", ["random", Scheduled, "beside"])
def test_nothing_of_ours_is_pickled(
    strategy: Any, build: Any, fit: Any, checkpoint_of: Any
) -> None:
    """A checkpoint can be read where oneshot is not installed."""
    fit(build(None), "bare", max_epochs=1)
    fit(build(strategy), "wrapped", max_epochs=1)
    bare, wrapped = (
        pickled_names(checkpoint_of(name, "end-of-epoch")) for name in ("bare", "wrapped")
    )

    assert "torch._utils _rebuild_tensor_v2" in wrapped
    assert not [name for name in wrapped if "oneshot" in name]
    assert {name.split(".")[0].split()[0] for name in wrapped - bare} <= {"torch", "collections"}


def test_scan_finds_a_class_that_is_pickled(
    make_loader: Any, make_trainer: Any, tmp_path: Path
) -> None:
    """Control."""
    trainer = make_trainer(max_epochs=1)
    trainer.fit(SavesOpaque(), make_loader(8), make_loader(8))
    trainer.save_checkpoint(tmp_path / "end.ckpt")

    assert any("Opaque" in name for name in pickled_names(tmp_path / "end.ckpt"))


def test_users_class_takes_a_search_checkpoint_strictly_and_restricted(
    build: Any, fit: Any, checkpoint_of: Any
) -> None:
    search = build(Scheduled)
    fit(search, "saved", max_epochs=1)

    model = Net.load_from_checkpoint(
        checkpoint_of("saved", "end-of-epoch"), strict=True, weights_only=True
    )

    assert same(model.state_dict(), search.model.state_dict())


def test_optimizer_states_of_the_user_come_first(build: Any, fit: Any, checkpoint_of: Any) -> None:
    """So a bare module, which has fewer, takes those that are its own."""
    optimizers: list[Optimizer] = fit(build(Scheduled), "saved", max_epochs=1).optimizers
    saved = torch.load(checkpoint_of("saved", "end-of-epoch"))["optimizer_states"]

    assert [s["param_groups"][0]["lr"] for s in saved] == pytest.approx(
        [o.param_groups[0]["lr"] for o in optimizers]
    )
    assert len(saved[0]["state"]) == len(list(Net().parameters()))


def test_resuming_with_other_plugins_warns_and_says_which(tmp_path: Path) -> None:
    class Small(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(LayerChoice([nn.Linear(2, 2), nn.Identity()], label="a"))

    registry = oneshot.Registry()
    written = oneshot.search(Small(), registry=registry)
    checkpoint: dict[str, Any] = {}
    written.on_save_checkpoint(checkpoint)
    oneshot.search(Small(), registry=registry).on_load_checkpoint(checkpoint)

    registry.register("cost", "carbon", lambda network: 1.0)
    changed = oneshot.search(Small(), registry=registry)
    with pytest.warns(RuntimeWarning, match="cost:carbon: not installed then, .* now"):
        changed.on_load_checkpoint(checkpoint)
