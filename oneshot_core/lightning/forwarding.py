"""How the wrapper passes Lightning's calls on to the user's module.

Lightning asks the module it was given: is this hook overridden, what is its signature, set
this private slot, read that attribute. The wrapper answers each as the user's module would:

- hooks are instance attributes whose ``__wrapped__`` is the user's bound method, which is
  where Lightning's ``is_overridden`` and signature checks look;
- slots that the Trainer reads or writes on the module are data descriptors;
- everything else falls through ``__getattr__`` / ``__setattr__`` of the wrapper.

:data:`TREATMENT` names every overridable member of a LightningModule once, with what is done
about it and why. A test reads the installed Lightning and fails for one that is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from ..optimizers import normalised
from ..space.running import running
from .plugin_hooks import optimizer_shapes
from .trees import tree_of

if TYPE_CHECKING:
    from .facade import ModuleFacade
    from .module import BaseOneShotLightningModule

Kind = Literal["delegate", "own", "inherit"]


def _each(kind: Kind, reason: str, names: str) -> dict[str, tuple[Kind, str]]:
    return {name: (kind, reason) for name in names.split()}


TREATMENT: Final[dict[str, tuple[Kind, str]]] = {
    **_each(
        "delegate",
        "the user's hook, called by the loops exactly as on a bare module",
        """
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
        """,
    ),
    **_each(
        "own",
        "the search is set up and taken down around the user's hook",
        "on_fit_start on_fit_end",
    ),
    **_each("own", "a search may be driven by hand", "automatic_optimization"),
    **_each("own", "the strategy's are hidden from the user", "optimizers lr_schedulers"),
    **_each(
        "own",
        "the search's state is one extra entry beside the user's",
        "on_save_checkpoint on_load_checkpoint",
    ),
    **_each("own", "a class-level forward: DDP assigns to it and restores it", "forward"),
    **_each(
        "own",
        "metric names must be those of the user's module, without a prefix",
        "log log_dict",
    ),
    **_each("own", "a wrapper cannot be built from a file alone", "load_from_checkpoint"),
    **_each(
        "own",
        "the user's module is what is exported",
        "to_onnx to_torchscript to_tensorrt",
    ),
    **_each(
        "inherit",
        "acts on self.trainer or on all parameters, the same for both modules",
        """
        manual_backward clip_gradients
        toggle_optimizer untoggle_optimizer toggled_optimizer
        all_gather print freeze unfreeze
        trainer fabric current_epoch global_step global_rank local_rank logger loggers on_gpu
        device dtype device_mesh to cuda cpu type float double half
        """,
    ),
    **_each(
        "inherit",
        "reads a slot that is forwarded to the user's module",
        """
        example_input_array strict_loading hparams hparams_initial
        """,
    ),
    **_each(
        "inherit",
        "for the user's own constructor; the wrapper has no hyperparameters",
        "save_hyperparameters remove_ignored_hparams",
    ),
}

FORWARDED_SLOTS: Final = (
    "prepare_data_per_node",
    "allow_zero_length_dataloader_with_multiple_devices",
    "_automatic_optimization",
    "_compiler_ctx",
    "_current_fx_name",
    "_device_mesh",
    "_example_input_array",
    "_hparams",
    "_hparams_initial",
    "_hparams_name",
    "_log_hyperparams",
    "_metric_attributes",
    "_param_requires_grad_state",
    "_strict_loading",
)
"""Attributes that Lightning reads or writes on the module it was given."""


class ForwardedSlot:
    """A data descriptor that keeps one attribute on the user's module."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, wrapper: ModuleFacade | None, owner: type) -> Any:
        if wrapper is None:
            return self
        return getattr(wrapper.__dict__["_modules"]["model"], self.name)

    def __set__(self, wrapper: ModuleFacade, value: object) -> None:
        # LightningModule.__init__ writes the slots before there is a user's module.
        model = wrapper.__dict__["_modules"].get("model")
        if model is None:
            return
        if self.name in model.__dict__:  # written 40 times a batch: no need to ask nn.Module
            model.__dict__[self.name] = value
        else:
            setattr(model, self.name, value)


