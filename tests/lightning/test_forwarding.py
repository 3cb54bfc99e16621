"""Every member of a LightningModule is treated on purpose, and as the table says."""

from __future__ import annotations

import functools
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning
import torch
from lightning_fabric.utilities.device_dtype_mixin import _DeviceDtypeModuleMixin
from pytorch_lightning import LightningModule
from pytorch_lightning.core.hooks import CheckpointHooks, DataHooks, ModelHooks
from pytorch_lightning.core.mixins import HyperparametersMixin
from pytorch_lightning.utilities.model_helpers import is_overridden
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core.lightning.architecture_step import listed
from oneshot_core.lightning.facade import ModuleFacade
from oneshot_core.lightning.forwarding import FORWARDED_SLOTS, TREATMENT
from oneshot_core.space import LayerChoice
from oneshot_plugins.strategies.uniform import UniformSampling

DELEGATED = [name for name, (kind, _) in TREATMENT.items() if kind == "delegate"]
OWN = [name for name, (kind, _) in TREATMENT.items() if kind == "own"]


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = LayerChoice([nn.Linear(6, 3), nn.Linear(6, 3)], label="layer")
        self.calls: list[str] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def overridable() -> list[str]:
    """Return what a subclass of the installed LightningModule may override."""
    classes = [
        LightningModule,
        ModelHooks,
        DataHooks,
        CheckpointHooks,
        HyperparametersMixin,
        _DeviceDtypeModuleMixin,
    ]
    found = {
        name
        for cls in classes
        for name, member in vars(cls).items()
        if not name.startswith("_")
        and (callable(member) or isinstance(member, (property, classmethod)))
    }
    return sorted(found)


@pytest.mark.parametrize("name", overridable())
def test_every_member_of_the_installed_lightning_is_in_the_table(name: str) -> None:
    """A new release that adds one fails here: decide what to do with it, and why."""
    assert name in TREATMENT


@pytest.mark.skipif(
    not hasattr(LightningModule, "to_tensorrt"),
    reason="this Lightning is older than the table; what came later is not in it",
)
def test_the_table_names_nothing_that_never_was() -> None:
    """Old names may stay for older releases; only these are gone from the newest."""
    gone = {name for name in TREATMENT if not hasattr(LightningModule, name)}

    assert gone <= {"configure_sharded_model"}


def test_every_treatment_has_a_reason() -> None:
    assert all(reason for _, reason in TREATMENT.values())


def every_hook(cls: type[LightningModule]) -> type[LightningModule]:
    """Return ``cls`` with every delegated hook overridden."""

    def body(name: str) -> Any:
        return lambda self, *args, **kwargs: (name, args, kwargs)

    hooks = {name: body(name) for name in DELEGATED if hasattr(LightningModule, name)}
    return type("EveryHook", (cls,), hooks)


@pytest.mark.parametrize("name", [name for name in DELEGATED if hasattr(LightningModule, name)])
def test_hook_is_overridden_exactly_where_the_users_is(name: str) -> None:
    for model in (Net(), every_hook(Net)()):
        search = oneshot.search(model)

        assert is_overridden(name, search) == is_overridden(name, search.model)


@pytest.mark.parametrize("name", [name for name in DELEGATED if hasattr(LightningModule, name)])
def test_delegated_hook_returns_what_the_users_returns(name: str, make_trainer: Any) -> None:
    search = oneshot.search(every_hook(Net)())
    search._drive.inside_loop = True  # else on_train_batch_start would begin a batch
    search.trainer = make_trainer()

    assert getattr(search, name)(1, 2) == (name, (1, 2), {})


def decorator(hook: Any) -> Any:
    @functools.wraps(hook)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        return hook(*args, **kwargs)

    return decorated


class Plain(Net):
    def training_step(self, batch: Any) -> Tensor:
        return super().training_step(batch, 0)


class Decorated(Net):
    @decorator
    def training_step(self, batch: Any) -> Tensor:
        return super().training_step(batch, 0)


class DecoratedTwice(Net):
    @decorator
    @decorator
    def training_step(self, batch: Any) -> Tensor:
        return super().training_step(batch, 0)


class Iterating(Net):
    def training_step(self, dataloader_iter: Any) -> Tensor:
        return super().training_step(next(dataloader_iter)[0], 0)


@pytest.mark.parametrize("cls", [Net, Plain, Decorated, DecoratedTwice, Iterating])
def test_lightning_reads_the_same_signature(cls: type[Net]) -> None:
    """Also where it is hidden behind decorators: Lightning looks behind the first of them."""
    search = oneshot.search(cls())

    for options in (
        {"param": "batch_idx", "min_args": 2},
        {"param": "dataloader_iter", "explicit": True},
    ):
        assert is_param_in_hook_signature(
            search.training_step, **options
        ) == is_param_in_hook_signature(search.model.training_step, **options)


