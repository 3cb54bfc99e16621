"""Train the weights from inside ``training_step``: the driver that uses public hooks only.

The other drivers let Lightning's automatic optimization train the weights. This one, which a
user asks for with :meth:`drive_manually
<oneshot_core.BaseOneShotLightningModule.drive_manually>`, tells Lightning that
optimization is manual and does by itself what is then left out: accumulation, clipping after
unscaling, hooks around the step, schedulers with interval, frequency, monitor and plateau.

What cannot be the same under manual optimization, whoever does it: ``global_step`` is counted
inside ``optimizer_step`` instead of after it; schedulers that monitor a metric are stepped before
the next batch, or before checkpoint callbacks at the end of an epoch; loggers get a row for
every batch while gradients accumulate; progress is kept under another name in checkpoints, so
they do not resume an automatic fit. What would be wrong is refused: several optimizers, several
processes, weight averaging by callback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from oneshot_core.errors import StrategyError
from oneshot_core.lightning.kit import Driver, Host, device_of
from oneshot_core.optimizers import OptimizerPlan

UNSUPPORTED_CALLBACKS = ("StochasticWeightAveraging", "GradientAccumulationScheduler")


class ManualDriver(Driver):
    """Weight steps of one search by hand.

    Args:
        search: whose user's module is trained.
        accumulate_grad_batches: batches whose gradients are summed up for one step.
        gradient_clip_val: as of the Trainer, which does not take it under manual optimization.
        gradient_clip_algorithm: ``"norm"`` or ``"value"``.
    """

    remedy = "leave drive_manually() out; the default driver can do this"

    def __init__(
        self,
        search: Host,
        accumulate_grad_batches: int = 1,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        if accumulate_grad_batches < 1 or gradient_clip_algorithm not in (None, "norm", "value"):
            raise StrategyError(
                f"drive_manually got accumulate_grad_batches={accumulate_grad_batches}, "
                f"gradient_clip_algorithm={gradient_clip_algorithm!r}",
                expected="1 or more batches, and 'norm', 'value' or None",
                fix="correct them",
            )
        super().__init__(search)
        self.accumulate_grad_batches = accumulate_grad_batches
        self.gradient_clip_val = gradient_clip_val
        self.gradient_clip_algorithm = gradient_clip_algorithm
        self._plan = OptimizerPlan((), ())

    # --- set-up -----------------------------------------------------------------------------

    def prepare(self) -> None:
        """Tell the Trainer how many batches make a step, for whoever counts steps ahead."""
        if self.search.trainer.state.fn == "fit":
            self.search.trainer.accumulate_grad_batches = self.accumulate_grad_batches

    def configure_optimizers(self, config: Any) -> Any:
        """Return the user's configuration without what Lightning drops under manual optimization.

        Raises:
            OptimizerConfigError: it is none of Lightning's shapes.
        """
        if config is None:
            return None
        source = f"configure_optimizers of {type(self.search.model).__name__}"
        self._plan = OptimizerPlan.parse(config, source=source)
        kept = [
            {k: v for k, v in s.items() if k in ("scheduler", "interval", "frequency", "name")}
            for s in self._plan.schedulers
        ]
        return list(self._plan.optimizers), kept

    def start(self, scheduler_config: Callable[[Mapping[str, Any], str], Any]) -> None:
        """Check what the fit needs, and put back what the schedulers were configured with."""
        super().start(scheduler_config)
        self._check()
        source = f"configure_optimizers of {type(self.search.model).__name__}"
        configs = self.search.trainer.lr_scheduler_configs
        for index, options in enumerate(self._plan.schedulers):
            configs[index] = scheduler_config(options, source)

    def stop(self) -> None:
        """Give the Trainer back its own setting."""
        self.search.trainer.accumulate_grad_batches = 1

    def _problem(self) -> str | None:
        search, trainer = self.search, self.search.trainer
        name = type(search.model).__name__
        callbacks = [type(callback).__name__ for callback in trainer.callbacks]  # type: ignore[attr-defined]
        wrong = [c for c in callbacks if c in UNSUPPORTED_CALLBACKS]
        if not search.model.automatic_optimization:
            return f"{name} optimizes manually by itself"
        if len(self._plan.optimizers) > 1:
            return f"{name} has {len(self._plan.optimizers)} optimizers"
        if trainer.world_size > 1:
            return f"there are {trainer.world_size} processes"
        return f"the callback {wrong[0]} needs automatic optimization" if wrong else None

    def _check(self) -> None:
        what = self._problem()
        if what is None:
            return
        raise StrategyError(
            f"the manual driver cannot train: {what}",
            expected="automatic optimization, one optimizer, one process",
            fix=f"{self.remedy}",
        )

    # --- one batch --------------------------------------------------------------------------

    def train(self, training_step: Callable[[], Any], batch_idx: int) -> Any:
        search, trainer = self.search, self.search.trainer
        optimizer = search.model.optimizers()
        outputs: dict[str, Any] = {}

        def closure() -> Tensor | None:
            with self._inside("training_step"), trainer.precision_plugin.train_step_context():
                loss = self._read(training_step(), outputs)
            if optimizer and self._begins(batch_idx):
                self._zero_grad(batch_idx, optimizer)
            if loss is not None:
                search.manual_backward(loss)
            return loss

        with self._outside_autocast():
            if not optimizer or not self._is_step(batch_idx):
                closure()
            else:
                self._optimizer_step(batch_idx, optimizer, closure)
        return outputs or None

    def _begins(self, batch_idx: int) -> bool:
        """Say whether the gradients before this batch are to be forgotten."""
        return batch_idx % self.accumulate_grad_batches == 0

    def _optimizer_step(
        self, batch_idx: int, optimizer: Any, closure: Callable[[], Tensor | None]
    ) -> None:
        trainer = self.search.trainer
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            # A scaler that has seen no gradient cannot step; automatic optimization skips it, too.
            loss = closure()
            if loss is None:
                return
            evaluated = loss

            def closure() -> Tensor | None:
                return evaluated

        with self._inside("optimizer_step"):
            self.search.model.optimizer_step(trainer.current_epoch, batch_idx, optimizer, closure)

    def _zero_grad(self, batch_idx: int, optimizer: Any) -> None:
        search, trainer = self.search, self.search.trainer
        raw = optimizer.optimizer
        with self._inside("on_before_zero_grad"):
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                callback.on_before_zero_grad(trainer, search, raw)
            search.on_before_zero_grad(raw)
        with self._inside("optimizer_zero_grad"):
            search.model.optimizer_zero_grad(trainer.current_epoch, batch_idx, raw)

    def clip(self, optimizer: Any) -> None:
        """Clip gradients, which are unscaled by now."""
        with self._inside("configure_gradient_clipping"):
            self.search.model.configure_gradient_clipping(
                optimizer,
                gradient_clip_val=self.gradient_clip_val,
                gradient_clip_algorithm=self.gradient_clip_algorithm,
            )

    def _read(self, output: Any, outputs: dict[str, Any]) -> Tensor | None:
        """Return the loss to differentiate; note in ``outputs`` what callbacks get."""
        outputs.clear()
        if output is None:
            return None
        loss = output.get("loss") if isinstance(output, Mapping) else output
        if not isinstance(loss, Tensor):
            raise StrategyError(
                f"training_step of {type(self.search.model).__name__} returned "
                f"{type(output).__name__} without a loss",
                expected="a loss tensor, a dict with 'loss', or None",
                fix="return the loss",
            )
        loss = loss / self.accumulate_grad_batches
        outputs.update(output if isinstance(output, Mapping) else {})
        outputs["loss"] = loss.detach().clone()
        return loss

    # --- contexts ---------------------------------------------------------------------------

    @contextmanager
    def _outside_autocast(self) -> Iterator[None]:
        """Leave the autocast that surrounds a manual ``training_step``: backward is outside."""
        with torch.autocast(device_of(self.search.model).type, enabled=False):
            yield
