"""Single path one-shot: train one uniformly drawn path for each batch, rank afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from oneshot_core import (
    Active,
    Architecture,
    BaseOneShotLightningModule,
    Decision,
    MutationHook,
    ParameterSpec,
    Registry,
)
from oneshot_core.errors import ArchitectureError, StrategyError
from oneshot_core.space import Choice

from ..distillation.cache import TeacherCache
from ..distillation.distillation import Distillation, DistillOptions, distillation_of
from ..distillation.losses import Losses
from ..distillation.teacher import Output


class UniformDecision(Decision):
    """Draw every choice with equal probability, or by the prior it was given."""

    def __init__(self, spec: ParameterSpec) -> None:
        super().__init__(spec)
        self._taken = spec.default

    def mixture(self) -> list[Active]:
        return [Active(candidate) for candidate in self.spec.members(self._taken)]

    def probabilities(self) -> Tensor:
        n = len(self.spec.candidates)
        if self.spec.prior is not None:
            prior = torch.tensor(self.spec.prior)
            return prior / prior.sum()
        if self.spec.n_chosen is None:  # a candidate is in half of all subsets, the empty one too
            return torch.full((n,), 2 ** (n - 1) / self.spec.size)
        return torch.full((n,), self.spec.n_chosen / n)

    def resample(self) -> Choice:
        self._taken = self.draw_uniform()
        return self._taken

    def adopt(self, choice: Choice) -> None:
        self._taken = choice


class UniformSampling(BaseOneShotLightningModule):
    """Train one uniformly drawn path for each batch; the architecture is found by ranking.

    The path of a batch depends on (seed, epoch, batch index) alone: it is the same on every
    process and after a resume. Each validation batch is computed with a path of its own, so
    the logged metrics are averages over the space.

    Args:
        model: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        mutation_hooks: see there.
        teacher: from which every path learns beside the user's loss: ``"original"``, a frozen
            copy of ``model`` as it is now; or a module, which is put into evaluation mode without
            gradients. None: there is no teacher.
        distill: what is learned from it: the name of a loss between outputs, a function
            ``(student_output, teacher_output, batch) -> loss``, a mapping from paths of modules
            to these, or a :class:`.Distill`. None is ``"kl"`` between logits.
        distill_at: path of the module in ``model`` whose inputs the teacher gets, too, or a
            function ``(model, batch) -> output``. None is the only submodule that has weights,
            else ``model`` itself.
        teacher_cache: a folder, or a :class:`.TeacherCache`, where outputs of the teacher are
            kept for each sample of a fixed dataset.
        seed: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        registry: see there.

    Attributes:
        distillation: what the options describe; None without a teacher.

    Source: Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform
    Sampling", arXiv:1904.00420, section 3.2.

    Exact: every choice of a label is equally probable, or by its prior; with constraints, every
    architecture that keeps them.
    """

    def __init__(
        self,
        model: LightningModule,
        mutation_hooks: Sequence[MutationHook] | None = None,
        *,
        teacher: str | nn.Module | None = None,
        distill: Losses = None,
        distill_at: str | Output | None = None,
        teacher_cache: str | os.PathLike[str] | TeacherCache | None = None,
        seed: int | None = None,
        registry: Registry | None = None,
    ) -> None:
        super().__init__(model, mutation_hooks, seed=seed, registry=registry)
        options: DistillOptions = {
            "teacher": teacher,
            "distill": distill,
            "distill_at": distill_at,
            "teacher_cache": teacher_cache,
        }
        self.distillation = self.make_distillation(options)  # before the model is changed
        self._training_batch: Any = None

    def make_distillation(self, options: DistillOptions) -> Distillation | None:
        """Return what the paths learn from a teacher; None if there is none.

        Args:
            options: as given to the strategy.
        """
        return distillation_of(self.model, **options)

    def make_decision(self, spec: ParameterSpec) -> Decision:
        return UniformDecision(spec)

    def resample(self, memo: Mapping[str, Choice] | None = None) -> dict[str, Choice]:
        """Draw for the next forward passes: all that keeps the constraints equally probable."""
        if not self.space.constraints:
            return super().resample(memo)
        drawn = self.space.complete(self.space.normalise(memo), self.decisions.rng)
        for module in self.nas_modules:
            module.resample(drawn)
        return drawn

    @property
    def search_phase(self) -> str:
        return "supernet"

    def search_step(self, batch: Any, batch_idx: int) -> None:
        self.reseed("train", self.current_epoch, batch_idx)
        self.resample()
        with self.training_on(batch):
            self.advance_optimization()

    @contextmanager
    def training_on(self, batch: Any) -> Iterator[None]:
        """Let what is learned from a teacher be about ``batch`` inside the block."""
        self._training_batch = batch
        if self.distillation is not None:
            self.distillation.begin_batch()
        try:
            yield
        finally:
            self._training_batch = None
            if self.distillation is not None:
                self.distillation.begin_batch()  # whose tensors may go

    def run_training_step(self, step: Callable[[], Any]) -> Any:
        return self.taught(step)

    def taught(self, step: Callable[[], Any]) -> Any:
        """Return the user's output, its loss together with that of the distillation.

        A model without any choice is trained by the user's loss alone.

        Args:
            step: the user's ``training_step``.
        """
        if self.distillation is None or not self.nas_modules:
            return step()
        return self.distillation.step(self, step, self._training_batch)

    def require_loss_of_training_step(self) -> None:
        # Without a teacher run_training_step is that of the base class, which needs no loss.
        own = type(self).run_training_step is not UniformSampling.run_training_step
        if own or self.distillation is not None:
            super().require_loss_of_training_step()

    def check_fit(self) -> None:
        super().check_fit()
        if self.distillation is not None and self.nas_modules:
            self.distillation.start(self)

    def strategy_state(self) -> dict[str, Any]:
        return {} if self.distillation is None else self.distillation.state()

    def load_strategy_state(self, state: Mapping[str, Any]) -> None:
        if self.distillation is not None:
            self.distillation.load_state(state)

    def prepare_evaluation(self, stage: str, batch_idx: int) -> None:
        self.reseed(stage, self.current_epoch, batch_idx)
        self.resample()

    def export(self, memo: Mapping[str, Choice] | None = None) -> Architecture:
        """Return the best architecture of the last ranking, of those with the choices of ``memo``.

        Raises:
            StrategyError: nothing was ranked yet. Sampling learns no preference.
            ArchitectureError: nothing with the choices of ``memo`` was ranked.
        """
        memo = self.space.normalise(memo)
        if not memo:
            return self.top_k(1)[0]
        for found in self.top_k(len(self.ranking or ()) or 1):
            if all(found.get(label, choice) == choice for label, choice in memo.items()):
                return found
        raise ArchitectureError(
            f"no architecture with {memo} was ranked",
            expected="choices of an architecture in search.ranking",
            fix="rank such architectures, or decide less",
        )

    def top_k(self, k: int) -> list[Architecture]:
        """Return the ``k`` best architectures of the last ranking.

        Raises:
            StrategyError: nothing was ranked yet.
            ValueError: ``k`` is less than 1.
        """
        if k < 1:
            raise ValueError(f"top_k needs k >= 1, got {k}")
        if self.ranking is None:
            raise StrategyError(
                "uniform sampling prefers no architecture by itself",
                expected="a ranking with the trained weights",
                fix="search.rank('all', val_dataloader, metric='val_acc').best",
            )
        return [entry.architecture for entry in list(self.ranking)[:k]]
