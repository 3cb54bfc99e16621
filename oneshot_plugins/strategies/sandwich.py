"""Train the largest network, the smallest and some between, the largest teaching the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytorch_lightning import LightningModule

from oneshot_core import MutationHook, Registry
from oneshot_core.errors import StrategyError
from oneshot_core.space import Choice

from ..distillation.distillation import LARGEST, Distillation, DistillOptions, distillation_of
from ..distillation.losses import Distill, soft_cross_entropy
from .order import Order, by_size
from .paths import Path, PathSampling

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Sandwich(PathSampling):
    """Train the largest path, the smallest and ``n_random`` others with each batch.

    The largest is trained by the user's loss. With ``teacher="largest"`` the others learn its
    output instead, through which no gradient goes: by default their loss is the cross entropy
    with its soft labels. With another teacher, the largest learns from it like the others, beside
    the user's loss. Without a teacher all are trained by the user's loss. The gradient is the sum
    over the paths.

    Args:
        model: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        mutation_hooks: see there.
        n_random: how many paths are drawn uniformly, beside the largest and the smallest.
        order: label -> choices from the smallest to the largest, where
            :func:`~.order.by_size` would be wrong.
        seed: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        registry: see there.
        **options: of the distillation, as for :class:`.UniformSampling`; ``teacher`` may be
            ``"largest"``, too. Without ``teacher``, ``distill`` may be a function
            ``(model, batch) -> logits``, such as ``lambda model, batch: model(batch[0])``: that is
            short for ``teacher="largest", distill_at=function``.

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
        order: Order | None = None,
        seed: int | None = None,
        registry: Registry | None = None,
        **options: Unpack[DistillOptions],
    ) -> None:
        distill = options.get("distill")
        if n_random < 0 or not (
            options.get("teacher") is not None or distill is None or callable(distill)
        ):
            raise StrategyError(
                f"n_random={n_random}, distill={distill!r}",
                expected="0 or more, and, without a teacher, a function (model, batch) -> logits "
                "or None",
                fix="distill=lambda model, batch: model(batch[0]), or say teacher='largest'",
            )
        super().__init__(model, mutation_hooks, seed=seed, registry=registry, **options)
        self.n_random = n_random
        self.order = order
        self._ends: tuple[Path, Path] | None = None

    def make_distillation(self, options: DistillOptions) -> Distillation | None:
        distill: Any = options.get("distill")
        if options.get("teacher") is None and callable(distill):
            return Distillation(None, distill, Distill("soft_cross_entropy"), option="distill")
        return distillation_of(self.model, **options, others=[LARGEST])

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
        distillation = self.distillation
        if distillation is None or distillation.teacher is not None:
            return self.taught(step)
        if len(self._paths) == 1:
            return step()
        if index == 0:
            return distillation.teach(self, step, self._training_batch)
        return self.taught(step)

    def check_fit(self) -> None:
        super().check_fit()
        self.ends()


__all__ = ["Sandwich", "soft_cross_entropy"]
