"""What trains weights, or steps schedulers, where Lightning's automatic optimization does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pytorch_lightning import Trainer

from ..errors import StrategyError
from .host import Host


def batch_index(trainer: Trainer) -> int:
    """Return the position of the batch of a fit that is running."""
    return int(trainer.fit_loop.epoch_loop.batch_idx)


class SchedulerSteps:
    """Steps the schedulers as Lightning does, which steps none under manual optimization.

    Here those of the architecture, beside a user who steps their own.

    Args:
        search: whose schedulers are stepped.
    """

    accumulate_grad_batches = 1

    def __init__(self, search: Host) -> None:
        self.search = search
        self._due: int | None = None
        """Batch after which schedulers that monitor a metric wait for the validation."""
        self._advanced: tuple[int, int] | None = None
        """Epoch and batch after which schedulers were stepped last."""
        self._ended: int | None = None
        """Epoch at whose end schedulers were stepped last."""

    def configs(self) -> list[Any]:
        """Return what is stepped, as Lightning keeps it."""
        configs = self.search.trainer.lr_scheduler_configs
        return [c for c in configs if self.search.is_architecture_scheduler(c.scheduler)]

    def advance_lr_schedulers(self, batch_idx: int | None = None) -> None:
        """Step the schedulers that are due after this batch, if that was not done.

        Those that monitor a metric wait for the validation.

        Args:
            batch_idx: what frequencies are counted by. None is the position of the batch.
        """
        if batch_idx is None:
            batch_idx = batch_index(self.search.trainer)
        self._step_schedulers(batch_idx, self._is_step(batch_idx))

    def _step_schedulers(self, batch_idx: int, stepped: bool) -> None:
        trainer = self.search.trainer
        if self._advanced == (trainer.current_epoch, batch_idx):
            return
        self._advanced = (trainer.current_epoch, batch_idx)
        if stepped:
            self._update("step", batch_idx, plateau=False)
            self._due = batch_idx
        if trainer.is_last_batch and self._ended != trainer.current_epoch:
            self._ended = trainer.current_epoch
            self._update("epoch", trainer.current_epoch, plateau=False)

    def after_validation(self) -> None:
        """Step the schedulers that monitor a metric and are due after a step."""
        if self._due is not None:
            due, self._due = self._due, None
            self._update("step", due, plateau=True)

    def after_epoch(self) -> None:
        """Step the schedulers that monitor a metric and are due after an epoch."""
        self.after_validation()
        self._update("epoch", self.search.trainer.current_epoch, plateau=True)

    def _update(self, interval: str, index: int, *, plateau: bool) -> None:
        trainer = self.search.trainer
        for config in self.configs():
            if config.reduce_on_plateau is not plateau or config.interval != interval:
                continue
            if (index + 1) % config.frequency:
                continue
            metric = trainer.callback_metrics.get(config.monitor or "") if plateau else None
            if plateau and metric is None:
                if not config.strict:
                    continue
                raise StrategyError(
                    f"ReduceLROnPlateau waits for the metric {config.monitor!r}, which was not "
                    "logged",
                    expected=f"one of {sorted(trainer.callback_metrics)}",
                    fix="log it, or set strict=False in the scheduler's dict",
                )
            with self._inside("lr_scheduler_step"):
                self.search.lr_scheduler_step(config.scheduler, metric)

    def _is_step(self, batch_idx: int) -> bool:
        return (batch_idx + 1) % self.accumulate_grad_batches == 0 or bool(
            self.search.trainer.is_last_batch
        )

    @contextmanager
    def _inside(self, hook: str) -> Iterator[None]:
        """Let ``self.log`` know in which hook it is called."""
        before = self.search._current_fx_name
        self.search._current_fx_name = hook
        try:
            yield
        finally:
            self.search._current_fx_name = before


class Driver(SchedulerSteps):
    """Trains the weights of one search by hand, in a fit whose optimization is manual.

    Plugins supply drivers, as components of the kind ``search_method``: ``drive_manually`` is what
    :meth:`drive_manually <oneshot_core.BaseOneShotLightningModule.drive_manually>` calls, and
    ``drive_own_step`` is for strategies with a ``training_step`` of their own.

    Attributes:
        settled: whether the search says that its optimization is manual.
        begins_with_loss: whether the strategy's ``training_step`` runs the batch (:meth:`run`) and
            gives its losses to :meth:`advance`; else :meth:`train` gets each step of the user.
    """

    settled = True
    begins_with_loss = False

    def configs(self) -> list[Any]:
        """Return all schedulers: the user's are not stepped by the user."""
        return list(self.search.trainer.lr_scheduler_configs)

    def before_checks(self) -> None:
        """Do what has to be done before the Trainer looks at its settings and the search."""

    def prepare(self) -> None:
        """Do what has to be done when the user's module is set up."""

    def configure_optimizers(self, config: Any) -> Any:
        """Return what Lightning gets of the user's configuration.

        Raises:
            OptimizerConfigError: it is none of Lightning's shapes.
        """
        return config

    def start(self, scheduler_config: Callable[[Mapping[str, Any], str], Any]) -> None:
        """Begin a fit.

        Raises:
            StrategyError: this driver cannot do what the fit needs.
            OptimizerConfigError: a scheduler is configured wrongly.
        """
        self._advanced = self._due = self._ended = None

    def stop(self) -> None:
        """End a fit."""

    def train(self, training_step: Callable[[], Any], batch_idx: int) -> Any:
        """Do with one batch what Lightning's automatic optimization does.

        Args:
            training_step: the user's, with its arguments.
            batch_idx: as which batch it counts.

        Returns:
            What ``on_train_batch_end`` gets: a dict with the loss, or None.
        """
        raise NotImplementedError

    def clip(self, optimizer: Any) -> None:
        """Clip gradients, which are unscaled by now."""

    def run(self, step: Callable[[], Any]) -> Any:
        """Run the strategy's step, then step the schedulers if it leaves that to others."""
        raise NotImplementedError

    def advance(
        self,
        loss: Any,
        batch_idx: int | None,
        gradient_clip_val: float | None,
        gradient_clip_algorithm: str | None,
    ) -> None:
        """Train the weights on ``loss``; a step is due where Lightning would do one.

        Raises:
            StrategyError: it is called without a loss, or outside of a batch.
        """
        raise NotImplementedError
