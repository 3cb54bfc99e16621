"""How the wrapper passes Lightning's calls on to the user's module.

Lightning asks the module it was given: is this hook overridden, what is its signature, set
this private slot, read that attribute. The wrapper answers each as the user's module would:

- hooks are small objects whose ``__wrapped__`` is the user's bound method, which is where
  Lightning's ``is_overridden`` and signature checks look; None where the user's is None;
- slots and properties that the Trainer reads or writes on the module are data descriptors;
- methods call the user's, whose overrides therefore run;
- everything else falls through ``__getattr__`` / ``__setattr__`` of the wrapper.

:data:`TREATMENT` names every overridable member of a LightningModule with what is done about it
and why. A test reads the installed Lightning and fails for one that is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, cast

from pytorch_lightning import LightningModule

from ..optimizers import normalised
from ..space.running_network import running
from .drive import Driven, note_path
from .drivers import batch_index
from .host import is_defined_by_strategy
from .plugin_hooks import optimizer_shapes
from .trees import tree_of

Kind = Literal["delegate", "call", "move", "register", "forward", "own", "inherit"]
"""What is done about a member.

``delegate``: a hook, passed on with what the search adds around it. ``call``: a method that calls
the user's. ``move``: as well, and then does the same to what belongs to the search. ``register``:
where an attribute of that name would be set. ``forward``: a property of the user's module. ``own``:
the search's. ``inherit``: Lightning's, which does the same on both.
"""


_TABLE = """
delegate: the user's hook, called by the loops exactly as on a bare module
    training_step validation_step test_step predict_step
    configure_optimizers configure_callbacks configure_gradient_clipping
    optimizer_step optimizer_zero_grad backward lr_scheduler_step
    on_before_zero_grad on_before_backward on_after_backward on_before_optimizer_step
    on_train_start on_train_end on_train_epoch_start on_train_epoch_end
    on_train_batch_start on_train_batch_end
    on_validation_start on_validation_end on_validation_epoch_start on_validation_epoch_end
    on_validation_batch_start on_validation_batch_end
    on_validation_model_eval on_validation_model_train on_validation_model_zero_grad
    on_test_start on_test_end on_test_epoch_start on_test_epoch_end
    on_test_batch_start on_test_batch_end on_test_model_eval on_test_model_train
    on_predict_start on_predict_end on_predict_epoch_start on_predict_epoch_end
    on_predict_batch_start on_predict_batch_end on_predict_model_eval
    prepare_data setup teardown configure_model configure_sharded_model
    train_dataloader val_dataloader test_dataloader predict_dataloader
    on_before_batch_transfer transfer_batch_to_device on_after_batch_transfer
own: the search is set up and taken down around the user's hook
    on_fit_start on_fit_end
own: a search may be driven by hand
    automatic_optimization
own: the search's state is one extra entry beside the user's
    on_save_checkpoint on_load_checkpoint
own: a class-level forward: DDP assigns to it and restores it
    forward
own: a wrapper cannot be built from a file alone
    load_from_checkpoint
own: optimizers may hold parameters of the search, and a sharded checkpoint names them
    named_parameters
inherit: asks whether the search optimizes manually, which a driver may do for a user who does not
    manual_backward
inherit: for the user's own constructor; the wrapper has no hyperparameters
    save_hyperparameters remove_ignored_hparams
move: an override of the user's runs; the architecture parameters follow
    to cpu cuda ipu xpu mtia double half float bfloat16 type to_empty share_memory _apply
    train eval
call: acts on the weights, not on the architecture; an override of the user's runs
    zero_grad requires_grad_ freeze unfreeze apply compile
call: the user's module shows its submodules, weights and buffers, under its own names
    modules named_modules children named_children parameters buffers named_buffers
    get_submodule set_submodule get_parameter get_buffer extra_repr
call: keys, tensors and messages are those of the user's module; also inside another module
    state_dict load_state_dict _save_to_state_dict _load_from_state_dict
inherit: torch asks the class whether they are overridden; it meets the user's in its state_dict
    get_extra_state set_extra_state
call: the user's module is what is called inside its own steps
    register_forward_hook register_forward_pre_hook register_backward_hook
    register_full_backward_hook register_full_backward_pre_hook
    register_state_dict_pre_hook register_state_dict_post_hook
    register_load_state_dict_pre_hook register_load_state_dict_post_hook
call: metric names are those of the user's module, without a prefix
    log log_dict
call: the strategy's are hidden from the user
    optimizers lr_schedulers
call: the user's module is exported
    to_onnx to_torchscript to_tensorrt
call: acts on the trainer, the same for both modules; an override of the user's runs
    clip_gradients toggle_optimizer untoggle_optimizer toggled_optimizer all_gather print
register: a strategy's constructor registers with the search, everybody else with the user's module
    register_buffer register_parameter register_module add_module
