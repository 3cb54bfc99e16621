"""Read what ``configure_optimizers`` returned, and add the architecture's optimizers to it.

Lightning accepts six shapes. They are told apart here in the order in which Lightning 2.6 does
(``pytorch_lightning.core.optimizer._configure_optimizers``); nothing is imported from it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeGuard, cast, runtime_checkable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from .errors import OptimizerConfigError

OptimizerConfig: TypeAlias = Any
"""One of Lightning's six shapes, or anything that a user returned instead."""

Normalise: TypeAlias = Callable[[object], OptimizerConfig]
"""Returns what a configuration outside the six shapes means as one of them; None if unknown."""


@dataclass(frozen=True, slots=True)
class OptimizerPlan:
    """An optimizer configuration in the only form the rest of the code reads.

    Attributes:
        optimizers: in the order in which they were returned.
        schedulers: one dict for each, in order, with at least ``"scheduler"`` and whatever
            else was configured (``interval``, ``frequency``, ``monitor``, ``strict``, ...).
            The dicts are copies; change them freely.
    """

    optimizers: tuple[Optimizer, ...]
    schedulers: tuple[dict[str, Any], ...]

    @classmethod
    def parse(
        cls, config: OptimizerConfig, *, source: str, normalise: Normalise | None = None
    ) -> OptimizerPlan:
        """Read any of the six shapes. ``config`` and its dicts are not changed.

        ====  ===============================================  =================================
        no.   returned                                         meaning
        ====  ===============================================  =================================
        0     ``None``                                         no optimizer
        1     ``opt``                                          one
        2     ``[opt, ...], [sched, ...]`` (or one ``sched``)  two lists; the first is a *list*
        3     ``{"optimizer", "lr_scheduler", "monitor"}``     ``monitor`` serves a bare plateau
        4     ``[{...}, ...]``                                 dicts as in 3, without ``monitor``
        5     ``[opt, ...]``                                   several
        ====  ===============================================  =================================

        Outer lists may be tuples. A scheduler is one, or a dict that holds it as
        ``"scheduler"``; all other keys are kept as they are, known to Lightning or not.

        Args:
            config: what was returned.
            source: who returned it, for messages: ``"configure_optimizers of MyModule"``.
            normalise: asked about what is none of the six shapes; never about one of them.

        Raises:
            OptimizerConfigError: it is none of the six shapes, holds something that is no
                scheduler, or a scheduler of an optimizer that was not returned.

        Warns:
            RuntimeWarning: a dict beside an optimizer has keys that Lightning ignores.
        """
        if normalise is not None:
            config = normalised(config, normalise)
        optimizers, schedulers = _dispatch(config, source)
        _warn_of_ignored_keys(config, source)
        plan = cls(tuple(optimizers), tuple(_read_scheduler(s, source) for s in schedulers))
        for entry in plan.schedulers:
            _require_attached(entry["scheduler"], plan.optimizers, source)
        return plan


def normalised(config: OptimizerConfig, normalise: Normalise) -> OptimizerConfig:
    """Return ``config`` itself if it is one of the six shapes or nobody knows what it means."""
    if is_known_shape(config):
        return config
    answer = normalise(config)
    return config if answer is None else answer


def is_known_shape(config: OptimizerConfig) -> bool:
    """Say whether something is one of Lightning's six shapes, as :meth:`OptimizerPlan.parse` does.

    Only optimizers are looked at: a wrong scheduler is an error in a known shape.
    """
    try:
        _dispatch(config, "")
    except OptimizerConfigError:
        return False
    return True


def merge_optimizers(
    user_config: OptimizerConfig,
    arch_config: OptimizerConfig,
    *,
    normalise: Normalise | None = None,
) -> OptimizerConfig:
    """Add the architecture's optimizers to the user's, in a shape that Lightning accepts.

    ================================  =============================================
    architecture's                    merged
    ================================  =============================================
    nothing                           ``user_config``, the same object
    optimizers; no scheduler at all   ``[user..., architecture...]``
    optimizers; schedulers somewhere  ``([user..., architecture...], [dict, ...])``
    ================================  =============================================

    The user's come first, so that their positions, and with them the optimizer states in a
    checkpoint, are those of the bare model. Two lists are the only shape that holds any number
    of optimizers and schedulers, therefore the target whenever there is a scheduler; every
    scheduler is then a dict with all that was configured, an outer ``monitor`` included.
    Neither argument is changed, and no list or dict of theirs is in a merged result. The
    architecture's optimizers get the attribute ``is_arch_optimizer``, which is true.

    Args:
        user_config: what the user's ``configure_optimizers`` returned.
        arch_config: what ``configure_architecture_optimizers`` returned, of any of the same
            shapes. ``None``, ``[]`` and ``([], [])`` are nothing.
        normalise: see :meth:`OptimizerPlan.parse`.

    Raises:
        OptimizerConfigError: see :meth:`OptimizerPlan.parse`; also if both hold the same
            optimizer. With no architecture optimizers ``user_config`` is not looked at:
            Lightning has its own word on it.
    """
    arch = OptimizerPlan.parse(
        arch_config, source="configure_architecture_optimizers", normalise=normalise
    )
    if not arch.optimizers:
        return user_config
    user = OptimizerPlan.parse(user_config, source="configure_optimizers", normalise=normalise)
    if any(mine is theirs for mine in arch.optimizers for theirs in user.optimizers):
        raise OptimizerConfigError(
            "configure_optimizers and configure_architecture_optimizers returned the same "
            "optimizer",
            expected="different ones; it would be stepped twice for each batch",
            fix="build a new optimizer over the architecture parameters alone",
        )
    for optimizer in arch.optimizers:
        optimizer.is_arch_optimizer = True  # type: ignore[attr-defined]
    optimizers = [*user.optimizers, *arch.optimizers]
    schedulers = [*user.schedulers, *arch.schedulers]
    return (optimizers, schedulers) if schedulers else optimizers


