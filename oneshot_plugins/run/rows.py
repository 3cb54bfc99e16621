"""The logged row that a kill can lose."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor


class LogCheckpointRow(Callback):
    """Logs the row of a checkpoint's batch or epoch again when training resumes from it.

    Lightning writes checkpoints in ``on_train_batch_end`` and ``on_train_epoch_end``, and gives
    the row of that batch or epoch to the loggers afterwards. A process that is killed between the
    two has a checkpoint after which it will not come back to that row. With this callback the row
    is in the checkpoint, and is logged when the training that resumes starts: a second time if
    the first was not lost, with the same numbers and the same step.

    What the module itself logs in ``on_train_batch_end`` is not in the row of a batch: Lightning
    calls that after the checkpoint.
    """

    def __init__(self) -> None:
        self._trainer: Trainer | None = None  # state_dict() is not told
        self._row: dict[str, Any] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remember whose rows they are."""
        self._trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        """Return the row that comes after this checkpoint, if one does."""
        row = None if self._trainer is None else _pending(self._trainer)
        return {} if row is None else {"row": row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the row of the checkpoint."""
        self._row = state_dict.get("row")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the row of the checkpoint that training resumes from."""
        row, self._row = self._row, None
        if row is not None:
            for logger in trainer.loggers:
                logger.log_metrics(row["metrics"], step=row["step"])
                logger.save()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the Trainer, which holds this callback."""
        self._trainer = None


def _pending(trainer: Any) -> dict[str, Any] | None:
    """Return the row that Lightning would log next, and its step; None if there is none.

    Source: ``_LoggerConnector.update_train_step_metrics``, ``update_train_epoch_metrics`` and
    ``log_metrics`` of Lightning 2.6.
    """
    loop, connector = trainer.fit_loop, trainer._logger_connector
    batch, epoch = loop.epoch_loop.batch_progress.current, loop.epoch_progress.current
    step = loop.epoch_loop._batches_that_stepped
    if not trainer.training or trainer._results is None:
        return None
    if batch.processed > batch.completed:
        accumulates = loop._should_accumulate() and trainer.lightning_module.automatic_optimization
        if accumulates or not (connector.should_update_logs or trainer.fast_dev_run):
            return None
    elif epoch.processed > epoch.completed:
        step -= 1  # that of the last batch
    else:
        return None
    metrics: dict[str, Any] = _as_numbers(connector.metrics["log"])
    if not metrics:
        return None
    if "step" in metrics:
        step = int(metrics.pop("step"))
    else:
        metrics.setdefault("epoch", trainer.current_epoch)
    return {"metrics": metrics, "step": step}


def _as_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_numbers(item) for key, item in value.items()}
    return value.item() if isinstance(value, Tensor) else value


__all__ = ["LogCheckpointRow"]