forward: read from and written to the user's module, which may define it by itself
    trainer fabric current_epoch global_step global_rank local_rank logger loggers on_gpu
    device dtype device_mesh example_input_array strict_loading hparams hparams_initial
"""
"""A line without indentation says how members are treated, and why; the lines below name them."""


def _read(table: str) -> Iterator[tuple[str, tuple[Kind, str]]]:
    for line in filter(None, table.splitlines()):
        if line[0] != " ":
            kind, reason = cast("tuple[Kind, str]", tuple(line.split(": ", 1)))
        else:
            yield from ((name, (kind, reason)) for name in line.split())


TREATMENT: Final = dict(_read(_TABLE))

PASSED_ON: Final = tuple(
    name
    for name, (kind, _) in TREATMENT.items()
    if kind == "delegate" and not name.startswith("on_") and hasattr(LightningModule, name)
)
"""Hooks that do something, and so are the strategy's alone where it defines them: what it reaches
with ``super()`` is the user's."""

FORWARDED_SLOTS: Final = (
    "prepare_data_per_node",
    "allow_zero_length_dataloader_with_multiple_devices",
    "_automatic_optimization",
    "_compiler_ctx",
    "_current_fx_name",
    "_device",
    "_device_mesh",
    "_dtype",
    "_example_input_array",
    "_fabric",
    "_fabric_optimizers",
    "_hparams",
    "_hparams_initial",
    "_hparams_name",
    "_log_hyperparams",
    "_metric_attributes",
    "_param_requires_grad_state",
    "_strict_loading",
    "_trainer",
    "training",
)
"""Attributes that Lightning reads or writes on the module it was given."""


class ForwardedSlot:
    """A data descriptor that keeps one attribute on the user's module."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, wrapper: object, owner: type) -> Any:
        if wrapper is None:
            return self
        return getattr(wrapper.__dict__["model"], self.name)

    def __set__(self, wrapper: object, value: object) -> None:
        # LightningModule.__init__ writes the slots before there is a user's module.
        model = wrapper.__dict__.get("model")
        if model is None:
            return
        if self.name in model.__dict__:  # written 40 times a batch: no need to ask nn.Module
            model.__dict__[self.name] = value
        else:
            setattr(model, self.name, value)


class InnerHook:
    """One Lightning hook of the wrapper: the user's, with what the search adds around it.

    A strategy may define a hook that reports an event (``on_*``), too: it runs first, and the
    user's gives the answer. Names, documentation and everything else that a method has are those
    of the user's.
    """

    def __init_subclass__(cls) -> None:
        cls.__doc__ = InnerHook.__dict__["__doc__"]

    def __init__(self, wrapper: Driven, name: str) -> None:
        self.wrapper = wrapper
        self.name = name
        self.shared = is_defined_by_strategy(type(wrapper), name)

    @property
    def __wrapped__(self) -> Any:
        """What Lightning inspects of the hook: it looks behind one decorator, not two."""
        if self.shared:
            return getattr(type(self.wrapper), self.name).__get__(self.wrapper)
        hook = getattr(self.wrapper.model, self.name)
        return getattr(hook, "__wrapped__", hook)

    @property
    def acts(self) -> bool:
        """Whether the search does something here even if the user's hook is None."""
        return self.shared

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.shared:
            getattr(type(self.wrapper), self.name)(self.wrapper, *args, **kwargs)
        users = getattr(self.wrapper.model, self.name)
        return None if users is None else users(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(self.wrapper.model, self.name), name)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.wrapper, self.name)


# A class cannot say in its body that the documentation of its instances is found when asked for.
InnerHook.__doc__ = property(lambda self: getattr(self.wrapper.model, self.name).__doc__)  # type: ignore[assignment]


def looks_like(before: object, value: Any) -> Any:
    """Return ``value``, which takes the place of ``before``, as Lightning is to see it.

    ``torch.compile`` of a search puts a function around each of its steps; whether the user wrote
    that step is then still to be seen behind one decorator.
    """
    if isinstance(before, InnerHook) and hasattr(value, "__wrapped__"):
        value.__wrapped__ = before.__wrapped__
    return value


class MutatingHook(InnerHook):
    """``setup`` or ``configure_model``: layers made there are mutated as well."""

    @property
    def acts(self) -> bool:
        return self.wrapper._drive.manual is not None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = super().__call__(*args, **kwargs)
        self.wrapper.mutate()
        driver = self.wrapper._drive.manual
        if driver is not None:
            driver.prepare()
        return result


