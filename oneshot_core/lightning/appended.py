"""The architecture's optimizers and schedulers, appended to those of the user in a Trainer.

Appended when a fit starts: after Lightning has checked and set up what the user configured, before
states are restored from a checkpoint. Lightning then saves, restores and steps them; the user's
``self.optimizers()`` and ``self.lr_schedulers()`` do not show them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities.types import LRSchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..errors import OptimizerConfigError
from ..optimizers import Normalise, OptimizerPlan
from ..space.patch import Patch
from .trees import Tree, tree_of

HIDDEN_IN = ("optimizers", "lr_schedulers")
"""Methods of the user's module that show the user's only."""


class Appended:
    """What a strategy has appended to the optimizers of the running or last fit."""

    def __init__(self) -> None:
        self.optimizers: list[Optimizer] = []
        self.schedulers: list[LRSchedulerConfig] = []

    def append(
        self, config: Any, trainer: Trainer, source: str, normalise: Normalise | None = None
    ) -> None:
        """Append optimizers and schedulers, given in any shape that Lightning knows.

        Each of the optimizers gets the attribute ``is_arch_optimizer``, which is true.

        Args:
            config: what the strategy returned.
            trainer: whose lists grow.
            source: who returned it, for messages.
            normalise: asked about any other shape.

        Raises:
            OptimizerConfigError: ``config`` has no known shape, or a scheduler is wrong.
        """
        plan = OptimizerPlan.parse(config, source=source, normalise=normalise)
        tree = tree_of(trainer)
        self.optimizers = list(plan.optimizers)
        for optimizer in self.optimizers:
            optimizer.is_arch_optimizer = True  # type: ignore[attr-defined]
        self.schedulers = [scheduler_config(tree, options, source) for options in plan.schedulers]
        if self.optimizers:
            trainer.optimizers = [*trainer.optimizers, *self.optimizers]
        trainer.lr_scheduler_configs.extend(self.schedulers)

    def holds_optimizer(self, optimizer: object) -> bool:
        """Say whether ``optimizer``, or what Lightning wrapped in it, is one of these."""
        raw = getattr(optimizer, "optimizer", optimizer)
        return any(own is raw for own in self.optimizers)

    def holds_scheduler(self, scheduler: object) -> bool:
        """Say whether ``scheduler`` is one of these."""
        return any(config.scheduler is scheduler for config in self.schedulers)

    def hide_from(self, model: LightningModule) -> None:
        """Let the methods :data:`HIDDEN_IN` of ``model`` leave these out."""
        for name in HIDDEN_IN:
            model.__dict__[name] = _UsersOnly(model, self, name)

    def unhide(self, model: LightningModule) -> None:
        """Take back :meth:`hide_from`."""
        for name in HIDDEN_IN:
            model.__dict__.pop(name, None)

    def __getstate__(self) -> dict[str, Any]:
        return {"optimizers": [], "schedulers": []}  # of a fit; a copy is in none


class _UsersOnly(Patch):
    """``optimizers`` or ``lr_schedulers`` of the user's module, without the strategy's."""

    def __init__(self, model: LightningModule, appended: Appended, name: str) -> None:
        self.model = model
        self.appended = appended
        self.name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        found = getattr(type(self.model), self.name)(self.model, *args, **kwargs)
        if not isinstance(found, list):
            return None if self._is_ours(found) else found
        users = [item for item in found if not self._is_ours(item)]
        if len(users) == 1:
            return users[0]
        return users if users or self.name == "optimizers" else None

    def _is_ours(self, item: object) -> bool:
        return self.appended.holds_optimizer(item) or self.appended.holds_scheduler(item)


def scheduler_config(tree: Tree, options: Mapping[str, Any], source: str) -> LRSchedulerConfig:
    """Return a scheduler's dict as Lightning keeps it.

    Raises:
        OptimizerConfigError: it has an unknown key, or a plateau scheduler has no metric.
    """
    unknown = options.keys() - set(LRSchedulerConfig.__dataclass_fields__)
    if unknown:
        raise OptimizerConfigError(
            f"{source} returned a scheduler with the keys {sorted(unknown)}",
            expected=f"{sorted(LRSchedulerConfig.__dataclass_fields__)}",
            fix="remove or rename them",
        )
    config = tree.own(LRSchedulerConfig)(**options)
    plateau = isinstance(config.scheduler, ReduceLROnPlateau)
    config.reduce_on_plateau = config.reduce_on_plateau or plateau
    if config.reduce_on_plateau and config.monitor is None:
        raise OptimizerConfigError(
            f"{source} returned a ReduceLROnPlateau without a metric",
            expected="{'scheduler': ..., 'monitor': 'val_loss'}",
            fix="name the metric",
        )
    return config