@runtime_checkable
class _Optimizable(Protocol):
    """What Lightning takes for an optimizer; DeepSpeed's and others are no ``Optimizer``."""

    param_groups: Any
    defaults: Any
    state: Any

    def step(self, *args: Any, **kwargs: Any) -> Any: ...
    def state_dict(self) -> Any: ...
    def load_state_dict(self, state_dict: Any) -> Any: ...


@runtime_checkable
class _Scheduler(Protocol):
    """What Lightning takes for a scheduler, given a ``lr_scheduler_step`` that can drive it."""

    optimizer: Any

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state_dict: Any) -> Any: ...


def _dispatch(config: OptimizerConfig, source: str) -> tuple[Sequence[Optimizer], Sequence[object]]:
    """Tell the shapes apart; return the optimizers, and the schedulers as they were given."""
    if config is None:
        return (), ()
    if _is_optimizer(config):
        return (config,), ()
    if isinstance(config, dict):
        optimizer, schedulers = _read_dict(config, source)
        return (optimizer,), [_with_monitor(s, config.get("monitor")) for s in schedulers]
    if isinstance(config, (list, tuple)):
        if len(config) == 2 and isinstance(config[0], list) and _are_optimizers(config[0]):
            optimizers, schedulers = config
            return optimizers, schedulers if isinstance(schedulers, list) else [schedulers]
        if all(isinstance(entry, dict) for entry in config):
            pairs = [_read_dict(entry, source) for entry in config]
            return [optimizer for optimizer, _ in pairs], [s for _, below in pairs for s in below]
        if _are_optimizers(config):
            return config, ()
    raise OptimizerConfigError(
        f"{source} returned {_show(config)}",
        expected="None, an optimizer, a list of optimizers, two lists (optimizers and\n    "
        "schedulers), {'optimizer': ..., 'lr_scheduler': ...}, or a list of such dicts",
        fix="return an optimizer, or {'optimizer': ..., 'lr_scheduler': ...}",
    )


def _read_dict(config: Mapping[str, Any], source: str) -> tuple[Optimizer, list[object]]:
    """Return the optimizer of a dict, and its scheduler if it has one."""
    optimizer = config.get("optimizer")
    if not _is_optimizer(optimizer):
        raise OptimizerConfigError(
            f"{source} returned a dict whose 'optimizer' is {_show(optimizer)}: {_show(config)}",
            expected="{'optimizer': ..., 'lr_scheduler': ..., 'monitor': ...}, the last two if "
            "wanted",
            fix="put the optimizer under the key 'optimizer'",
        )
    return optimizer, [config["lr_scheduler"]] if "lr_scheduler" in config else []


def _warn_of_ignored_keys(config: OptimizerConfig, source: str) -> None:
    for entry in config if isinstance(config, (list, tuple)) else [config]:
        if not isinstance(entry, dict) or "optimizer" not in entry:
            continue
        ignored = [key for key in entry if key not in ("optimizer", "lr_scheduler", "monitor")]
        if ignored:
            warnings.warn(
                f"{source} returned a dict with the keys {ignored}, which Lightning ignores",
                RuntimeWarning,
                stacklevel=3,
            )


def _with_monitor(scheduler: object, monitor: object) -> object:
    """Put an outer ``monitor`` beside its scheduler: there it survives in every shape.

    As in Lightning it serves a bare ``ReduceLROnPlateau`` only; a scheduler's dict has its own.
    """
    if monitor is None or not isinstance(scheduler, ReduceLROnPlateau):
        return scheduler
    return {"scheduler": scheduler, "monitor": monitor}


def _read_scheduler(entry: object, source: str) -> dict[str, Any]:
    """Return the scheduler's dict, a new one."""
    result = dict(entry) if isinstance(entry, dict) else {"scheduler": entry}
    if isinstance(result.get("scheduler"), _Scheduler):
        return result
    raise OptimizerConfigError(
        f"{source} returned {_show(entry)} as a learning rate scheduler",
        expected="a scheduler, or a dict that holds one under 'scheduler'",
        fix="return {'scheduler': ..., 'interval': 'step'}, or leave the entry out",
    )


def _require_attached(scheduler: _Scheduler, optimizers: Iterable[Optimizer], source: str) -> None:
    if not any(scheduler.optimizer is optimizer for optimizer in optimizers):
        raise OptimizerConfigError(
            f"{source} returned the scheduler {_show(scheduler)} of an optimizer that it did not "
            f"return: {_show(scheduler.optimizer)}",
            expected="the optimizer of every scheduler among the returned ones",
            fix="return that optimizer too, or build the scheduler on one that is returned",
        )


def _is_optimizer(value: object) -> TypeGuard[Optimizer]:
    return isinstance(value, (Optimizer, _Optimizable)) and not isinstance(value, type)


def _are_optimizers(values: Iterable[object]) -> TypeGuard[Sequence[Optimizer]]:
    return all(_is_optimizer(value) for value in values)


def _show(value: object) -> str:
    """Write a configuration by its types: optimizers have very long representations."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        inner = ", ".join(_show(item) for item in cast(Sequence[object], value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    if value is None or isinstance(value, (str, int, float, bool)):
        return repr(value)
    return value.__name__ if isinstance(value, type) else type(value).__name__
