"""A callback that logs what a search prefers to whatever loggers the Trainer has.

``Trainer(logger=TensorBoardLogger("logs"), callbacks=[ProbabilityLogger()])``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils._pytree import tree_map_only

from oneshot_core import BaseOneShotLightningModule, freeze
from oneshot_core.errors import StrategyError
from oneshot_core.lightning.kit import isolated_rng

from .collapse import require_search


class ProbabilityLogger(Callback):
    """Log after epochs how probable each candidate is, how decided the search is, and costs.

    Logged are ``probability/LABEL/CANDIDATE``, ``entropy/LABEL`` and ``entropy/mean`` (see
    :meth:`oneshot_core.Decision.entropy`), and ``cost/NAME`` of the architecture that the search
    would export now; a strategy that prefers nothing has no costs. They go to the loggers alone:
    not into ``callback_metrics``, not into the progress bar.

    Args:
        every_n_epochs: how often.
        costs: names of installed costs, or functions ``(network, *inputs) -> float``.
        inputs: what ``forward`` is called with to count or measure them.

    Raises:
        StrategyError: an argument is out of range, or the module is no search.
    """

    def __init__(
        self,
        *,
        every_n_epochs: int = 1,
        costs: Iterable[str | Callable[..., float]] = (),
        inputs: Sequence[Any] | None = None,
    ) -> None:
        super().__init__()
        self.costs = [costs] if isinstance(costs, str) else list(costs)
        if every_n_epochs < 1 or (self.costs and inputs is None):
            raise StrategyError(
                f"ProbabilityLogger got every_n_epochs={every_n_epochs}, costs={self.costs}, "
                f"{'no inputs' if inputs is None else 'inputs'}",
                expected="1 epoch or more; with costs, inputs that forward is called with",
                fix="ProbabilityLogger(costs=['macs'], inputs=[torch.zeros(1, 3, 32, 32)])",
            )
        self.every_n_epochs = every_n_epochs
        self.inputs = tuple(inputs or ())

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what is no search, and costs that are not there."""
        search = require_search(pl_module, type(self).__name__)
        for cost in self.costs:
            if isinstance(cost, str):
                search.registry.load("cost", cost)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log, if it is time."""
        search = require_search(pl_module, type(self).__name__)
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if not due or not trainer.loggers or not trainer.is_global_zero:
            return
        metrics = {**probabilities(search), **self._costs(search)}
        step = trainer.fit_loop.epoch_loop._batches_that_stepped  # as Lightning's own callbacks do
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": trainer.current_epoch, **metrics}, step=step)

    def _costs(self, search: BaseOneShotLightningModule) -> dict[str, float]:
        if not self.costs:
            return {}
        try:
            network = freeze(search, search.export()).eval()
        except StrategyError:  # it prefers nothing before a ranking
            return {}
        device = next((p.device for p in network.parameters()), torch.device("cpu"))
        inputs = tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), self.inputs)
        found = {}
        for cost in self.costs:
            measure = search.registry.load("cost", cost) if isinstance(cost, str) else cost
            name = cost if isinstance(cost, str) else getattr(cost, "__name__", str(cost))
            with isolated_rng(search.model, search.seed):
                found[f"cost/{name}"] = float(measure(network, *inputs))
        return found


def probabilities(search: BaseOneShotLightningModule) -> dict[str, float]:
    """Return probabilities and entropies under the names that are logged."""
    found = {
        f"probability/{label}/{candidate}": p
        for label, row in search.export_probs().items()
        for candidate, p in row.items()
    }
    specs = [d for d in search.decisions if d.spec.size > 1 and d.spec.interval is None]
    entropies = {f"entropy/{d.spec.label}": d.entropy() for d in specs}
    if entropies:
        found["entropy/mean"] = sum(entropies.values()) / len(entropies)
    return {**found, **entropies}


__all__ = ["ProbabilityLogger", "probabilities"]
