"""Who trains the weights of a search, and what runs around each of their steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from pytorch_lightning.utilities import rank_zero_info

from ..architecture import Architecture
from ..errors import OneShotError, StrategyError
from .drivers import Driver, SchedulerSteps, batch_index
from .host import Host, is_defined_by_strategy, is_fitting, is_of_base, owns_batch
from .plugin_hooks import search_method


class Driven(Host, Protocol):
    """A search whose weights are driven, as the hooks that it installs see it."""

    _drive: Drive


class Drive:
    """How the weights of one search are trained: by Lightning, by hand, or by the user's module.

    Args:
        search: of any strategy.
        automatic: the ``automatic_optimization`` that the strategy says; None if it says nothing.

    Attributes:
        chosen: what the strategy or the user wants the weights to be trained with; None is what
            the user's module says.
        schedulers: what steps schedulers in a fit whose optimization is manual, else None.
        inside_loop: whether the steps of the running fit are surrounded by the search.
    """

    chosen: Driver | None

    def __init__(self, search: Host, automatic: bool | None) -> None:
        self.search = search
        self.schedulers: SchedulerSteps | None = None
        self.inside_loop = False
        self._step: Callable[[], Any] | None = None
        self._outputs: Any = None
        self.choose(automatic)

    def choose(self, automatic: bool | None) -> None:
        """Choose by what the strategy says about ``automatic_optimization``."""
        cls = type(self.search)
        if not owns_batch(cls) if automatic is None else automatic:
            self.chosen = None
        else:
            own = is_defined_by_strategy(cls, "training_step")
            self.drive_by("drive_own_step" if own else "drive_manually")

    def drive_by(self, name: str, *settings: Any) -> None:
        """Let the weights be trained by the driver that a plugin offers under this name.

        Raises:
            UnknownComponentError: no plugin offers one.
            StrategyError: a setting is out of range.
        """
        self.chosen = search_method(name, self.search.registry)(self.search, *settings)

    @property
    def manual(self) -> Driver | None:
        """What trains the weights by hand; None if Lightning or the user's module does."""
        is_overridden = not is_of_base(type(self.search), "automatic_optimization")
        return None if is_overridden and self.search.automatic_optimization else self.chosen

    @property
    def searches_in_hooks(self) -> bool:
        """Whether something is done in ``on_train_batch_start``, by hooks instead of the loop."""
        return self.schedulers is not None or (
            not self.inside_loop and is_fitting(self.search.model)
        )

    def require_agreement(self) -> None:
        """Raise if nobody, or more than one, would train the weights.

        Only a strategy can cause it that overrides the property ``automatic_optimization``.
        """
        model, name = self.search.model, type(self.search).__name__
        automatic, users = self.search.automatic_optimization, model.automatic_optimization
        if automatic == users or (users and self.manual is not None):
            return
        raise StrategyError(
            f"automatic_optimization of {name} is {automatic}, that of {type(model).__name__} is "
            f"{users}",
            expected="a strategy that leaves the property to its base class",
            fix=f"write `automatic_optimization = {automatic}` into the class {name} instead",
        )

    def start(self, enter_loop: Callable[[], bool]) -> None:
        """Begin a fit; ``enter_loop`` says whether the search surrounds Lightning's steps."""
        if self.search.automatic_optimization:
            self.inside_loop = enter_loop()
        else:
            self.inside_loop = True
            self.schedulers = self.manual or SchedulerSteps(self.search)
        if not self.inside_loop:
            rank_zero_info(
                "oneshot: this Lightning's training loop is not as expected; the search runs in "
                "on_train_batch_start instead."
            )

    def stop(self) -> None:
        """End a fit."""
        if self.manual is not None:
            self.manual.stop()
        self.schedulers = None
        self.inside_loop = False

    # --- one batch ----------------------------------------------------------------------------

    def around(
        self,
        step: Callable[[], Any],
        arguments: tuple[Any, ...],
        batch_idx: int | None = None,
        default: Any = None,
    ) -> Any:
        """Run ``search_step`` around the weight step ``step``; return what that returned.

        Args:
            step: run where the strategy asks for it.
            arguments: of the user's ``training_step``.
            batch_idx: None is the second of ``arguments``, or the position of the batch.
            default: returned if the strategy leaves the step out.
        """
        if batch_idx is None:
            batch_idx = arguments[1] if len(arguments) > 1 else batch_index(self.search.trainer)
        self._step, self._outputs = step, default
        try:
            self.search.search_step(arguments[0] if arguments else None, batch_idx)
            if self.schedulers is not None:
                self.schedulers.advance_lr_schedulers()
            return self._outputs
        except Exception as error:
            note_path(self.search, error)
            raise
        finally:
            self._step = self._outputs = None

    def before(self, batch: Any, batch_idx: int) -> None:
        """Run ``search_step`` before Lightning's weight step, in a loop that was not entered.

        The weights are then trained once, whether the strategy asks for it or not.
        """
        if not self.inside_loop and self.search.automatic_optimization:
            self.search.search_step(batch, batch_idx)

    def own_step(
        self, step: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """Run ``step``, the ``training_step`` of a strategy, on one batch; return its output."""
        search, driver = self.search, self.manual
        if owns_batch(type(search)):  # else search_step has drawn already
            search.reseed("train", search.current_epoch, batch_index(search.trainer))
        try:
            if driver is not None and driver.begins_with_loss:
                return driver.run(lambda: step(*args, **kwargs))
            output = step(*args, **kwargs)
        except Exception as error:
            note_path(search, error)
            raise
        if self.schedulers is not None:  # the user optimizes manually
            self.schedulers.advance_lr_schedulers()
        return output

    def advance(self, loss: Any, batch_idx: int | None, *clipping: Any) -> None:
        """Do ``advance_optimization`` of the search; arguments and errors are the same."""
        name, driver = type(self.search).__name__, self.manual
        if driver is not None and driver.begins_with_loss:
            driver.advance(loss, batch_idx, *clipping)
        elif any(value is not None for value in (loss, batch_idx, *clipping)):
            raise StrategyError(
                f"advance_optimization() of {name} got a loss or clipping, and Lightning trains "
                "the weights",
                expected="advance_optimization() in search_step; Lightning runs the user's "
                "training_step and clips as the Trainer says",
                fix="leave the arguments out; or, for a training_step that trains by itself, "
                f"write `automatic_optimization = False` into the class {name}",
            )
        elif self._step is not None:
            self._run(self._step)
        elif self.inside_loop or not is_fitting(self.search.model):
            raise StrategyError(
                "advance_optimization() was called outside of a training batch",
                expected="a call from search_step",
                fix="override search_step(batch, batch_idx) and call it there",
            )  # else Lightning's loop could not be entered; it trains after search_step

    def _run(self, step: Callable[[], Any]) -> None:
        frozen = [p for p in self.search.decisions.parameters() if p.requires_grad]
        self._step = None  # what it runs does not advance
        try:
            for parameter in frozen:
                parameter.requires_grad_(False)
            self._outputs = step()
        finally:
            self._step = step
            for parameter in frozen:
                parameter.requires_grad_(True)

    def advance_lr_schedulers(self, batch_idx: int | None) -> None:
        """Do ``advance_lr_schedulers`` of the search; arguments and errors are the same."""
        if self.manual is None:
            raise StrategyError(
                f"advance_lr_schedulers() was called on {type(self.search).__name__}, whose "
                "schedulers Lightning steps",
                expected="a search that is driven by hand",
                fix="leave the call out, or call drive_manually() before the fit",
            )
        self.manual.advance_lr_schedulers(batch_idx)


def note_path(search: Host, error: Exception) -> None:
    """Let an error of the user's code say, in a note (Python 3.11), which path was computed."""
    is_path = not any(d.superposes and not d.is_pinned for d in search.decisions)
    known = isinstance(error, OneShotError) or search.space.size == 1
    if known or not is_path or not hasattr(error, "add_note"):
        return
    with suppress(OneShotError):
        taken = {d.spec.label: [a.candidate for a in d.active()] for d in search.decisions}
        chosen = {d.spec.label: d.spec.normalise(taken[d.spec.label]) for d in search.decisions}
        error.add_note(
            f"raised by the path {Architecture(search.space.reduce(chosen), search.space)}; "
            "oneshot.inspect(model, batch) finds candidates that do not fit, before training"
        )
