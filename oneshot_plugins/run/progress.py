"""What a search is doing, in the progress bar that the Trainer has anyway.

Nothing is logged: the bar's own ``get_metrics`` is asked as before, and its answer gets more
items. A search without anything to choose leaves the bar alone.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pytorch_lightning import Trainer

from oneshot_core.architecture import Architecture

if TYPE_CHECKING:
    from oneshot_core.lightning import BaseOneShotLightningModule

EVERY = 1.0
"""Seconds between two looks at the search: on an accelerator each waits for it."""
SHARE = 100
"""A look may take this part of the time at most."""
WIDTH = 32
"""Characters of an architecture in the bar."""


def status(search: BaseOneShotLightningModule) -> dict[str, str | float]:
    """Return what a bar shows: phase, entropy, current best.

    The last two only where the strategy prefers something by itself. The entropy is the mean of
    :meth:`~oneshot_core.decision.Decision.entropy` over what can be chosen.
    """
    shown: dict[str, str | float] = {"phase": search.search_phase}
    try:
        best = search.export()
    except Exception:  # it prefers nothing before a ranking; and a bar must not end a training
        return shown
    entropies = [
        d.entropy() for d in search.decisions if d.spec.size > 1 and d.spec.interval is None
    ]
    if entropies:
        shown["entropy"] = sum(entropies) / len(entropies)
    return {**shown, "best": short(best)}


def short(architecture: Architecture) -> str:
    """Return the choices without labels, cut to the width of a bar."""
    text = " ".join(
        "+".join(map(str, choice)) if isinstance(choice, tuple) else str(choice)
        for choice in architecture.values()
    )
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."


class BarMetrics:
    """``get_metrics`` of a bar, with those of a search after its own.

    Args:
        bar: whose method it stands for.
        search: in a fit.
    """

    def __init__(self, bar: Any, search: BaseOneShotLightningModule) -> None:
        self.own = bar.get_metrics
        self.search = search
        self._shown: dict[str, str | float] = {}
        self._due = 0.0

    def __call__(self, trainer: Trainer, pl_module: Any) -> dict[str, Any]:
        """Return the bar's metrics and, during the fit of the search, its status."""
        metrics: dict[str, Any] = self.own(trainer, pl_module)
        if pl_module is not self.search:  # left over from a failed fit
            return metrics
        now = time.monotonic()
        if now >= self._due:
            self._shown = status(self.search)
            after = time.monotonic()
            self._due = after + max(EVERY, SHARE * (after - now))
        return {**metrics, **{k: v for k, v in self._shown.items() if k not in metrics}}


def enter_bar(trainer: Trainer, search: BaseOneShotLightningModule) -> None:
    """Let the Trainer's progress bar show the search, if there is a bar and something to choose."""
    leave_bar(trainer)
    bar: Any = trainer.progress_bar_callback
    if bar is not None and any(d.spec.size > 1 for d in search.decisions):
        bar.get_metrics = BarMetrics(bar, search)


def leave_bar(trainer: Trainer) -> None:
    """Give the bar its own method back."""
    bar: Any = trainer.progress_bar_callback
    if bar is not None and isinstance(bar.__dict__.get("get_metrics"), BarMetrics):
        del bar.get_metrics
