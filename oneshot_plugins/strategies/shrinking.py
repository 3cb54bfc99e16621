"""Train the largest network first, then open smaller choices phase by phase."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pytorch_lightning import LightningModule

from oneshot_core import MutationHook, ParameterSpec, Registry
from oneshot_core.errors import StrategyError
from oneshot_core.space import Choice

from ..distillation.distillation import DistillOptions
from .order import Order, by_size
from .paths import Path, PathSampling

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class Phase:
    """A part of the training, and what is opened at its beginning.

    Args:
        epochs: how long it lasts; the last phase lasts to the end of the training.
        opens: label, or a pattern such as ``"depth*"`` -> how many of its largest choices may
            be drawn from now on; None for all.
    """

    epochs: int
    opens: Mapping[str, int | None] = field(default_factory=dict)


class ProgressiveShrinking(PathSampling):
    """Train paths of what is open, which begins with the largest choice of every label alone.

    Args:
        model: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        mutation_hooks: see there.
        phases: in order; in the last all choices must be open. None opens one more choice of
            every label in each of as many equal phases as the longest label has choices; where
            the largest alone break a constraint, the first phase opens as many as keep it.
        n_paths: how many paths are drawn for each batch; their losses are added up.
        order: label -> choices from the smallest to the largest, where
            :func:`~.order.by_size` would be wrong.
        seed: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        registry: see there.
        **options: of the distillation, as for :class:`.UniformSampling`. The paper's teacher is
            the largest network, trained before: a module, or ``"original"`` after that training.

    Raises:
        StrategyError: ``n_paths`` or the epochs of a phase are less than 1.

    Source: Cai et al., "Once-for-All", arXiv:1908.09791, section 3.3; its distillation from the
    largest network is the option ``teacher``.

    Exact: the largest choices are opened first, and what is closed is not trained.
    """

    def __init__(
        self,
        model: LightningModule,
        mutation_hooks: Sequence[MutationHook] | None = None,
        *,
        phases: Sequence[Phase] | None = None,
        n_paths: int = 1,
        order: Order | None = None,
        seed: int | None = None,
        registry: Registry | None = None,
        **options: Unpack[DistillOptions],
    ) -> None:
        super().__init__(model, mutation_hooks, seed=seed, registry=registry, **options)
        if n_paths < 1 or (
            phases is not None and (not phases or any(p.epochs < 1 for p in phases))
        ):
            raise StrategyError(
                f"n_paths={n_paths}, phases={phases}",
                expected="at least one path, and phases of at least one epoch",
                fix="correct them",
            )
        self.phases = None if phases is None else tuple(phases)
        self.n_paths = n_paths
        self.order = order
        self._sorted: dict[str, list[Choice]] | None = None

    def open_choices(self, epoch: int, max_epochs: int) -> dict[str, list[Choice]]:
        """Return label -> the choices that may be drawn, from the smallest to the largest.

        Args:
            epoch: from 0 on.
            max_epochs: of the training; counts only without ``phases``.
        """
        ordered = self._order()
        if self.phases is None:
            longest = max((len(choices) for choices in ordered.values()), default=1)
            n_open = 1 + min(epoch * longest // max_epochs, longest - 1)
            n_open = max(n_open, self._fewest(ordered))
            return {label: choices[-n_open:] for label, choices in ordered.items()}
        found = {label: choices[-1:] for label, choices in ordered.items()}
        begins = 0
        for phase in self.phases:
            if epoch < begins:
                break
            for pattern, n in phase.opens.items():
                for label, choices in ordered.items():
                    if fnmatchcase(label, pattern):
                        found[label] = choices if n is None else choices[-max(n, 1) :]
            begins += phase.epochs
        return found

    @property
    def search_phase(self) -> str:
        opened = self.open_choices(self.current_epoch, self.trainer.max_epochs or 1)
        n_open = sum(map(len, opened.values()))
        return f"open {n_open}/{sum(map(len, self._order().values()))}"

    def _fewest(self, ordered: Mapping[str, list[Choice]]) -> int:
        """Return how many choices must be open for the constraints to be kept."""
        if not self.space.constraints:
            return 1
        longest = max((len(choices) for choices in ordered.values()), default=1)
        allowed = (
            n
            for n in range(1, longest + 1)
            if self.space.first(lambda spec, n=n: ordered[spec.label][-n:])  # type: ignore[misc]
        )
        return next(allowed, longest)

    def _order(self) -> dict[str, list[Choice]]:
        if self._sorted is None:
            self._sorted = by_size(self, self.order)
        return self._sorted

    def draw_paths(self) -> list[Path]:
        return [self._draw() for _ in range(self.n_paths)]

    def _draw(self) -> Path:
        rng = self.decisions.rng
        open_ = self.open_choices(self.current_epoch, self.trainer.max_epochs or 1)

        def draw() -> Path:
            # int(random() * n): the one draw that Python promises to keep stable.
            return {label: cs[int(rng.random() * len(cs))] for label, cs in open_.items()}

        def shuffled(spec: ParameterSpec) -> list[Choice]:
            return rng.sample(open_[spec.label], len(open_[spec.label]))

        drawn = self.space.draw_possible(draw)
        return self._require_open(self.space.first(shuffled)) if drawn is None else drawn

    def _opened(self, epoch: int) -> Callable[[ParameterSpec], list[Choice]]:
        opened = self.open_choices(epoch, self.trainer.max_epochs or 1)
        return lambda spec: opened[spec.label]

    def _require_open(self, path: Path | None) -> Path:
        if path is None:
            raise StrategyError(
                f"what a phase opens cannot keep the constraints {self.space.constraints}",
                expected="choices that can be taken together in every phase",
                fix="open more at once with phases=[...], or change order=",
            )
        return path

    def prepare_evaluation(self, stage: str, batch_idx: int) -> None:
        self.reseed(stage, self.current_epoch, batch_idx)
        path = self._draw()
        for decision in self.decisions:
            decision.adopt(path[decision.spec.label])

    def check_fit(self) -> None:
        super().check_fit()
        for epoch in range(self.trainer.max_epochs or 1) if self.space.constraints else ():
            self._require_open(self.space.first(self._opened(epoch)))
        ordered, epochs = self._order(), self.trainer.max_epochs
        if self.phases is None:
            longest = max((len(choices) for choices in ordered.values()), default=1)
            if epochs is None or epochs < longest:
                raise StrategyError(
                    f"{longest} phases need as many epochs; max_epochs is {epochs}",
                    expected="max_epochs that is not smaller",
                    fix="train longer, or pass phases=[...]",
                )
            return
        patterns = {pattern for phase in self.phases for pattern in phase.opens}
        idle = [p for p in sorted(patterns) if not any(fnmatchcase(n, p) for n in ordered or ["*"])]
        begins = sum(phase.epochs for phase in self.phases[:-1])
        last = self.open_choices(begins, 0)
        closed = sorted(label for label in ordered if len(last[label]) < len(ordered[label]))
        if idle or closed or (epochs is not None and 0 <= epochs <= begins):
            raise StrategyError(
                f"the phases leave {closed} partly closed, name {idle} in vain, and the last "
                f"begins after {begins} of {epochs} epochs",
                expected=f"every label of {sorted(ordered)} open in the last phase, which is "
                "reached",
                fix="correct phases=, such as Phase(5, {'*': None}) as the last",
            )