class InnerHook:
    """One Lightning hook of the wrapper: the user's, with what the search adds around it.

    A strategy may define a hook that reports an event (``on_*``), too: it runs first, and the
    user's gives the answer.
    """

    def __init__(self, wrapper: BaseOneShotLightningModule, name: str) -> None:
        self.wrapper = wrapper
        self.name = name
        self.shared = _is_defined_by_strategy(type(wrapper), name)

    @property
    def __wrapped__(self) -> Any:
        """What Lightning inspects of the hook: it looks behind one decorator, not two."""
        if self.shared:
            return getattr(type(self.wrapper), self.name).__get__(self.wrapper)
        hook = getattr(self.wrapper.model, self.name)
        return getattr(hook, "__wrapped__", hook)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.shared:
            getattr(type(self.wrapper), self.name)(self.wrapper, *args, **kwargs)
        # Not self.wrapper.model: nn.Module finds submodules last, and this runs 30 times a batch.
        return getattr(self.wrapper.__dict__["_modules"]["model"], self.name)(*args, **kwargs)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.wrapper, self.name)


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

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = super().__call__(*args, **kwargs)
        self.wrapper.mutate()
        if self.wrapper.manual_driver is not None:
            self.wrapper.manual_driver.prepare()
        return result


class FirstHook(InnerHook):
    """``configure_callbacks``, the first hook of every run: where what is mixed is refused."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        trainer: Any = self.wrapper.trainer
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
        driver = self.wrapper.manual_driver
        if driver is None:
            return self.wrapper.run_around(user, args)
        return self.wrapper.run_around(
            lambda: driver.step(lambda: self.wrapper.run_training_step(user)), args
        )


class EvaluationStepHook(InnerHook):
    """``validation_step`` and its like: the strategy may choose what is evaluated."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        batch_idx = args[1] if len(args) > 1 else kwargs.get("batch_idx", 0)
        self.wrapper.prepare_evaluation(self.name.removesuffix("_step"), batch_idx)
        try:
            with running:
                return super().__call__(*args, **kwargs)
        except Exception as error:
            self.wrapper.note_path(error)
            raise


class SchedulerStepHook(InnerHook):
    """``lr_scheduler_step``: the user's hook never sees the architecture's schedulers."""

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
        driver = self.wrapper.manual_driver
        return config if driver is None else driver.configure_optimizers(config)


class ClippingHook(InnerHook):
    """``on_before_optimizer_step``: where a search that is driven by hand clips gradients."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = super().__call__(*args, **kwargs)
        if self.wrapper.manual_driver is not None:
            self.wrapper.manual_driver.clip(args[0])
        return result


class EpochEndHook(InnerHook):
    """``on_train_epoch_end``: the last place for schedulers that monitor a metric."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = super().__call__(*args, **kwargs)
        if self.wrapper.scheduler_steps is not None:
            self.wrapper.scheduler_steps.after_epoch()
        return result


class BatchStartHook(InnerHook):
    """``on_train_batch_start``: where the batch begins if the loop could not be entered."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.wrapper.scheduler_steps is not None:
            self.wrapper.scheduler_steps.after_validation()
        answer = super().__call__(*args, **kwargs)
        if answer != -1:
            self.wrapper.run_before(*args)
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


def install_hooks(wrapper: BaseOneShotLightningModule) -> None:
    """Give ``wrapper`` one instance attribute for every delegated hook it does not define.

    Instance attributes win over methods. A hook that a strategy defines is therefore never
    hidden: if it is one that reports an event (``on_*``), both run; any other is left to it.
    """
    for name, (kind, _) in TREATMENT.items():
        if kind != "delegate" or not hasattr(type(wrapper), name):
            continue
        if name.startswith("on_") or not _is_defined_by_strategy(type(wrapper), name):
            wrapper.__dict__[name] = _SPECIAL.get(name, InnerHook)(wrapper, name)


def _is_defined_by_strategy(cls: type, name: str) -> bool:
    owner = next(base for base in cls.__mro__ if name in base.__dict__)
    return owner.__module__.partition(".")[0] not in ("pytorch_lightning", "lightning")
