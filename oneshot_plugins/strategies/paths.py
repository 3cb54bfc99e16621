"""Train several paths with one step of the optimizer.

Each path has a forward and a backward pass of its own, so one graph is in memory at a time. The
Trainer sees one ``training_step`` whose loss is the sum, and whose gradient is the accumulated
one: clipping, accumulation over batches, gradient scaling, DDP and closures that are evaluated
several times work as for any loss.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from oneshot_core import MutationHook, Registry
from oneshot_core.errors import StrategyError
from oneshot_core.space import Choice

from ..distillation.distillation import DistillOptions
from .uniform import UniformSampling

if TYPE_CHECKING:
    from typing_extensions import Unpack

Path = dict[str, Choice]


class PathSampling(UniformSampling):
    """Train the sum of the losses of several paths; the base of what differs in which paths.

    A strategy supplies :meth:`draw_paths`. The paths of a batch depend on (seed, epoch, batch
    index) alone. Values that the user's ``training_step`` logs are, over an epoch, means over
    paths and batches.
    """

    def __init__(
        self,
        model: LightningModule,
        mutation_hooks: Sequence[MutationHook] | None = None,
        *,
        seed: int | None = None,
        registry: Registry | None = None,
        **options: Unpack[DistillOptions],
    ) -> None:
        super().__init__(model, mutation_hooks, seed=seed, registry=registry, **options)
        self._paths: list[Path] = []

    @abstractmethod
    def draw_paths(self) -> list[Path]:
        """Return the paths of one step, in the order in which they are run."""

    def draw_allowed(self, draw: Callable[[], Path]) -> Path:
        """Return a draw that keeps the constraints of the model space.

        Others are thrown away; where nearly all are, one is drawn that keeps them, uniformly.
        """
        drawn = self.space.draw_possible(draw)
        return self.space.complete({}, self.decisions.rng) if drawn is None else drawn

    def path_loss(self, index: int, step: Callable[[], Any]) -> Any:
        """Return the loss of one path, or what holds it; by default that of :meth:`taught`.

        Args:
            index: of the path, which is set.
            step: the user's ``training_step``.
        """
        return self.taught(step)

    def search_step(self, batch: Any, batch_idx: int) -> None:
        self.reseed("train", self.current_epoch, batch_idx)
        self._paths = self.draw_paths()
        with self.training_on(batch):
            self.advance_optimization()

    def run_training_step(self, step: Callable[[], Any]) -> Any:
        """Return the user's output with the sum of the losses of all paths as its loss."""
        paths = self._paths
        if len(paths) <= 1:  # nothing to add up: exactly the user's step
            return self._run(0, paths[0] if paths else {}, step)
        weights = [p for p in self.model.parameters() if p.requires_grad]
        total = _Total(weights, self._loss_scale())
        output: Any = None
        for index, path in enumerate(paths):
            answer = self._run(index, path, step)
            loss = answer.get("loss") if isinstance(answer, Mapping) else answer
            if loss is not None:
                total.add(loss)
                output = answer if output is None or isinstance(answer, Mapping) else output
        if output is None:
            return None
        loss = total.loss()
        return {**output, "loss": loss} if isinstance(output, Mapping) else loss

    def _run(self, index: int, path: Path, step: Callable[[], Any]) -> Any:
        for decision in self.decisions:
            if decision.spec.label in path:
                decision.adopt(path[decision.spec.label])
        return self.path_loss(index, step)

    def _loss_scale(self) -> float:
        # float16 gradients vanish without a scale; what Lightning multiplies with is undone.
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        return 1.0 if scaler is None else float(scaler.get_scale())


class _Total:
    """The sum of losses, of which only the gradients are kept."""

    def __init__(self, weights: Sequence[nn.Parameter], scale: float) -> None:
        self.weights = weights
        self.scale = scale
        self.value: Tensor | None = None
        self.gradients: list[Tensor | None] = [None] * len(weights)

    def add(self, loss: Tensor) -> None:
        """Add a loss, differentiate it and let its graph go."""
        if not loss.requires_grad:
            raise StrategyError(
                "the loss of a path does not depend on any weight",
                expected="a training_step whose loss has a gradient, whichever path is taken",
                fix="keep a layer with weights outside of the choices, or use one path",
            )
        with torch.autocast(loss.device.type, enabled=False):
            found = torch.autograd.grad(loss * self.scale, self.weights, allow_unused=True)
        self.value = loss.detach() if self.value is None else self.value + loss.detach()
        self.gradients = [
            new if old is None else old if new is None else old + new
            for old, new in zip(self.gradients, found, strict=True)
        ]

    def loss(self) -> Tensor:
        """Return the sum, with the gradient of all that was added."""
        used = [(w, g) for w, g in zip(self.weights, self.gradients, strict=True) if g is not None]
        weights, gradients = zip(*used, strict=True)
        apply: Callable[..., Tensor] = _Known.apply
        return apply(self.value, gradients, self.scale, *weights)


class _Known(torch.autograd.Function):
    """A value whose gradient is known already."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, gradients: Sequence[Tensor], scale: float, *weights: Tensor
    ) -> Tensor:
        ctx.gradients, ctx.scale = gradients, scale
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (outer,) = grads
        factor = outer / ctx.scale
        return (None, None, None, *(gradient * factor for gradient in ctx.gradients))


__all__ = ["Path", "PathSampling"]
