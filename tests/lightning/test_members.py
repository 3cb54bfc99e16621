"""What Lightning, torch or a user does to a search happens to the user's module."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.utilities.model_helpers import is_overridden
from pytorch_lightning.utilities.model_summary import ModelSummary
from torch import Tensor, nn
from torch.nn import Module

import oneshot_core as oneshot
from oneshot_core.lightning.forwarding import TREATMENT
from oneshot_core.space import LayerChoice
from oneshot_plugins.strategies.darts import Darts
from oneshot_plugins.strategies.uniform import UniformSampling


def named(*kinds: str) -> list[str]:
    return [n for n, (k, _) in TREATMENT.items() if k in kinds and hasattr(LightningModule, n)]


HOOKS = named("delegate")
EVENTS = ["on_fit_start", "on_fit_end", "on_save_checkpoint", "on_load_checkpoint"]
TYPES = (nn.Linear, LayerChoice)


class Net(LightningModule):
    """Has all steps; its one choice has one candidate."""

    def __init__(self, layer: Callable[[nn.Module], nn.Module] = lambda layer: layer) -> None:
        super().__init__()
        self.layer = layer(nn.Linear(6, 3))
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("scale", torch.ones(1))
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(x)) * self.scale * self.weight

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self.loss(batch))

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def choice(layer: nn.Module) -> LayerChoice:
    return LayerChoice({"only": layer})


def bare(cls: type[Net]) -> LightningModule:
    torch.manual_seed(0)
    return cls()


def wrapped(cls: type[Net]) -> LightningModule:
    torch.manual_seed(0)
    search = oneshot.search(cls(choice))
    search.needs_choices = False
    return search


def two_paths() -> Net:
    return Net(lambda layer: LayerChoice([layer, nn.Linear(6, 3)], label="layer"))


# --- hooks that are None ------------------------------------------------------------------------


def without(name: str, where: str) -> type[Net]:
    """Return a class whose hook ``name`` is None: on the class, or on its instances."""
    if where == "class":
        return type("Net", (Net,), {name: None})

    def init(self: Net, *args: Any) -> None:
        Net.__init__(self, *args)
        setattr(self, name, None)

    return type("Net", (Net,), {"__init__": init})


@pytest.mark.parametrize("where", ["class", "instance"])
@pytest.mark.parametrize("name", HOOKS)
def test_hook_is_none_where_the_users_is(name: str, where: str) -> None:
    search = oneshot.search(without(name, where)())

    assert getattr(search, name) is None
    assert not is_overridden(name, search)
    assert all(getattr(search, other) is not None for other in HOOKS if other != name)


@pytest.mark.parametrize("name", ["validation_step", "setup", "on_train_epoch_end"])
def test_hook_becomes_none_and_a_hook_again_with_the_users(name: str) -> None:
    search = oneshot.search(Net())

    setattr(search.model, name, None)
    assert getattr(search, name) is None
    delattr(search.model, name)
    assert callable(getattr(search, name))
    setattr(search, name, None)  # as a callback does
    assert getattr(search, name) is None
    delattr(search, name)
    assert callable(getattr(search, name))


def outcome(module: LightningModule, make_loader: Any, make_trainer: Any) -> list[Any]:
    """Return what comes of everything a Trainer can do with ``module``."""
    torch.manual_seed(0)
    found: list[Any] = []
    trainer = make_trainer(max_epochs=1)
    loader, val = make_loader(8), make_loader(4, seed=1)
    tasks: list[Callable[[], Any]] = [
        lambda: trainer.fit(module, loader, val),
        lambda: trainer.save_checkpoint(f"{trainer.default_root_dir}/end.ckpt"),
        lambda: trainer.validate(module, val, verbose=False),
        lambda: trainer.test(module, val, verbose=False),
        lambda: torch.cat(trainer.predict(module, val)).tolist(),
        lambda: trainer.fit(module),
        lambda: make_trainer(max_epochs=2).fit(
            module, loader, val, ckpt_path=f"{trainer.default_root_dir}/end.ckpt"
        ),
    ]
    for task in tasks:
        try:
            result = task()
        except Exception as error:
            result = type(error), str(error)
        found.append(result)
        found.append([tensor.tolist() for tensor in module.state_dict().values()])
    return found


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("name", HOOKS + EVENTS)
def test_a_hook_that_is_none_has_the_same_outcome_as_bare(
    name: str, make_loader: Any, make_trainer: Any
) -> None:
    """In fits, evaluations and predictions: the same results, or the same errors."""
    cls = without(name, "class")

    expected = outcome(bare(cls), make_loader, make_trainer)
    found = outcome(wrapped(cls), make_loader, make_trainer)

    # `type` of a module is the only name that cannot be the user's, and Lightning shows it.
    text = repr(found).replace("UniformSampling.train_dataloader", "Net.train_dataloader")
    assert text == repr(expected)


class SwitchesOff(Net):
    on_train_batch_start = None
    on_train_epoch_end = None
    on_before_optimizer_step = None
    setup = None


@pytest.mark.parametrize("drive", [{}, {"gradient_clip_val": 1e-9}])
def test_the_manual_driver_works_where_the_users_hooks_are_none(
    drive: dict[str, Any], make_loader: Any, make_trainer: Any
) -> None:
    """They are the places where it clips and steps schedulers."""
    search = oneshot.search(SwitchesOff(choice)).drive_manually(**drive)
    search.needs_choices = False
    before = search.model.weight.detach().clone()

    make_trainer(max_epochs=1).fit(search, make_loader(8), make_loader(4))

    moved = (search.model.weight - before).abs().max()
    assert (moved < 1e-8) == bool(drive)


# --- averaged models ----------------------------------------------------------------------------


def learning(make_loader: Any, model: Net | None = None) -> Any:
    return oneshot.search(
        two_paths() if model is None else model,
        "darts",
        arch_dataloader=make_loader(8),
        arc_learning_rate=0.3,
    )


def test_averaged_model_of_a_search_loads_what_it_saved() -> None:
    averaged = torch.optim.swa_utils.AveragedModel(oneshot.search(two_paths()))
    averaged.update_parameters(oneshot.search(two_paths()))
    fresh = torch.optim.swa_utils.AveragedModel(oneshot.search(two_paths()))

    keys = fresh.load_state_dict(averaged.state_dict())

    assert not keys.missing_keys
    assert not keys.unexpected_keys
    for name, tensor in averaged.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor), name
    assert averaged.state_dict().keys() == {"n_averaged"} | {
        f"module.{name}" for name in two_paths().state_dict()
    }


def test_what_is_missing_in_the_state_of_an_averaged_model_is_named_as_bare() -> None:
    messages = []
    for module in (two_paths(), oneshot.search(two_paths())):
        averaged = torch.optim.swa_utils.AveragedModel(module)
        state = averaged.state_dict()
        state["module.other"] = state.pop("module.norm.bias")
        state["module.weight"] = torch.ones(7)
        with pytest.raises(RuntimeError) as error:
            averaged.load_state_dict(state)
        messages.append(str(error.value))

    assert messages[0] == messages[1]


class Migrates(nn.Linear):
    """As detection models do: the names were others before version 2."""

    _version = 2

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        if args[0].get("version", 1) < 2:
            state_dict[f"{prefix}weight"] = state_dict.pop(f"{prefix}kernel")
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[no-untyped-call]


def test_versions_of_modules_are_found_inside_another_module() -> None:
    search = oneshot.search(Net(lambda _: Migrates(6, 3)))
    outer = nn.ModuleDict({"it": search})

    outer.load_state_dict(outer.state_dict())


@pytest.mark.parametrize("cls_name", ["WeightAveraging", "EMAWeightAveraging"])
def test_averaging_callbacks_resume_and_leave_the_architecture_alone(
    cls_name: str, make_loader: Any, make_trainer: Any
) -> None:
    callbacks = pytest.importorskip("pytorch_lightning.callbacks")
    if not hasattr(callbacks, cls_name):
        pytest.skip(f"this Lightning has no {cls_name}")
    search = learning(make_loader)
    trainer = make_trainer(max_epochs=2, callbacks=[getattr(callbacks, cls_name)()])
    path = f"{trainer.default_root_dir}/middle.ckpt"

    class Saves(Callback):
        """Before the callback of averaging copies its weights, at the end."""

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.save_checkpoint(path)

    trainer.callbacks.append(Saves())
    trainer.fit(search, make_loader(16), make_loader(8, seed=1))
    saved = torch.load(path, weights_only=False)
    loaded = Darts.load_from_checkpoint(path, model=two_paths(), arch_dataloader=make_loader(8))

    assert loaded.export_probs() == search.export_probs()
    assert loaded.export() == search.export()
    for name, tensor in search.state_dict().items():  # the averaged weights, in both
        assert torch.equal(tensor, saved["state_dict"][name]), name
    assert any(
        not torch.equal(saved["current_model_state"][name], saved["state_dict"][name])
        for name in saved["state_dict"]
    )

    again = learning(make_loader)
    resumed = make_trainer(max_epochs=3, callbacks=[getattr(callbacks, cls_name)()])
    resumed.fit(again, make_loader(16), make_loader(8, seed=1), ckpt_path=path)

    assert resumed.global_step == 12
    assert again.export_probs() != search.export_probs()


@pytest.mark.filterwarnings("ignore:Swapping scheduler")
def test_stochastic_weight_averaging_leaves_the_architecture_alone(
    make_loader: Any, make_trainer: Any
) -> None:
    from pytorch_lightning.callbacks import StochasticWeightAveraging

    search = learning(make_loader)
    seen: list[Any] = []

    class Looks(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            seen.append(pl_module.export_probs())

    swa = StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=1, annealing_epochs=1)
    make_trainer(max_epochs=4, callbacks=[swa, Looks()]).fit(
        search, make_loader(16), make_loader(4)
    )

    assert search.export_probs() == seen[-1]
    assert seen[0] != seen[-1]


# --- methods that a user may override -----------------------------------------------------------

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "to": (torch.float64,),
    "type": (torch.float64,),
    "_apply": (lambda t: t,),
    "train": (False,),
    "requires_grad_": (False,),
    "apply": (lambda module: None,),
    "get_submodule": ("layer",),
    "set_submodule": ("layer", nn.Linear(6, 3)),
    "get_parameter": ("weight",),
    "get_buffer": ("scale",),
    "load_state_dict": ({},),
    "log": ("name", 1.0),
    "log_dict": ({"name": 1.0},),
    "compile": (),
}
MOVES = named("move")


@pytest.mark.parametrize("name", named("call", "move"))
def test_an_override_of_the_users_is_called(name: str) -> None:
    calls: list[tuple[Any, ...]] = []
    answer = object()

    def override(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append((*args, *kwargs))
        return self if name in MOVES else answer

    search = oneshot.search(Net(choice))
    search.model.__class__ = type("Net", (Net,), {name: override})
    arguments = ARGUMENTS.get(name, ())
    if name in ("ipu", "xpu", "mtia", "cuda", "to_empty"):
        search._own = nn.Module()  # nothing to move: this machine may not have such a device
        assert search._own is not None
    kwargs = {"device": "cpu"} if name == "to_empty" else {}

    result = getattr(search, name)(*arguments, **kwargs)

    assert calls[-1] == (*arguments, *kwargs)
    assert result is (search if name in MOVES else answer)


@pytest.mark.parametrize("name", named("forward"))
def test_a_property_of_the_users_is_read(name: str) -> None:
    search = oneshot.search(Net())
    search.model.__class__ = type("Net", (Net,), {name: property(lambda self: "theirs")})

    assert getattr(search, name) == "theirs"


def test_an_example_input_on_the_class_is_found() -> None:
    """The property of Lightning would look for it elsewhere."""

    class Example(Net):
        example_input_array = torch.ones(2, 6)

    assert oneshot.search(Example()).example_input_array is Example.example_input_array


def public_methods() -> list[str]:
    return sorted(
        name
        for name, member in inspect.getmembers(nn.Module, callable)
        if not name.startswith("_") and name not in dir(object)
    )


@pytest.mark.parametrize("name", public_methods())
def test_every_public_method_of_a_torch_module_is_in_the_table(name: str) -> None:
    """A new torch that adds one fails here: decide what to do with it, and why."""
    assert name in TREATMENT


class Flagged(Net):
    """Knows by a flag of its own in which mode it is."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.factor = 1.0
        self.moved: list[str] = []

    def eval(self) -> Any:
        self.factor = 10.0
        return super().eval()

    def train(self, mode: bool = True) -> Any:
        if mode:
            self.factor = 1.0
        return super().train(mode)

    def to(self, *args: Any, **kwargs: Any) -> Any:
        self.moved.append("to")
        return super().to(*args, **kwargs)

    def cpu(self) -> Any:
        self.moved.append("cpu")
        return super().cpu()

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.moved.append("zero_grad")
        super().zero_grad(set_to_none)

    def loss(self, batch: Any) -> Tensor:
        return super().loss(batch) * self.factor