class Observing(UniformSampling):
    """A strategy with hooks of its own."""

    def on_train_start(self) -> None:
        self.model.calls.append("strategy on_train_start")

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> str:
        self.model.calls.append("strategy on_train_batch_end")
        return "ignored"

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.model.calls.append("strategy on_fit_start")

    def configure_callbacks(self) -> list[Any]:
        return [*self.model.configure_callbacks(), Marker()]


class Marker(pytorch_lightning.Callback):
    pass


class Observed(Net):
    def on_train_start(self) -> None:
        self.calls.append("user on_train_start")

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.calls.append("user on_train_batch_end")

    def on_fit_start(self) -> None:
        self.calls.append("user on_fit_start")

    def on_fit_end(self) -> None:
        self.calls.append("user on_fit_end")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if batch_idx == 1 else None


def test_event_hooks_of_a_strategy_run_together_with_the_users(
    make_loader: Any, make_trainer: Any
) -> None:
    search = oneshot.search(Observed(), Observing)
    trainer = make_trainer(max_epochs=1)

    trainer.fit(search, make_loader(12))

    assert search.model.calls == [
        "user on_fit_start",
        "strategy on_fit_start",
        "strategy on_train_start",
        "user on_train_start",
        "strategy on_train_batch_end",
        "user on_train_batch_end",
        "user on_fit_end",
    ]
    assert any(isinstance(callback, Marker) for callback in trainer.callbacks)


class Deciding(UniformSampling):
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.model.calls.append("strategy")


def test_a_strategys_event_hook_does_not_hide_the_users_answer(
    make_loader: Any, make_trainer: Any
) -> None:
    search = oneshot.search(Observed(), Deciding)
    trainer = make_trainer(max_epochs=1)

    trainer.fit(search, make_loader(12))

    assert trainer.global_step == 1  # the user's -1 ended the epoch


@pytest.mark.parametrize("name", OWN)
def test_wrapper_owned_member_is_not_hidden_by_an_instance_attribute(name: str) -> None:
    """An instance attribute would win over the method silently."""
    search = oneshot.search(Net())

    assert name not in vars(search)
    assert getattr(type(search), name) is not getattr(LightningModule, name, None)


def test_wrapper_owned_hooks_really_run(
    make_loader: Any, make_trainer: Any, tmp_path: Path
) -> None:
    """No comparison with a bare run can see this: the bare run has none of it."""
    search = oneshot.search(Net(), "darts", arch_dataloader=make_loader(8))
    trainer = make_trainer(max_epochs=1)
    trainer.fit(search, make_loader(8))
    trainer.save_checkpoint(tmp_path / "end.ckpt")

    assert len(listed(search.architecture_optimizers())) == 1  # on_fit_start
    assert search.train_dataloader_of_fit is not None  # on_fit_end
    checkpoint = torch.load(tmp_path / "end.ckpt", weights_only=False)
    assert "layer" in checkpoint["oneshot"]["decisions"]  # on_save_checkpoint
    alpha = search.decisions["layer"].alpha.detach().clone()
    again = oneshot.search(Net(), "darts", arch_dataloader=make_loader(8), seed=5)
    assert not torch.equal(again.decisions["layer"].alpha, alpha)
    make_trainer(max_epochs=1).fit(again, make_loader(8), ckpt_path=tmp_path / "end.ckpt")
    assert torch.equal(again.decisions["layer"].alpha, alpha)  # on_load_checkpoint


@pytest.mark.parametrize("slot", FORWARDED_SLOTS)
def test_slot_is_read_from_and_written_to_the_users_module(slot: str) -> None:
    search = oneshot.search(Net())
    value = object()

    assert getattr(search, slot, None) is getattr(search.model, slot, None)
    setattr(search, slot, value)

    assert getattr(search.model, slot) is value
    assert getattr(search, slot) is value
    assert slot not in vars(search)


def private_slots_in_lightning() -> set[str]:
    """Return the private attributes that Lightning's source uses on a module it was given."""
    pattern = re.compile(r"\b(?:lightning_module|pl_module|ref_model|model)\.(_[a-z]\w*)")
    root = Path(pytorch_lightning.__file__).parent
    return {
        name for path in root.rglob("*.py") for name in pattern.findall(path.read_text("utf-8"))
    }


def test_every_private_slot_that_lightning_uses_is_accounted_for() -> None:
    """A new release that keeps more state on the module fails here."""
    methods = {name for name in private_slots_in_lightning() if callable(vars_of(name))}
    known = {
        "_trainer",  # set by the setter of `trainer`, on both modules
        "_orig_mod",  # of a compiled module, which is another object
        "_get_ddp_logging_data",  # of DistributedDataParallel
        "_register_sharded_tensor_state_dict_hooks_if_available",
    }

    assert private_slots_in_lightning() - methods - known <= set(FORWARDED_SLOTS)


def vars_of(name: str) -> Any:
    return inspect.getattr_static(LightningModule, name, None)


