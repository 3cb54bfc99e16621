"""Numbers that change during a search and end where they are said to end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from oneshot_core.errors import StrategyError

Form = Literal["linear", "exponential", "cosine"]


@dataclass(frozen=True)  # no slots: jsonargparse reads vars() of a default
class Schedule:
    """A number that goes from ``start`` to ``end``.

    The first epoch (or step) has exactly ``start``, the last exactly ``end``. Where there is
    only one, it has ``end``.

    Args:
        start: the first value.
        end: the last value. None: it stays at ``start``.
        form: how it gets there. ``"exponential"`` multiplies by the same factor each time and
            needs positive numbers; ``"cosine"`` is flat at both ends.
        interval: what it changes with: ``"epoch"`` or ``"step"``, a training batch.
        epochs: how many epochs it takes, after which it stays. None takes ``max_epochs`` of the
            Trainer, less what the strategy waits before.

    Raises:
        StrategyError: an argument is out of range.
    """

    start: float
    end: float | None = None
    form: Form = "linear"
    interval: Literal["epoch", "step"] = "epoch"
    epochs: int | None = None

    def __post_init__(self) -> None:
        both = [self.start, self.last]
        positive = self.form != "exponential" or min(both) > 0
        if (
            self.form not in get_args(Form)
            or self.interval not in ("epoch", "step")
            or not all(map(math.isfinite, both))
            or not positive
            or (self.epochs is not None and self.epochs < 1)
        ):
            raise StrategyError(
                f"{self}",
                expected=f"finite numbers (positive if exponential), a form of {get_args(Form)}, "
                "an interval 'epoch' or 'step', and at least one epoch",
                fix="correct it",
            )

    @property
    def last(self) -> float:
        """The value it ends with."""
        return self.start if self.end is None else self.end

    @property
    def changes(self) -> bool:
        """Whether it has more than one value."""
        return self.start != self.last

    def at(self, progress: float) -> float:
        """Return the value at ``progress``, from 0 (the first) to 1 (the last)."""
        if not self.changes or progress <= 0:
            return self.start
        if progress >= 1:
            return self.last
        if self.form == "exponential":
            return self.start * math.exp(progress * math.log(self.last / self.start))
        if self.form == "cosine":
            progress = (1 - math.cos(math.pi * progress)) / 2
        return self.start + progress * (self.last - self.start)

    def value(self, trainer: Any, *, after: int = 0) -> float:
        """Return the value for the current epoch and batch of a fit.

        Args:
            trainer: of the fit.
            after: the epoch in which the schedule starts.
        """
        if not self.changes:
            return self.start
        epochs = self.epochs or trainer.max_epochs - after
        epoch = trainer.current_epoch - after
        if self.interval == "epoch":
            return self.at(epoch / (epochs - 1) if epochs > 1 else 1.0)
        batches = trainer.num_training_batches
        total = epochs * batches
        now = epoch * batches + trainer.fit_loop.epoch_loop.batch_idx
        return self.at(now / (total - 1) if total > 1 else 1.0)

    def check(self, trainer: Any, name: str, *, after: int = 0) -> None:
        """Refuse a fit whose end is not known.

        Args:
            trainer: of the fit.
            name: of the option; for messages.
            after: the epoch in which the schedule starts.

        Raises:
            StrategyError: it is not known when ``end`` has to be reached.
        """
        if not self.changes:
            return
        if self.epochs is None and (
            trainer.max_epochs is None or trainer.max_epochs < 0 or trainer.max_steps >= 0
        ):
            raise StrategyError(
                f"{name} goes from {self.start} to {self.last}, and the Trainer does not say in "
                "how many epochs",
                expected="max_epochs without max_steps, or epochs= of the schedule",
                fix=f"{name}=Schedule({self.start}, {self.last}, epochs=...)",
            )

    def check_length(self, trainer: Any, name: str) -> None:
        """Refuse training data without an end, once they are loaded.

        Raises:
            StrategyError: it changes with each step, and nobody knows how many there are.
        """
        if self.changes and self.interval == "step" and math.isinf(trainer.num_training_batches):
            raise StrategyError(
                f"{name} changes with each step, and the training data have no length",
                expected="a loader with a length, or limit_train_batches",
                fix=f"interval='epoch' for {name}, or Trainer(limit_train_batches=...)",
            )


def schedule_of(value: Schedule | float, name: str, *, positive: bool = False) -> Schedule:
    """Return a schedule for a number or a schedule.

    Args:
        value: as the user gave it.
        name: of the option; for messages.
        positive: whether 0 and less are refused.

    Raises:
        StrategyError: a value is out of range.
    """
    schedule = value if isinstance(value, Schedule) else Schedule(value)
    lowest = min(schedule.start, schedule.last)
    if lowest < 0 or (positive and lowest == 0):
        raise StrategyError(
            f"{name} goes from {schedule.start} to {schedule.last}",
            expected=f"numbers {'greater than 0' if positive else 'from 0 on'}",
            fix="correct them",
        )
    return schedule
