"""Train the largest network, the smallest and some between, the largest teaching the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from oneshot_core import MutationHook, Registry
from oneshot_core.errors import StrategyError
from oneshot_core.lightning.kit import isolated_buffers, isolated_rng
from oneshot_core.space import Choice

from .order import Order, by_size
from .paths import Path, PathSampling

Logits = Callable[[Any, Any], Tensor]
"""Returns the logits of the user's module for a batch, with classes in the last dimension."""


class Sandwich(PathSampling):
    """Train the largest path, the smallest and ``n_random`` others with each batch.

    The largest is trained by the user's loss. With ``distill`` the others learn its output
    instead: their loss is the cross entropy with its soft labels, through which no gradient
    goes. Without it all are trained by the user's loss. The gradient is the sum over the paths.

    Args:
        model: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        mutation_hooks: see there.
        n_random: how many paths are drawn uniformly, beside the largest and the smallest.
        distill: ``(model, batch) -> logits``, such as ``lambda model, batch: model(batch[0])``.
            None trains without distillation.
        order: label -> choices from the smallest to the largest, where
            :func:`~.order.by_size` would be wrong.
        seed: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        registry: see there.

    Raises:
        StrategyError: ``n_random`` is negative, or ``order`` does not fit.

    Source: Yu and Huang, "Universally Slimmable Networks", arXiv:1903.05134, section 3.2 (the
    sandwich rule) and 3.3 (in-place distillation); Yu et al., "BigNAS", arXiv:2003.11142,
    section 3.1.

    Exact: the gradient of the sum of all losses, with soft labels of the same forward pass.
    """

    def __init__(
        self,
        model: LightningModule,
        mutation_hooks: Sequence[MutationHook] | None = None,
        *,
        n_random: int = 2,
        distill: Logits | None = None,
        order: Order | None = None,
        seed: int | None = None,
        registry: Registry | None = None,
    ) -> None:
        super().__init__(model, mutation_hooks, seed=seed, registry=registry)
        if n_random < 0 or not (distill is None or callable(distill)):
            raise StrategyError(
                f"n_random={n_random}, distill={distill!r}",
                expected="0 or more, and a function (model, batch) -> logits or None",
                fix="distill=lambda model, batch: model(batch[0])",
            )
        self.n_random = n_random
        self.distill = distill
        self.order = order
        self._ends: tuple[Path, Path] | None = None
        self._soft_labels: Tensor | None = None

    def ends(self) -> tuple[Path, Path]:
        """Return the smallest and the largest path; with constraints, of those that keep them."""
        if self._ends is None:
            order = by_size(self, self.order)
            ends = [
                {label: choices[i] for label, choices in order.items()}
                if not self.space.constraints
                else self._nearest_end(order, i)
                for i in (0, -1)
            ]
            self._ends = ends[0], ends[1]
        return self._ends

    def _nearest_end(self, order: Mapping[str, list[Choice]], end: int) -> Path:
        """Return the first path that is allowed, from one end on; early labels stay nearest."""
        step = 1 if end == 0 else -1
        found = self.space.first(lambda spec: order[spec.label][::step])
        if found is None:
            raise StrategyError(
                f"no path of the given order keeps the constraints {self.space.constraints}",
                expected="an order with choices that can be taken together",
                fix="leave fewer choices out of order=",
            )
        return found

    def draw_paths(self) -> list[Path]:
        smallest, largest = self.ends()
        drawn = [self.draw_allowed(self._draw) for _ in range(self.n_random)]
        # A path that equals one of the ends is trained again: the rule counts draws.
        return [largest, smallest, *drawn] if smallest != largest else [largest]

    def _draw(self) -> Path:
        return {decision.spec.label: decision.draw_uniform() for decision in self.decisions}

    def path_loss(self, index: int, step: Callable[[], Any]) -> Any:
        if self.distill is None or len(self._paths) == 1:
            return step()
        if index == 0:
            labels, answer = self._teach(), step()
            self._soft_labels = None if answer is None else labels
            return answer
        if self._soft_labels is None:  # the user skipped the batch
            return None
        return soft_cross_entropy(self._logits(), self._soft_labels)

    @torch.no_grad()
    def _teach(self) -> Tensor:
        # With the same dropout as the user's step, which comes next, and no second trace in
        # BatchNorm.
        with isolated_rng(self.model), isolated_buffers(self.model):
            return self._logits().softmax(-1)

    def _logits(self) -> Tensor:
        assert self.distill is not None
        logits = self.distill(self.model, self._training_batch)
        if not isinstance(logits, Tensor) or logits.dim() < 2:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise StrategyError(
                f"distill returned {found}",
                expected="logits, a tensor of shape (batch, ..., classes)",
                fix="distill=lambda model, batch: model(batch[0])",
            )
        return logits

    def check_fit(self) -> None:
        super().check_fit()
        self.ends()


def soft_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy of ``logits`` with soft ``labels``, both ``(..., classes)``."""
    return -(labels * logits.log_softmax(-1)).sum(-1).mean()