def test_overrides_run_when_a_trainer_trains_and_evaluates(
    make_loader: Any, make_trainer: Any
) -> None:
    seen = []
    for make in (bare, wrapped):
        module = make(Flagged)
        found = outcome(module, make_loader, make_trainer)
        seen.append((repr(found), module.moved, module.factor))

    assert seen[0] == seen[1]
    assert {"to", "cpu", "zero_grad"} <= set(seen[0][1])


class StaysInTraining(Net):
    def eval(self) -> Any:
        return self


def test_mode_is_that_of_the_users_module() -> None:
    search = oneshot.search(StaysInTraining())

    assert search.eval() is search
    assert search.training is search.model.training is True
    search.model.train(False)
    assert search.training is False
    assert oneshot.search(Net().eval()).training is False


def test_freezing_is_about_weights_and_moves_are_about_everything() -> None:
    search = oneshot.search(two_paths(), "darts", arch_dataloader=[0])
    alpha = search.decisions["layer"].alpha

    search.freeze()
    search.requires_grad_(False)
    assert not any(p.requires_grad for p in search.model.parameters())
    assert alpha.requires_grad
    search.to(torch.float64)
    assert search.decisions["layer"].alpha.dtype == search.dtype == torch.float64
    nn.ModuleList([search]).float()  # by torch, from outside
    assert search.decisions["layer"].alpha.dtype == torch.float32
    assert search.model.weight.dtype == torch.float32