def test_private_state_of_a_new_module_is_forwarded_or_kept_on_purpose() -> None:
    """Everything that ``LightningModule.__init__`` writes, except what both modules need."""
    written = set(vars(LightningModule())) - set(vars(nn.Module()))
    on_both = {
        "_trainer",
        "_fabric",
        "_fabric_optimizers",
        "_device",
        "_dtype",
        "_jit_is_scripting",
    }

    assert written - on_both <= set(FORWARDED_SLOTS)


def test_unknown_attribute_is_read_from_the_users_module() -> None:
    search = oneshot.search(Net())

    assert search.layer is search.model.layer
    assert search.calls is search.model.calls


def test_unknown_attribute_is_written_to_the_users_module() -> None:
    """As by callbacks and by the tuner: ``pl_module.lr = ...``."""
    search = oneshot.search(Net())

    search.lr = 0.3
    search.extra = nn.Linear(2, 2)

    assert search.model.lr == 0.3
    assert search.model.extra is search.extra
    assert "lr" not in vars(search)


def test_own_attribute_is_written_to_the_search() -> None:
    search = oneshot.search(Net())

    search.seed = 11

    assert search.seed == 11
    assert not hasattr(search.model, "seed")


def test_missing_attribute_is_reported_with_its_name() -> None:
    search = oneshot.search(Net())

    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = search.no_such_thing


def test_values_logged_through_the_search_have_the_users_names(
    make_loader: Any, make_trainer: Any
) -> None:
    class Logs(pytorch_lightning.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            pl_module.log("from_callback", 1.0)
            pl_module.log_dict({"and_more": 2.0})

    trainer = make_trainer(max_epochs=1, callbacks=[Logs()])
    trainer.fit(oneshot.search(Net()), make_loader(8))

    assert trainer.callback_metrics.keys() == {"loss", "from_callback", "and_more"}


def test_state_has_the_users_keys() -> None:
    search = oneshot.search(Net(), "darts", arch_dataloader=[0])

    assert (
        search.state_dict().keys() == search.model.state_dict().keys() == Net().state_dict().keys()
    )
    search.load_state_dict(Net().state_dict())


def test_architecture_parameters_are_on_the_search_and_not_in_the_users_module() -> None:
    search = oneshot.search(Net(), "darts", arch_dataloader=[0])
    alpha = search.decisions["layer"].alpha

    assert all(alpha is not p for p in search.model.parameters())
    assert any(alpha is p for _, p in search.named_parameters())
    assert all(alpha is not p for p in search.parameters())  # what is averaged, or frozen


def test_forward_stays_a_method_that_can_be_assigned_and_restored() -> None:
    """DDP redirects ``forward`` by assigning to the instance, and deletes that again."""
    search = oneshot.search(Net())
    search.model.forward = lambda x: x + 1

    assert search(1) == 2
    search.forward = lambda x: "redirected"
    assert search(1) == "redirected"
    assert search.model(1) == 2
    del search.forward
    assert search(1) == 2


def test_hyperparameters_are_the_users() -> None:
    class Saved(Net):
        def __init__(self, width: int = 3) -> None:
            super().__init__()
            self.save_hyperparameters()

    search = oneshot.search(Saved(5))

    assert dict(search.hparams) == {"width": 5}
    assert dict(search.hparams_initial) == {"width": 5}


def test_device_and_dtype_moves_reach_the_users_module() -> None:
    search = oneshot.search(Net(), "darts", arch_dataloader=[0]).double()

    assert search.dtype == search.model.dtype == torch.float64
    assert search.decisions["layer"].alpha.dtype == torch.float64
    assert all(p.dtype == torch.float64 for p in search.model.parameters())


def test_lightning_finds_no_hook_in_the_search_that_the_user_does_not_have() -> None:
    """``is_overridden`` must not find a validation_step where the user has none."""
    search = oneshot.search(Net())
    for name in DELEGATED:
        if hasattr(LightningModule, name):
            assert is_overridden(name, search) == is_overridden(name, search.model)
            if name.startswith("on_"):
                assert getattr(ModuleFacade, name) is getattr(LightningModule, name)


def test_what_a_strategy_reaches_with_super_is_the_users_hook() -> None:
    """Lightning's own did nothing, in silence: a strategy's setup took the user's away."""

    class Noted(Net):
        def setup(self, stage: str) -> None:
            self.calls.append(f"setup {stage}")

        def validation_step(self, batch: Any, batch_idx: int) -> str:
            return "the user's"

    class Overrides(UniformSampling):
        def setup(self, stage: str) -> None:
            super().setup(stage)

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return super().validation_step(batch, batch_idx)

    search = oneshot.search(Noted(), Overrides)
    search.setup("fit")
    assert search.model.calls == ["setup fit"]
    assert search.validation_step(None, 0) == "the user's"


def test_onnx_and_torchscript_export_the_users_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    search = oneshot.search(Net())
    for name in ("to_onnx", "to_torchscript", "to_tensorrt"):
        export = lambda self, *args: (self, *args)  # noqa: E731
        monkeypatch.setattr(type(search.model), name, export, raising=False)  # none in older ones

        assert getattr(search, name)("file") == (search.model, "file")
