"""How one labelled choice is made: the half of the contract that a strategy supplies.

Data flow of one forward pass: a supernet module asks its decision ``active()``, gets the
candidates that take part and the weight of each, and runs only those. It never learns
whether they were sampled, superposed or pinned; the decision never learns what they are.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .errors import LabelError, StrategyError
from .space.preference import entropy_of, lead_of, most_probable
from .space.spec import Candidate, Choice, ParameterSpec


class Active(NamedTuple):
    """One candidate that takes part in this forward pass.

    ``weight`` is a 0-dimensional tensor that says how often the candidate counts, or None
    for "as it is". Weights of a decision sum to the number of candidates it takes.
    """

    candidate: Candidate
    weight: Tensor | None = None


class Decision(nn.Module, ABC):
    """Make one choice, for all modules that carry its label.

    A subclass says in :meth:`mixture` which candidates take part, in :meth:`probabilities`
    how probable each is, and may draw in :meth:`resample`. Its parameters are the
    architecture parameters; they live on the strategy, never under the user's module.

    Args:
        spec: what can be chosen.
    """

    spec: ParameterSpec

    def __init__(self, spec: ParameterSpec) -> None:
        super().__init__()
        self.spec = spec
        self._rng: random.Random | None = None
        self._pinned: tuple[Choice] | None = None  # None is a candidate like others

    @property
    def rng(self) -> random.Random:
        """Source of all draws, shared by the decisions of one search."""
        if self._rng is None:  # made when first needed: to seed one takes longer than all else
            self._rng = random.Random(0)
        return self._rng

    @rng.setter
    def rng(self, rng: random.Random) -> None:
        self._rng = rng

    def extra_repr(self) -> str:
        """Show in printed models what is decided."""
        return f"{self.spec.label!r}, {self.spec.offer}"

    def active(self) -> list[Active]:
        """Return the candidates of this forward pass: the pinned ones, else the mixture."""
        if self._pinned is None:
            return self.mixture()
        return [Active(candidate) for candidate in self.spec.members(self._pinned[0])]

    @abstractmethod
    def mixture(self) -> list[Active]:
        """Return the candidates that take part while nothing is pinned."""

    @abstractmethod
    def probabilities(self) -> Tensor:
        """Return, for every candidate, how probable it is to be taken.

        Shape ``(n_candidates,)``, differentiable in the architecture parameters. Sums to
        ``n_chosen``; where any subset may be taken, each entry is one by itself.
        """

    def entropy(self) -> float:
        """Return how undecided this is: 0 for one certain choice, 1 for equal probabilities.

        The entropy of :meth:`probabilities`, as shares of their sum, divided by that of equal
        ones; where any subset may be taken, the mean of binary entropies. NaN if they are not
        finite. Only for decisions between two or more candidates.
        """
        return entropy_of(self.spec, self._shares())

    @property
    def superposes(self) -> bool:
        """Say whether :meth:`mixture` may hold more candidates than are taken in the end."""
        return False

    @property
    def leaves_out(self) -> bool:
        """Say whether some forward passes may run fewer than all candidates.

        Processes that train together then have to look for weights without a gradient.
        """
        return not self.superposes

    def resample(self) -> Choice | None:
        """Draw a choice for the next forward passes; None if this kind draws nothing.

        Where None is a candidate, it is a draw of a kind that does not superpose.
        """
        return None

    def adopt(self, choice: Choice) -> None:
        """Follow a draw that was made elsewhere under the same label."""
        del choice

    def pin(self, choice: Choice | None) -> None:
        """Compute exactly ``choice`` until :meth:`unpin`, whatever the strategy says.

        None unpins, too, unless it is a candidate.
        """
        unpins = choice is None and not self.spec.contains(None)
        self._pinned = None if unpins else (self.spec.normalise(choice),)

    def unpin(self) -> None:
        """Follow the strategy again."""
        self._pinned = None

    @property
    def is_pinned(self) -> bool:
        """Say whether a choice is pinned."""
        return self._pinned is not None

    @property
    def pinned(self) -> Choice | None:
        """The pinned choice; None if there is none, or if it is that (:attr:`is_pinned`)."""
        return None if self._pinned is None else self._pinned[0]

    def best(self) -> Choice:
        """Return the most probable choice. Deterministic: the first of equals wins."""
        return self.top_k(1)[0][0]

    def top_k(self, k: int) -> list[tuple[Choice, float]]:
        """Return the ``k`` most probable choices and their log-probabilities, best first.

        Candidates are treated as independent; log-probabilities are therefore those of a
        product, up to a constant that all choices share. Fewer than ``k`` if there are no
        more.
        """
        if k < 1:
            raise ValueError(f"top_k needs k >= 1, got {k}")
        if self.spec.interval is not None:  # no preference can be learned for a number
            return [(self.spec.default, 0.0)]
        return most_probable(self.spec, self._shares(), k)

    def lead(self, choice: Choice) -> tuple[float, float]:
        """Return how probable ``choice`` is, and how probable what else could most easily be.

        Where several candidates are taken: the least probable of them, and the most probable that
        is left out. Where any subset may be taken: of the least certain candidate, what is done
        with it and the opposite. The second number is larger where another choice is preferred,
        0 where there is no other; both are 0 for a number from an interval.
        """
        if self.spec.interval is not None:  # no preference can be learned for a number
            return 0.0, 0.0
        return lead_of(self.spec, self._shares(), choice)

    @torch.no_grad()
    def _shares(self) -> Tensor:
        return self.probabilities().double().cpu()

    def draw_uniform(self) -> Choice:
        """Draw a choice from :attr:`rng`: by the prior if there is one, else all equally often."""
        return self.spec.draw(self.rng)


class DecisionTable(nn.Module):
    """The decisions of one search, one for each label.

    Args:
        make: builds the decision for a spec; a strategy's decision class fits.

    Raises:
        LabelError: from :meth:`decide`, when one label is given two meanings.
        StrategyError: from :meth:`decide`, when candidates of an interval are to be weighted.
    """

    def __init__(self, make: Callable[[ParameterSpec], Decision]) -> None:
        super().__init__()
        self.rng = random.Random(0)
        self._make = make
        # Labels may hold dots, which torch refuses in submodule names: number them instead.
        self._decisions = nn.ModuleList()
        self._index: dict[str, int] = {}
        self._paths: dict[str, str] = {}

    def decide(self, spec: ParameterSpec, *, path: str) -> Decision:
        """Return the decision of ``spec.label``, made at first sight.

        Args:
            spec: what can be chosen.
            path: where in the model; for messages.

        Raises:
            LabelError: the label is known and decides between other candidates.
            StrategyError: the spec is an interval, and decisions of this kind superpose candidates
                or learn something for each.
        """
        if spec.label not in self._index:
            decision = self._make(spec)
            listed = decision.superposes or next(decision.parameters(), None) is not None
            if spec.interval is not None and listed:
                raise StrategyError(
                    f"{type(decision).__name__} cannot choose {spec.offer} for {spec.label!r} at "
                    f"{path!r}: it weights candidates",
                    expected="a choice between candidates that can be listed",
                    fix="oneshot.choice([...]), or a strategy that samples, such as 'random'",
                )
            decision.rng = self.rng
            self._index[spec.label] = len(self._decisions)
            self._paths[spec.label] = path
            self._decisions.append(decision)
        decision = self[spec.label]
        if decision.spec != spec:
            raise LabelError(
                f"the label {spec.label!r} names two different choices.\n"
                f"  {self._paths[spec.label]!r} offers {decision.spec.offer},\n"
                f"  {path!r} offers {spec.offer}\n"
                "  fix: give the second one another label, or the same candidates"
            )
        return decision

    def __getitem__(self, label: str) -> Decision:
        decision = self._decisions[self._index[label]]
        assert isinstance(decision, Decision)
        return decision

    def __contains__(self, label: object) -> bool:
        return label in self._index

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[Decision]:
        return (self[label] for label in self._index)

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, in the order in which the walk met them."""
        return tuple(self._index)

    def reseed(self, *key: object) -> None:
        """Make the next draws a function of ``key`` alone.

        The same key gives the same draws in every process and after every resume, whatever
        else drew random numbers.
        """
        self.rng.seed("/".join(map(str, key)))