# --- names, documentation, signature ------------------------------------------------------------


class Documented(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Train."""
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("name", ["training_step", "setup", "on_train_start", "optimizer_step"])
def test_a_hook_has_what_a_method_has(name: str) -> None:
    search = oneshot.search(Documented())
    hook, users = getattr(search, name), getattr(search.model, name)

    assert hook.__self__ is search.model
    assert hook.__func__ is users.__func__
    assert hook.__name__ == name
    assert hook.__qualname__ == users.__qualname__
    assert hook.__doc__ == users.__doc__
    assert hook.__code__ is users.__code__
    assert inspect.signature(hook) == inspect.signature(users)
    assert not hasattr(hook, "no_such_thing")


def test_errors_about_a_module_without_a_trainer_name_the_users_class() -> None:
    search = oneshot.search(Net())

    with pytest.raises(RuntimeError, match=r"^Net is not attached to a `Trainer`"):
        _ = search.trainer


# --- the tree of modules ------------------------------------------------------------------------


def names(pairs: Any) -> list[str]:
    return [name for name, _ in pairs]


def test_a_search_shows_the_tree_of_its_model() -> None:
    model, search = Net(), oneshot.search(Net())

    for kind in ("parameters", "buffers", "modules", "children"):
        assert names(getattr(search, f"named_{kind}")()) == names(getattr(model, f"named_{kind}")())
        for found, users in zip(
            getattr(search, kind)(), getattr(search.model, kind)(), strict=True
        ):
            assert found is users
    assert search.get_submodule("norm") is search.model.norm
    outer, bare_outer = nn.ModuleList([search]), nn.ModuleList([model])
    assert names(outer.named_modules()) == names(bare_outer.named_modules())
    assert names(outer.named_parameters()) == names(bare_outer.named_parameters())
    assert [layer.name for layer in summary(search)] == [layer.name for layer in summary(model)]


def summary(module: LightningModule) -> Any:
    return [type("Row", (), {"name": name}) for name in ModelSummary(module).layer_names]


class HasModel(Net):
    """Calls a submodule as many do."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(2, 2))


def test_a_submodule_that_is_called_model_keeps_its_name() -> None:
    search = oneshot.search(HasModel())
    users = search.model

    assert isinstance(users, HasModel)
    assert search.get_submodule("model.0") is users.model[0]
    assert search.state_dict().keys() == users.state_dict().keys()
    outer = nn.ModuleList([search])
    outer.load_state_dict({n: t + 1 for n, t in outer.state_dict().items()})
    assert torch.equal(users.weight, torch.full((3,), 2.0))


class WithController(UniformSampling):
    """A strategy with a module, a parameter and a buffer of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.controller = nn.Linear(2, 2)
        self.temperature = nn.Parameter(torch.ones(1))
        self.register_buffer("running", torch.zeros(1))


def test_what_a_strategy_registers_is_not_the_users() -> None:
    search = oneshot.search(two_paths(), WithController)

    assert search.state_dict().keys() == two_paths().state_dict().keys()
    assert names(search.model.named_modules()) == names(search.named_modules())
    assert not any(p is search.temperature for p in search.model.parameters())
    assert {"controller.weight", "temperature"} <= {n for n, _ in search.named_parameters()}
    search.double()
    assert search.controller.weight.dtype == torch.float64
    assert search.temperature.dtype == search.running.dtype == torch.float64
    search.controller = nn.Linear(3, 3)
    search.temperature = nn.Parameter(torch.zeros(2))
    assert "controller" not in search.model._modules
    assert search.temperature.shape == (2,)
    del search.temperature
    assert not hasattr(search, "temperature")


def test_what_is_registered_after_construction_is_the_users() -> None:
    search = oneshot.search(Net())

    search.register_buffer("more", torch.ones(1))
    search.register_parameter("free", nn.Parameter(torch.ones(1)))
    search.add_module("head", nn.Linear(2, 2))

    assert {"more", "free", "head.weight"} <= search.model.state_dict().keys()


def test_a_deleted_attribute_is_deleted_from_the_users_module() -> None:
    search = oneshot.search(Net())
    search.lr = 0.1
    del search.lr
    del search.norm

    assert not hasattr(search.model, "lr")
    assert not hasattr(search.model, "norm")
    with pytest.raises(AttributeError, match="nothing"):
        del search.nothing
    with pytest.raises(AttributeError):
        del search.training_step


def test_forward_hooks_run_where_the_users_steps_call_the_module(
    make_loader: Any, make_trainer: Any
) -> None:
    counts = []
    for make in (bare, wrapped):
        calls: list[Module] = []
        module = make(Net)
        module.register_forward_hook(lambda *args, calls=calls: calls.append(args[0]))
        make_trainer(max_epochs=1).fit(module, make_loader(8), make_loader(4))
        module(torch.ones(2, 6))
        counts.append(len(calls))

    assert counts[0] == counts[1] > 3


def test_attributes_of_the_users_are_listed() -> None:
    assert {"norm", "loss", "decisions", "scale"} <= set(dir(oneshot.search(two_paths())))


@pytest.mark.parametrize("how", ["copy", "pickle", "torch"])
def test_a_copy_shows_the_tree_of_its_own_model(how: str) -> None:
    search = oneshot.search(two_paths(), "darts", arch_dataloader=[0])
    if how == "copy":
        twin = copy.deepcopy(search)
    elif how == "pickle":
        twin = pickle.loads(pickle.dumps(oneshot.search(Net())))
    else:
        file = io.BytesIO()
        torch.save(oneshot.search(Net()), file)
        file.seek(0)
        twin = torch.load(file, weights_only=False)
    twin.extra = nn.Linear(1, 1)

    assert twin.model is not search.model
    assert twin._modules is twin.model._modules
    assert twin.get_submodule("extra") is twin.model.extra
    assert twin.training_step.__self__ is twin.model
    assert "extra" not in search._modules


# --- equality -----------------------------------------------------------------------------------


def test_a_search_equals_itself_only_and_sets_keep_both() -> None:
    """torch keeps modules in sets; one that equalled the other would be left out of them."""
    search = oneshot.search(Net())

    assert search == search
    assert search != search.model
    assert len({search, search.model}) == 2
    assert {search: 1, search.model: 2}[search] == 1
