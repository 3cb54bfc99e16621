"""Train every candidate equally often: in each step, each exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytorch_lightning import LightningModule

from oneshot_core import MutationHook, Registry
from oneshot_core.errors import StrategyError
from oneshot_core.space import Choice

from ..distillation.distillation import DistillOptions
from .paths import Path, PathSampling

if TYPE_CHECKING:
    from typing_extensions import Unpack

MAX_PATHS = 64
"""A label with more choices than this is refused: each is a forward and backward pass."""


class FairSampling(PathSampling):
    """Train, with each batch, as many paths as there are choices, with one optimizer step.

    Every label goes through its choices in a random order, so each is trained exactly once in
    a step. Labels with fewer choices than the largest begin another order: within a step
    their choices differ by one at most, and over many steps they are equal in the mean. A
    choice inside a candidate is trained only where that candidate is taken; fairness among
    nested choices holds in the mean only.

    The gradient is the sum over the paths, as in the paper: with ``m`` of them it is ``m`` times
    as large as that of one.

    Args:
        model: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        mutation_hooks: see there.
        seed: see there.
        registry: see there.
        **options: of the distillation, as for :class:`.UniformSampling`.

    Raises:
        StrategyError: at the start of a fit: a label has more choices than a step can run, or
            the model has constraints.

    Source: Chu et al., "FairNAS", arXiv:1907.01845, algorithm 1 and definition 2 (strict
    fairness).

    Exact: each candidate of the largest label is trained once in every step. Labels with fewer, and
    choices nested in candidates, are fair in the mean only.
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

    def check_fit(self) -> None:
        super().check_fit()
        if self.space.constraints:
            raise StrategyError(
                "strict fairness takes every choice in every step, whatever the others are, and "
                f"the model has constraints: {', '.join(map(repr, self.space.constraints))}",
                expected="choices that can be taken together in any way",
                fix="use a strategy that draws paths, such as 'random'",
            )
        large = {d.spec.label: d.spec.size for d in self.decisions if d.spec.size > MAX_PATHS}
        if large:
            raise StrategyError(
                f"strict fairness trains every choice in every step, and there are {large}",
                expected=f"at most {MAX_PATHS} choices for each label",
                fix="use the strategy 'random', or fewer candidates",
            )

    def draw_paths(self) -> list[Path]:
        rng = self.decisions.rng
        n = max((d.spec.size for d in self.decisions), default=1)
        orders: dict[str, list[Choice]] = {}
        for decision in self.decisions:
            order: list[Choice] = []
            while len(order) < n:
                order += sorted(decision.spec.choices(), key=lambda _: rng.random())
            orders[decision.spec.label] = order[:n]
        return [{label: order[i] for label, order in orders.items()} for i in range(n)]
