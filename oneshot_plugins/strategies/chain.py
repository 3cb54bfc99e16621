"""Prune and distil along a sequence of sizes, keeping the weights of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed
from pytorch_lightning import LightningModule
from torch import nn
from torch.distributed.tensor import DTensor

from oneshot_core import Architecture, MutationHook, Registry
from oneshot_core.architecture import freeze
from oneshot_core.errors import StrategyError
from oneshot_core.files import whole_file

from ..distillation.distillation import Distillation, DistillOptions, distillation_of
from ..distillation.teacher import Teacher, module_at
from .order import Order
from .stages import Sizes, Stage, Weights, begins_of, copied, sharing, sizes_of, tensors_of
from .uniform import UniformSampling

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

PREVIOUS = "previous"
SHARED = -1
"""In the place of the number of a stage: the shared weights, as training left them."""


class Chain(UniformSampling):
    """Train one size after another, from the largest to the smallest, and keep each.

    A stage trains one fixed architecture in the shared weights, and so begins with what the stage
    before has learned. When it ends, the weights of the model are kept for it. From then on
    ``search.at``, ``search.rank``, ``search.pareto`` and ``oneshot.freeze(search, ...)`` of that
    architecture use the kept weights, however later stages change the shared ones. Every other
    architecture, and the stage in training, use the shared weights as they are; an architecture
    that is no stage is trained by accident only.

    The user's optimizer and schedulers run through: they do not begin anew with a stage.

    Where the Trainer keeps checkpoints in a folder, the frozen network of each finished stage is
    written there, too: ``stage-0/architecture.json`` and ``stage-0/weights.pt``, a ``state_dict``.

    Args:
        model: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        mutation_hooks: see there.
        sizes: how many, in equal steps from the largest to the smallest choice of every label;
            or a mapping from labels (or patterns) to choices for each, largest first. What a size
            leaves out is as in the size before. None takes the largest and the smallest.
        epochs: how long each stage lasts: one number, or one for each; fractions of an epoch are
            fine. The last stage lasts to the end. None shares ``max_epochs`` equally.
        order: label -> choices from the smallest to the largest, where
            :func:`~.order.by_size` would be wrong.
        seed: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        registry: see there.
        **options: of the distillation, as for :class:`.UniformSampling`; ``teacher`` may be
            ``"previous"``, too: the network of the stage before; for the first the original.

    Attributes:
        sizes: the architectures, largest first.

    Raises:
        StrategyError: the sizes or epochs make no chain.

    Source: Muralidharan et al., "Compact Language Models via Pruning and Knowledge Distillation",
    arXiv:2407.14679, section 3 (iterative pruning and distillation).

    Exact: each stage trains its architecture alone, and its kept weights are those at its end.
    """

    def __init__(
        self,
        model: LightningModule,
        mutation_hooks: Sequence[MutationHook] | None = None,
        *,
        sizes: Sizes | None = None,
        epochs: float | Sequence[float] | None = None,
        order: Order | None = None,
        seed: int | None = None,
        registry: Registry | None = None,
        **options: Unpack[DistillOptions],
    ) -> None:
        super().__init__(model, mutation_hooks, seed=seed, registry=registry, **options)
        self._given = sizes
        self.epochs = epochs
        self.order = order
        self._sizes: list[Architecture] | None = None
        self._begins: list[float] = []
        self._stage = 0
        self._started = False
        self._kept: list[Weights] = []
        self._held = SHARED
        self._shared: Weights = {}

    def make_distillation(self, options: DistillOptions) -> Distillation | None:
        self._previous = options.get("teacher") == PREVIOUS
        if self._previous and options.get("teacher_cache") is not None:
            raise StrategyError(
                "the teacher of a chain changes with each stage, and its outputs are to be cached",
                expected="one teacher for all of the search",
                fix="leave teacher_cache out, or use teacher='original'",
            )
        return distillation_of(self.model, **options, others=[PREVIOUS])

    # --- what a user asks -----------------------------------------------------------------------

    @property
    def sizes(self) -> list[Architecture]:
        """The architectures of the chain, largest first."""
        if self._sizes is None:
            two = min(2, max((s.size for s in self.space.specs.values()), default=1))
            given = int(two) if self._given is None else self._given
            self._sizes = sizes_of(self, given, self.order)
        return list(self._sizes)

    @property
    def stages(self) -> list[Stage]:
        """The sizes with what has become of them; ``begins`` is NaN before the first fit."""
        begins = self._begins or [float("nan")] * len(self.sizes)
        last = self._stage if self._started else -1
        return [
            Stage(size, begin, i <= last, i < len(self._kept))
            for i, (size, begin) in enumerate(zip(self.sizes, begins, strict=True))
        ]

    def network(self, stage: int) -> nn.Module:
        """Return the plain network of a stage with its own weights.

        Args:
            stage: position in :attr:`sizes`; -1 is the smallest.

        Raises:
            StrategyError: the stage was not reached yet.
        """
        found = self.stages[stage]
        if not found.reached:
            raise StrategyError(
                f"stage {stage} of the chain was not trained yet",
                expected=f"one of the {sum(s.reached for s in self.stages)} that were",
                fix="train longer, or oneshot.freeze(search, search.sizes[i]) for what the shared "
                "weights give",
            )
        return freeze(self, found.architecture)

    @contextmanager
    def weights_of(self, architecture: Mapping[str, object]) -> Iterator[None]:
        """Let the model hold, inside the block, the weights that are kept for an architecture.

        Those of an architecture without weights of its own are the shared ones: nothing happens.
        After the block the shared weights are back, bit for bit.

        Args:
            architecture: which may be a stage.
        """
        stage, held = self._stage_kept_for(architecture), self._held
        if stage == held:
            yield
            return
        state = tensors_of(self.model)
        before = {name: tensor.detach().clone() for name, tensor in state.items()}
        if held == SHARED:
            self._shared = before
        self._held = stage
        try:
            _write(state, self._shared if stage == SHARED else self._kept[stage])
            yield
        finally:
            _write(state, before)
            self._held = held
            if held == SHARED:
                self._shared = {}

    @contextmanager
    def at(self, architecture: Mapping[str, object]) -> Iterator[Self]:
        """Let ``model`` compute ``architecture``; a finished stage with the weights it ended with.

        Raises:
            ArchitectureError: ``architecture`` does not fit the model space.
        """
        with super().at(architecture), self.weights_of(architecture):
            yield self

    def _stage_kept_for(self, architecture: Mapping[str, object]) -> int:
        if not self._kept:
            return SHARED
        chosen = Architecture(architecture).validate(self.space)
        known = Architecture(self.space.reduce(chosen), self.space)
        sizes = self.sizes[: len(self._kept)]
        return sizes.index(known) if known in sizes else SHARED

    # --- one batch ------------------------------------------------------------------------------

    @property
    def search_phase(self) -> str:
        return f"size {self._stage + 1}/{len(self.sizes)}"

    def search_step(self, batch: Any, batch_idx: int) -> None:
        if self.nas_modules:
            self._enter(self._stage_at(batch_idx))
            self._started = True
            self._follow()
        with self.training_on(batch):
            self.advance_optimization()

    def prepare_evaluation(self, stage: str, batch_idx: int) -> None:
        if self.nas_modules:
            self._follow()

    def _stage_at(self, batch_idx: int) -> int:
        batches = float(self.trainer.num_training_batches)  # infinite if nobody knows
        done = self.current_epoch + batch_idx / batches
        # Rounding of thirds and the like must not make a stage one batch longer.
        now = max((i for i, begin in enumerate(self._begins) if begin <= done + 1e-9), default=0)
        return max(now, self._stage)

    def _follow(self) -> None:
        size = self.sizes[self._stage]
        for decision in self.decisions:
            if decision.spec.label in size:
                decision.adopt(size[decision.spec.label])

    def _enter(self, stage: int) -> None:
        while self._stage < stage:
            agreed = self._agreed(copied(self.model))
            self._kept.append(sharing(agreed, self._kept[-1]) if self._kept else agreed)
            self._save(self._stage)
            self._stage += 1
            self._learn_from_previous()

    def _agreed(self, weights: Weights) -> Weights:
        """Return the weights of the first process, whose buffers DDP hands to the others."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return weights
        agreed: Weights = {}
        for name, value in weights.items():
            moved = value.to(self.device)
            torch.distributed.broadcast(moved, src=0)
            agreed[name] = moved.cpu()
        return agreed

    def _learn_from_previous(self) -> None:
        distillation = self.distillation
        if not self._previous or distillation is None or self._stage == 0:
            return
        network = self.network(self._stage - 1)
        at = distillation.at
        module = network if callable(at) else module_at(network, at, "distill_at")
        distillation.replace(Teacher(module, f"the network of stage {self._stage - 1}"))

    # --- a fit, and what outlasts it ------------------------------------------------------------

    def check_fit(self) -> None:
        if not self.nas_modules:  # such a model is trained as it is, or refused
            super().check_fit()
            return
        self._begins = begins_of(self.epochs, len(self.sizes), self.trainer.max_epochs)
        sharded = [n for n, p in self.model.named_parameters() if isinstance(p, DTensor)]
        if sharded:
            raise StrategyError(
                f"the chain keeps whole weights, and {sharded[0]!r} is sharded",
                expected="a Trainer strategy that gives each process all weights, such as DDP",
                fix="use Trainer(strategy='ddp_find_unused_parameters_true')",
            )
        self._learn_from_previous()
        super().check_fit()

    def on_fit_end(self) -> None:
        if self._started and self._stage + 1 == len(self.sizes):
            self._save(self._stage)
        super().on_fit_end()

    def _save(self, stage: int) -> None:
        """Write the frozen network of a stage beside the checkpoints of the Trainer, if any."""
        folder = getattr(self.trainer.checkpoint_callback, "dirpath", None)
        if folder is None or not self.trainer.is_global_zero:
            return
        place = Path(folder, f"stage-{stage}")
        place.mkdir(parents=True, exist_ok=True)
        self.sizes[stage].save(place / "architecture.json")
        with whole_file(place / "weights.pt") as file:
            torch.save(freeze(self, self.sizes[stage]).state_dict(), file)

    def strategy_state(self) -> dict[str, Any]:
        own = {
            "sizes": [dict(size) for size in self.sizes] if self.nas_modules else [],
            "stage": self._stage,
            "started": self._started,
            "kept": self._kept,
        }
        later = self._previous and self._stage > 0  # whose teacher is found in "kept"
        return own | ({} if later else super().strategy_state())

    def load_strategy_state(self, state: Mapping[str, Any]) -> None:
        sizes = [Architecture(size) for size in state["sizes"]]
        if sizes != (self.sizes if self.nas_modules else []):
            raise StrategyError(
                f"the checkpoint holds a chain of {len(sizes)} sizes, {[dict(s) for s in sizes]}",
                expected=f"the sizes of this search, {[dict(s) for s in self.sizes]}",
                fix="make the search with the sizes it was begun with",
            )
        self._stage = int(state["stage"])
        self._started = bool(state["started"])
        self._kept = [dict(weights) for weights in state["kept"]]
        super().load_strategy_state(state)


@torch.no_grad()
def _write(state: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in state.items():
        if name in values:
            tensor.copy_(values[name])


__all__ = ["Chain"]