class FirstHook(InnerHook):
    """``configure_callbacks``, the first hook of every run: where what is mixed is refused."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        trainer: Any = self.wrapper.trainer
        if self.wrapper._drive.manual is not None:
            self.wrapper._drive.manual.before_checks()
        data = trainer.datamodule
        tree_of(self.wrapper).require(data, f"the datamodule {type(data).__name__}")
        return super().__call__(*args, **kwargs)


class TrainingStepHook(InnerHook):
    """``training_step``: where a user's manual optimization is surrounded by the strategy's."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        def user() -> Any:
            with running:
                return InnerHook.__call__(self, *args, **kwargs)

        if self.wrapper.automatic_optimization:
            return self.wrapper.run_training_step(user)
        drive = self.wrapper._drive
        driver = drive.manual
        if driver is None:
            return drive.around(user, args)
        index = batch_index(self.wrapper.trainer)
        return drive.around(
            lambda: driver.train(lambda: self.wrapper.run_training_step(user), index), args
        )


class OwnStepHook(InnerHook):
    """``training_step`` of a strategy that defines it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.wrapper._drive.own_step(self.__wrapped__, args, kwargs)


class EvaluationStepHook(InnerHook):
    """``validation_step`` and its like: the strategy may choose what is evaluated."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        batch_idx = args[1] if len(args) > 1 else kwargs.get("batch_idx", 0)
        self.wrapper.prepare_evaluation(self.name.removesuffix("_step"), batch_idx)
        try:
            with running:
                return super().__call__(*args, **kwargs)
        except Exception as error:
            note_path(self.wrapper, error)
            raise


class SchedulerStepHook(InnerHook):
    """``lr_scheduler_step``: the user's hook never sees the architecture's schedulers."""

    @property
    def acts(self) -> bool:
        return bool(self.wrapper.architecture_optimizers())

    def __call__(self, scheduler: Any, metric: Any) -> Any:
        if self.wrapper.is_architecture_scheduler(scheduler):
            return scheduler.step() if metric is None else scheduler.step(metric)
        return super().__call__(scheduler, metric)


class OptimizersHook(InnerHook):
    """``configure_optimizers``: a plugin may know a shape that Lightning does not.

    What is one of the six shapes, or known to nobody, is passed on as it is. A search that is
    driven by hand has to keep some of it to itself.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        config = super().__call__(*args, **kwargs)
        normalise = optimizer_shapes(self.wrapper.registry)
        if normalise is not None:
            config = normalised(config, normalise)
        driver = self.wrapper._drive.manual
        return config if driver is None else driver.configure_optimizers(config)


class ClippingHook(InnerHook):
    """``on_before_optimizer_step``: where a search that is driven by hand clips gradients."""

    @property
    def acts(self) -> bool:
        return self.shared or self.wrapper._drive.manual is not None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = super().__call__(*args, **kwargs)
        if self.wrapper._drive.manual is not None:
            self.wrapper._drive.manual.clip(args[0])
        return result


class EpochEndHook(InnerHook):
    """``on_train_epoch_end``: the last place for schedulers that monitor a metric."""

    @property
    def acts(self) -> bool:
        return self.shared or self.wrapper._drive.schedulers is not None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = super().__call__(*args, **kwargs)
        if self.wrapper._drive.schedulers is not None:
            self.wrapper._drive.schedulers.after_epoch()
        return result


class BatchStartHook(InnerHook):
    """``on_train_batch_start``: where the batch begins if the loop could not be entered."""

    @property
    def acts(self) -> bool:
        return self.shared or self.wrapper._drive.searches_in_hooks

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.wrapper._drive.schedulers is not None:
            self.wrapper._drive.schedulers.after_validation()
        answer = super().__call__(*args, **kwargs)
        if answer != -1:
            self.wrapper._drive.before(*args)
        return answer


_SPECIAL: Final[dict[str, type[InnerHook]]] = {
    "configure_callbacks": FirstHook,
    "configure_model": MutatingHook,
    "configure_optimizers": OptimizersHook,
    "lr_scheduler_step": SchedulerStepHook,
    "on_before_optimizer_step": ClippingHook,
    "on_train_batch_start": BatchStartHook,
    "on_train_epoch_end": EpochEndHook,
    "predict_step": EvaluationStepHook,
    "setup": MutatingHook,
    "test_step": EvaluationStepHook,
    "training_step": TrainingStepHook,
    "validation_step": EvaluationStepHook,
}


def install_hooks(wrapper: Driven) -> None:
    """Give ``wrapper`` one instance attribute for every delegated hook it does not define.

    Instance attributes win over methods. A hook that a strategy defines is therefore never
    hidden: if it is one that reports an event (``on_*``), both run; any other is left to it.
    """
    for name, (kind, _) in TREATMENT.items():
        if kind != "delegate" or not hasattr(type(wrapper), name):
            continue
        if name.startswith("on_") or not is_defined_by_strategy(type(wrapper), name):
            wrapper.__dict__[name] = new_hook(wrapper, name)
        elif name == "training_step":
            wrapper.__dict__[name] = OwnStepHook(wrapper, name)


def new_hook(wrapper: Driven, name: str) -> InnerHook:
    """Return what stands on ``wrapper`` for a hook of the user's."""
    return _SPECIAL.get(name, InnerHook)(wrapper, name)
