"""What all strategies share that learn the architecture by gradient descent.

Such a strategy is a relaxation (the class of its decisions) and a choice of parts, each an
option: order of the gradient, penalties, warm-up, schedules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypedDict

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from oneshot_core import BaseOneShotLightningModule, MutationHook, ParameterSpec, Registry
from oneshot_core.errors import StrategyError
from oneshot_core.lightning.kit import isolated_rng, tree_of, users_loss

from ..costs.named import prepare_costs
from .penalties import CostPenalty, Penalty, check_penalties
from .recompute import recompute as recompute_choices
from .schedules import Schedule
from .unrolled import Unrolled, require_known_rule, unrolled_gradient


class OtherOptions(TypedDict, total=False):
    """Options of a differentiable strategy whose Adam has defaults of its own."""

    arch_dataloader: Iterable[Any] | None
    arc_scheduler: Callable[[Optimizer], LRScheduler] | None
    warmup_epochs: int
    order: Literal[1, 2]
    hessian: Literal["exact", "difference"]
    penalties: Sequence[CostPenalty | Penalty]
    recompute: bool
    seed: int | None
    registry: Registry | None


class DifferentiableOptions(OtherOptions, total=False):
    """Options of every differentiable strategy; see :class:`Differentiable`."""

    arc_learning_rate: float
    betas: tuple[float, float]
    weight_decay: float


class Differentiable(BaseOneShotLightningModule):
    """Train weights and architecture in turn, each on data of its own.

    For every training batch, first one step of the architecture parameters on a batch of
    ``arch_dataloader``, then the user's weight step. The architecture step computes no weight
    gradient (with ``order=1``), and the weight step no architecture gradient. Where decisions
    draw, both draw anew, from a generator keyed by (seed, epoch, batch index).

    A strategy supplies :meth:`make_decision`.

    Args:
        model: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        mutation_hooks: see there.
        arch_dataloader: batches for the architecture step; they should not train the weights.
        arc_learning_rate: of the architecture parameters' Adam.
        betas: of that Adam.
        weight_decay: of that Adam.
        arc_scheduler: builds a learning-rate scheduler for that Adam, stepped every epoch.
        warmup_epochs: so long only weights are trained.
        order: 1 takes the weights as they are; 2 differentiates through one step of the user's
            optimizer on the training batch (SGD, Adam or AdamW, with their state), without
            clipping and accumulation.
        hessian: how order 2 multiplies with second derivatives: ``"exact"`` by differentiating
            twice, ``"difference"`` by two more gradients.
        penalties: what is added to the architecture's loss: each a :class:`.CostPenalty`, such as
            of the cost ``"macs"``, or any function of the decisions.
        recompute: whether choices that run several candidates keep their input only and run again
            in the backward pass: less memory for more time, and the same numbers. Not with
            ``order=2``.
        seed: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        registry: see there.

    Raises:
        StrategyError: there is no ``arch_dataloader``, or an option is out of range.
    """

    def __init__(
        self,
        model: LightningModule,
        mutation_hooks: Sequence[MutationHook] | None = None,
        *,
        arch_dataloader: Iterable[Any] | None = None,
        arc_learning_rate: float = 3e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        weight_decay: float = 1e-3,
        arc_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        warmup_epochs: int = 0,
        order: Literal[1, 2] = 1,
        hessian: Literal["exact", "difference"] = "exact",
        penalties: Sequence[CostPenalty | Penalty] = (),
        recompute: bool = False,
        seed: int | None = None,
        registry: Registry | None = None,
    ) -> None:
        super().__init__(
            model, mutation_hooks, arch_dataloader=arch_dataloader, seed=seed, registry=registry
        )
        if arch_dataloader is None and self.needs_arch_dataloader:
            raise self.no_arch_dataloader()
        if warmup_epochs < 0:
            raise StrategyError(
                f"warmup_epochs={warmup_epochs}", expected="0 or more", fix="correct it"
            )
        if order not in (1, 2) or hessian not in ("exact", "difference"):
            raise StrategyError(
                f"order={order!r}, hessian={hessian!r}",
                expected="order 1 or 2, hessian 'exact' or 'difference'",
                fix="correct them",
            )
        if recompute and order == 2:
            # Its passes are run with other weights, which are gone when they would be run again.
            raise StrategyError(
                "recompute=True with order=2",
                expected="one of both",
                fix="order=1, or leave recompute out",
            )
        self.recompute = recompute
        self.arc_learning_rate = arc_learning_rate
        self.betas = betas
        self.weight_decay = weight_decay
        self.arc_scheduler = arc_scheduler
        self.warmup_epochs = warmup_epochs
        self.order = order
        self.hessian = hessian
        self.penalties: list[Penalty] = list(penalties)
        self._training_batch: tuple[Any, int] | None = None

    needs_arch_dataloader = True
    """Whether the architecture has data of its own; else it learns from the training batch."""

    def mutate(self) -> None:
        if self.recompute and not self.make_decision(ParameterSpec("two", (0, 1))).superposes:
            raise StrategyError(
                f"recompute=True, and {type(self).__name__} does not run several candidates at "
                "once",
                expected="a strategy that weights all candidates",
                fix="leave recompute out: one path needs no more memory than its network",
            )
        super().mutate()
        if self.recompute:
            recompute_choices(self.nas_modules)

    # --- one batch ----------------------------------------------------------------------------

    def search_step(self, batch: Any, batch_idx: int) -> None:
        self.set_schedules()
        if self.current_epoch >= self.warmup_epochs:
            self.draw("architecture", batch_idx)
            self._training_batch = (batch, batch_idx)
            try:
                self.train_architecture()
            finally:
                self._training_batch = None
        self.draw("train", batch_idx)
        self.advance_optimization()

    @property
    def search_phase(self) -> str:
        return "warm-up" if self.current_epoch < self.warmup_epochs else "search"

    def train_architecture(self) -> None:
        """Take one step of the architecture parameters."""
        if self.architecture_batches is not None:
            self.architecture_step()
        elif self._training_batch is not None:
            self.architecture_step(self._training_batch[0])

    def draw(self, stage: str, batch_idx: int) -> None:
        """Draw for one batch; decisions that do not draw are left as they are."""
        self.reseed(stage, self.current_epoch, batch_idx)
        self.resample()

    def prepare_evaluation(self, stage: str, batch_idx: int) -> None:
        self.draw(stage, batch_idx)

    def schedules(self) -> dict[str, Schedule]:
        """Return attribute of decisions -> schedule of its value."""
        return {}

    def set_schedules(self) -> None:
        """Let the decisions have the scheduled values of this batch."""
        for name, schedule in self.schedules().items():
            value = schedule.value(self.trainer, after=self.warmup_epochs)
            for decision in self.decisions:
                setattr(decision, name, value)

    # --- loss and gradient --------------------------------------------------------------------

    def architecture_loss(self, batch: Any, batch_idx: int) -> Tensor | None:
        """Return the user's training loss, and the penalties added to it."""
        loss = super().architecture_loss(batch, batch_idx)
        if loss is None:
            return None
        return sum((penalty(self.decisions) for penalty in self.penalties), self.weigh_loss(loss))

    def weigh_loss(self, loss: Tensor) -> Tensor:
        """Return what the architecture's loss makes of the user's; by default that itself."""
        return loss

    def architecture_gradient(
        self, batch: Any, batch_idx: int, parameters: Sequence[nn.Parameter], scale: float
    ) -> tuple[Tensor, Sequence[Tensor | None]] | None:
        if self.order == 1:
            return super().architecture_gradient(batch, batch_idx, parameters, scale)
        assert self._training_batch is not None
        training_batch, training_idx = self._training_batch
        context = self.trainer.precision_plugin.train_step_context

        def training_loss() -> Tensor | None:
            # The same dropout each time it is run, and another than the architecture's.
            seed = (self.seed * 1_000_003 - 1 - batch_idx) % 2**63
            with isolated_rng(self.model, seed), context():
                return users_loss(self.model, training_batch, training_idx)

        def architecture_loss() -> Tensor | None:
            with context():
                return self.architecture_loss(batch, batch_idx)

        def average(value: Tensor) -> Tensor:
            mean: Any = self.trainer.strategy.reduce(value, reduce_op="mean")
            return mean if isinstance(mean, Tensor) else value

        unrolled = Unrolled(
            self.model, self._weight_optimizer(), training_loss, architecture_loss, average
        )
        return unrolled_gradient(unrolled, parameters, exact=self.hessian == "exact")

    def _weight_optimizer(self) -> Optimizer | None:
        users = [
            optimizer
            for optimizer in self.trainer.optimizers
            # Where there is none, Lightning has one without parameters in its place.
            if optimizer.param_groups and not self.is_architecture_optimizer(optimizer)
        ]
        return users[0] if users else None

    def configure_architecture_optimizers(self) -> Any:
        # Where nothing can be chosen there is nothing to learn, and nothing for callbacks to see.
        parameters = [p for d in self.decisions if d.spec.size > 1 for p in d.parameters()]
        if not parameters:
            return None
        optimizer = torch.optim.Adam(
            parameters, lr=self.arc_learning_rate, betas=self.betas, weight_decay=self.weight_decay
        )
        if self.arc_scheduler is None:
            return optimizer
        return [optimizer], [self.arc_scheduler(optimizer)]

    # --- before training ----------------------------------------------------------------------

    def prepare_costs(self) -> None:
        """Build the tables of costs that options name; ``oneshot search`` asks early for it.

        Raises:
            OneShotError: one cannot be measured for this model.
        """
        prepare_costs(self.penalties, self)

    def check_fit(self) -> None:
        super().check_fit()
        learns = any(d.spec.size > 1 and list(d.parameters()) for d in self.decisions)
        if not learns:
            return
        if type(self).architecture_loss is Differentiable.architecture_loss:
            self.require_loss_of_training_step()
        self.prepare_costs()
        check_penalties(self.penalties, self.space)
        for name, schedule in self.schedules().items():
            schedule.check(self.trainer, name, after=self.warmup_epochs)
        if self.order == 2 or self.architecture_batches is None:
            self._require_training_batch()
        if self.order == 2:
            self._check_second_order()

    def on_train_start(self) -> None:
        """Check what is known only when the training data are loaded."""
        for name, schedule in self.schedules().items():
            schedule.check_length(self.trainer, name)

    def _require_training_batch(self) -> None:
        if is_param_in_hook_signature(self.model.training_step, "dataloader_iter", explicit=True):
            raise StrategyError(
                f"training_step of {type(self.model).__name__} takes its batches itself; the "
                "architecture step needs the training batch",
                expected="training_step(batch, batch_idx)",
                fix="take a batch instead of dataloader_iter, or use order=1 with an "
                "arch_dataloader",
            )

    def _check_second_order(self) -> None:
        self.require_loss_of_training_step()
        optimizer = self._weight_optimizer()
        if optimizer is not None:
            require_known_rule(optimizer)
        strategy = self.trainer.strategy
        tree = tree_of(strategy)
        known = (tree.own(SingleDeviceStrategy), tree.own(DDPStrategy))
        if not isinstance(strategy, known):
            raise StrategyError(
                f"order=2 needs whole weights in each process, not {type(strategy).__name__}",
                expected="one device, or DDP",
                fix="another Trainer(strategy=...), or order=1",
            )
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            raise StrategyError(
                f"order=2 does not scale losses, as precision={self.trainer.precision!r} does",
                expected="a precision without a gradient scaler",
                fix="Trainer(precision='bf16-mixed') or '32-true', or order=1",
            )


__all__ = ["Differentiable", "DifferentiableOptions", "OtherOptions"]
