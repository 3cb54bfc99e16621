"""A strategy with a ``training_step`` of its own, as the reference system's have.

Such a strategy runs the user's ``training_step`` where and as often as it likes, trains the
architecture with its own optimizers, and says with ``advance_optimization(loss, batch_idx)`` which
loss trains the weights. It is driven by :class:`OwnStep`, a manual driver that begins with the loss
instead of the batch. A strategy that defines :meth:`search_step
<oneshot_core.BaseOneShotLightningModule.search_step>` as well, or says ``automatic_optimization =
True``, leaves the weights to Lightning, which trains them on what its ``training_step`` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from oneshot_core.errors import StrategyError
from oneshot_core.lightning.kit import Host, batch_index

from .manual import ManualDriver


class OwnStep(ManualDriver):
    """Weight steps that a strategy asks for from its own ``training_step``.

    Accumulation and clipping are those of the Trainer. Gradients that the strategy's own backward
    passes leave in the weights never take part in a step.

    Args:
        search: whose user's module is trained.
    """

    begins_with_loss = True
    remedy = "write the strategy as search_step(batch, batch_idx); the default driver can do this"

    def __init__(self, search: Host) -> None:
        super().__init__(search)
        self._inside_batch = False
        self._accumulated: list[Tensor | None] | None = None
        """Gradients of the weights since their last step; None right after one."""
        self._stepped = False
        """Whether the weights took a step in this batch."""
        self._advanced_once = False
        self._asked = False
        """Whether the strategy itself steps the schedulers, in this fit."""

    # --- set-up -----------------------------------------------------------------------------

    def before_checks(self) -> None:
        self.settled = self.search.trainer.state.fn != "fit"

    def prepare(self) -> None:
        self.settled = True
        self.accumulate_grad_batches = int(self.search.trainer.accumulate_grad_batches)

    def start(self, scheduler_config: Callable[[Mapping[str, Any], str], Any]) -> None:
        super().start(scheduler_config)
        self._accumulated = None
        self._advanced_once = self._asked = False

    def stop(self) -> None:
        """Leave the Trainer as it is: its settings were only read."""

    def _problem(self) -> str | None:
        search = self.search
        scaler = getattr(search.trainer.precision_plugin, "scaler", None)
        if scaler is not None and search.architecture_optimizers() is not None:
            return "the precision scales losses, which the strategy's own optimizers do not undo"
        return super()._problem()

    # --- one batch --------------------------------------------------------------------------

    def run(self, step: Callable[[], Any]) -> Any:
        self._inside_batch, self._stepped = True, False
        try:
            output = step()
        finally:
            self._inside_batch = False
        self._require_training(output)
        if not self._asked:
            self._step_schedulers(batch_index(self.search.trainer), self._stepped)
        return output

    def advance(
        self,
        loss: Any,
        batch_idx: int | None,
        gradient_clip_val: float | None,
        gradient_clip_algorithm: str | None,
    ) -> None:
        search, name = self.search, type(self.search).__name__
        if loss is None and batch_idx is None:
            raise StrategyError(
                f"advance_optimization() of {name} was called without a loss",
                expected="the loss that training_step computed, or None and a batch index to skip "
                "the batch",
                fix="self.advance_optimization(loss, batch_idx)",
            )
        if not self._inside_batch:
            raise StrategyError(
                f"advance_optimization() of {name} was called outside of a training batch",
                expected="a call from training_step",
                fix="call it there",
            )
        self._advanced_once = True
        if batch_idx is None:
            batch_idx = batch_index(search.trainer)
        weights = [p for o in self._plan.optimizers for g in o.param_groups for p in g["params"]]
        if self._accumulated is not None:
            _set_gradients(weights, self._accumulated)
        with self._clipping(gradient_clip_val, gradient_clip_algorithm):
            self.train(_Once(loss, name), batch_idx)
        if self._is_step(batch_idx):
            self._accumulated, self._stepped = None, True
        else:
            self._accumulated = [p.grad for p in weights]
            _set_gradients(weights, [None] * len(weights))

    def advance_lr_schedulers(self, batch_idx: int | None = None) -> None:
        self._asked = True
        super().advance_lr_schedulers(batch_idx)

    def _begins(self, batch_idx: int) -> bool:
        return self._accumulated is None

    def clip(self, optimizer: Any) -> None:
        trainer = self.search.trainer
        settings = trainer.gradient_clip_val, trainer.gradient_clip_algorithm
        # Lightning refuses values that are not the Trainer's; here they stand in their place.
        trainer.gradient_clip_val = trainer.gradient_clip_algorithm = None
        try:
            super().clip(optimizer)
        finally:
            trainer.gradient_clip_val, trainer.gradient_clip_algorithm = settings

    @contextmanager
    def _clipping(self, value: float | None, algorithm: str | None) -> Iterator[None]:
        trainer = self.search.trainer
        self.gradient_clip_val = trainer.gradient_clip_val if value is None else value
        self.gradient_clip_algorithm = (
            trainer.gradient_clip_algorithm if algorithm is None else algorithm
        )
        try:
            yield
        finally:
            self.gradient_clip_val = self.gradient_clip_algorithm = None

    def _require_training(self, output: Any) -> None:
        loss = output.get("loss") if isinstance(output, Mapping) else output
        steps = self.search.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        if self._advanced_once or steps.total.ready or not isinstance(loss, Tensor):
            return
        if loss.requires_grad:
            name = type(self.search).__name__
            raise StrategyError(
                f"training_step of {name} returned a loss, and nothing was trained on it",
                expected="self.advance_optimization(loss, batch_idx), or a strategy that lets "
                "Lightning train on what training_step returns",
                fix=f"call it; or write `automatic_optimization = True` into the class {name}",
            )


class _Once:
    """A loss that was computed already, for optimizers that compute it when they need it."""

    def __init__(self, loss: Any, strategy: str) -> None:
        self.loss = loss
        self.strategy = strategy
        self.asked = False

    def __call__(self) -> Any:
        if self.asked:
            raise StrategyError(
                "the optimizer of the weights computes the loss more than once in a step; "
                f"training_step of {self.strategy} computed it once",
                expected="an optimizer with one loss for each step; LBFGS is none",
                fix="take another optimizer, or write the strategy as search_step",
            )
        self.asked = True
        return self.loss


def _set_gradients(parameters: list[nn.Parameter], gradients: list[Tensor | None]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
