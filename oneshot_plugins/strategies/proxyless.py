"""Learn from binary gates: one path for the weights, two for the architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from oneshot_core import Active, Decision, MutationHook, ParameterSpec
from oneshot_core.space import Candidate, Choice

from .darts import SoftmaxDecision
from .differentiable import Differentiable, OtherOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ProxylessDecision(SoftmaxDecision):
    """Run the drawn path, or, to learn from it, that path and a second one behind a closed gate.

    Gates are 1 for what is taken and 0 for the second path, which is run for its gradient only.
    Of the learned scores only those of the pair that is compared change.

    Where ``n`` candidates are taken, one of them is compared with one that is not; where any
    subset may be taken, one candidate is, with its absence.

    Args: see :class:`.SoftmaxDecision`.

    Source: Cai et al., "ProxylessNAS", arXiv:1812.00332, sections 3.2.1 and 3.2.2.
    """

    def __init__(self, spec: ParameterSpec, *, seed: int = 0) -> None:
        super().__init__(spec, seed=seed)
        self._taken = spec.default
        self._pair: tuple[Candidate, ...] = ()

    @property
    def leaves_out(self) -> bool:
        return True

    def resample(self) -> Choice:
        """Draw a path by the learned probabilities; nothing is compared with it."""
        self._pair = ()
        self._taken = self._draw()
        return self._taken

    def adopt(self, choice: Choice) -> None:
        self._taken, self._pair = choice, ()

    def compare(self) -> None:
        """Draw a path, and what it is compared with in the next forward passes.

        Of each choice two candidates are weighted, so constraints between choices do not apply
        here; the paths that train weights, and what is exported, keep them.
        """
        self.resample()
        members = self.spec.members(self._taken)
        rest = [c for c in self.spec.candidates if c not in members]
        if self.spec.size == 1:
            return
        if self.spec.n_chosen is None:
            self._pair = (self._weighted(self.spec.candidates, [1.0] * len(self.alpha)),)
            return
        # Two of all, by their probabilities; which of them is open, by theirs alone.
        one = self._weighted(members, [1.0] * len(members))
        other = self._weighted(rest, [self._p[c] for c in rest])
        self._pair = tuple(c for c in self.spec.candidates if c in (one, other))
        open_ = self._weighted(self._pair, [self._p[c] for c in self._pair])
        kept = [c for c in members if c != one]
        self._taken = self.spec.normalise([*kept, open_])

    @property
    def compared(self) -> tuple[Candidate, ...]:
        """The candidates whose scores are learned from; empty if there are none."""
        return self._pair

    def gates(self) -> dict[Candidate, Tensor]:
        """Return the gates of what is compared: exactly 0 or 1, with the estimator's gradient."""
        index = [self.spec.candidates.index(c) for c in self._pair]
        scores = self.alpha[index]
        p = scores.sigmoid() if self.spec.n_chosen is None else scores.softmax(0)
        taken = self.spec.members(self._taken)
        binary = p.new_tensor([float(c in taken) for c in self._pair])
        return dict(zip(self._pair, (binary + (p - p.detach())).unbind(), strict=True))

    def mixture(self) -> list[Active]:
        gates = self.gates() if self._pair else {}
        members = self.spec.members(self._taken)
        return [
            Active(candidate, gates.get(candidate))
            for candidate in self.spec.candidates
            if candidate in members or candidate in gates
        ]

    @torch.no_grad()
    def rescale(self, before: Tensor) -> None:
        """Put back the scores that nothing was learned about, and the others' share of them.

        Args:
            before: the scores before the step. The pair's total probability becomes again what
                it was then; between the two the step counts.
        """
        index = [self.spec.candidates.index(c) for c in self._pair]
        learned = self.alpha[index].clone()
        self.alpha.copy_(before)
        if len(index) == 2:
            learned += before[index].logsumexp(0) - learned.logsumexp(0)
        self.alpha[index] = learned

    @property
    def _p(self) -> Mapping[Candidate, float]:
        p = self.alpha.detach().double().softmax(0).tolist()
        return dict(zip(self.spec.candidates, p, strict=True))

    def _weighted(self, among: Sequence[Candidate], weights: Sequence[float]) -> Candidate:
        point = self.rng.random() * sum(weights)
        for candidate, weight in zip(among, weights, strict=True):
            point -= weight
            if point < 0:
                return candidate
        return among[-1]

    def _draw(self) -> Choice:
        if self.spec.n_chosen is None:
            on = self.alpha.detach().double().sigmoid().tolist()
            drawn = [self.rng.random() < p for p in on]
            if not any(drawn):  # a choice takes something: the most probable
                drawn[on.index(max(on))] = True
            pairs = zip(self.spec.candidates, drawn, strict=True)
            return self.spec.normalise([candidate for candidate, is_on in pairs if is_on])
        taken, rest = [], list(self.spec.candidates)
        for _ in range(self.spec.n_chosen):
            taken.append(self._weighted(rest, [self._p[c] for c in rest]))
            rest.remove(taken[-1])
        return self.spec.normalise(taken)


class Proxyless(Differentiable):
    """Train one drawn path for each batch; learn the architecture by comparing two.

    Args:
        model: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        mutation_hooks: see there.
        arc_learning_rate: of the architecture parameters' Adam.
        betas: of that Adam.
        weight_decay: of that Adam. These defaults are the authors': no first moment and no
            weight decay, which would move scores that were not compared.
        **options: see :class:`.Differentiable`.

    Raises:
        StrategyError: there is no ``arch_dataloader``, or an option is out of range.

    Source: Cai et al., "ProxylessNAS", arXiv:1812.00332, section 3.2.

    Exact: the gradient over the pair that is compared; all other probabilities stay.
    """

    def __init__(
        self,
        model: LightningModule,
        mutation_hooks: Sequence[MutationHook] | None = None,
        *,
        arc_learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.0, 0.999),
        weight_decay: float = 0.0,
        **options: Unpack[OtherOptions],
    ) -> None:
        super().__init__(
            model,
            mutation_hooks,
            arc_learning_rate=arc_learning_rate,
            betas=betas,
            weight_decay=weight_decay,
            **options,
        )

    def make_decision(self, spec: ParameterSpec) -> Decision:
        return ProxylessDecision(spec, seed=self.seed)

    def train_architecture(self) -> None:
        pairs = [d for d in self.decisions if isinstance(d, ProxylessDecision)]
        for decision in pairs:
            decision.compare()
        before = [decision.alpha.detach().clone() for decision in pairs]
        super().train_architecture()
        for decision, alpha in zip(pairs, before, strict=True):
            decision.rescale(alpha)

    def draw(self, stage: str, batch_idx: int) -> None:
        self.reseed(stage, self.current_epoch, batch_idx)
        if stage != "architecture":  # there train_architecture draws
            self.resample()
