"""What replaces a choice: the half of the contract that a supernet module supplies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from .decision import Decision
from .space.mutable import Branches, Gates, MutableModule
from .space.spec import Candidate, Choice, ParameterSpec

if TYPE_CHECKING:
    from .space import Diagram


class BaseSuperNetModule(nn.Module, ABC):
    """A module that holds all candidates of one or more choices and runs some of them.

    A subclass reads ``decision.active()`` in ``forward`` and runs only those branches; it
    must not care which strategy made the decision. It holds its decisions by plain
    reference, so that architecture parameters never become parameters of the user's model.

    A module that was written for the reference system may decide by itself: it gives no decision,
    and overrides :meth:`search_space_spec`, :meth:`resample`, :meth:`export` and
    :meth:`export_probs`. Such a module is drawn, exported and frozen like any other; what sets its
    choice from outside (``search.at``, rankings) refuses it.

    Args:
        decisions: what decides here; none if the module decides by itself.

    Attributes:
        sealed: whether its submodules are its own, as of
            :class:`~oneshot_core.space.MutableModule`. True where ``forward`` or ``select`` relies
            on what they are, and does more than call them.
    """

    sealed: ClassVar[bool] = False

    def __init__(self, *decisions: Decision) -> None:
        nn.Module.__init__(self)  # not super(): a subclass may be of a layer's class as well
        # Not setattr: that would register them as submodules of the user's model.
        self.__dict__["_decisions"] = decisions

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The decisions that this module follows."""
        decisions: tuple[Decision, ...] = self.__dict__["_decisions"]
        return decisions

    @property
    def original(self) -> MutableModule | None:
        """The choice that this module replaced; None if it is not kept.

        A supernet module that keeps it can be inspected like the model before the mutation.
        """
        return None

    def extra_repr(self) -> str:
        """Show in printed models what is decided here."""
        return ", ".join(repr(decision.spec.label) for decision in self.decisions)

    @abstractmethod
    def select(self, chosen: Mapping[str, Choice]) -> nn.Module:
        """Return a plain module that computes ``chosen``, sharing its parts with this one.

        Args:
            chosen: label -> choice, for all labels of this module.
        """

    def branches(self) -> Branches:
        """Return, by label and candidate, the submodules that run only if it is taken.

        Choices nested in those submodules decide nothing unless the candidate is taken.
        Submodules not named here always run.
        """
        return {}

    def gates(self) -> Gates:
        """Return the submodules that run only under conditions on more than one choice."""
        return ()

    def impossible(self) -> Iterator[tuple[Mapping[str, Choice], str]]:
        """Yield combinations of choices that cannot be built, and why; constraints exclude them."""
        yield from ()

    def diagram_at(self, path: str) -> Diagram | None:
        """Return how the choices are drawn; None draws a row of candidates for each label.

        By default as the choice that this module replaced, if it is kept.
        """
        return None if self.original is None else self.original.diagram_at(path)

    def search_space_spec(self) -> dict[str, ParameterSpec]:
        """Return label -> spec for every decision of this module."""
        return {decision.spec.label: decision.spec for decision in self.decisions}

    def resample(self, memo: Mapping[str, Choice]) -> dict[str, Choice]:
        """Draw for the next forward passes, or follow ``memo`` where it knows the label.

        Returns:
            label -> choice for what was drawn here; empty if the strategy draws nothing.
        """
        drawn: dict[str, Choice] = {}
        for decision in self.decisions:
            label = decision.spec.label
            known = next((m for m in (memo, drawn) if label in m), None)
            if known is not None:
                decision.adopt(known[label])
                continue
            choice = decision.resample()
            # None is nothing drawn, unless it is a candidate of a kind that draws.
            if choice is not None or (not decision.superposes and decision.spec.contains(None)):
                drawn[label] = choice
        return drawn

    def export(self, memo: Mapping[str, Choice]) -> dict[str, Choice]:
        """Return label -> best choice for the labels that ``memo`` does not know."""
        return {
            decision.spec.label: decision.best()
            for decision in self.decisions
            if decision.spec.label not in memo
        }

    def export_probs(
        self, memo: Mapping[str, Mapping[Candidate, float]]
    ) -> dict[str, dict[Candidate, float]]:
        """Return label -> candidate -> probability for the labels ``memo`` does not know.

        Plain numbers, for people and loggers; none for intervals. For a gradient ask
        :meth:`Decision.probabilities <oneshot_core.decision.Decision.probabilities>`.
        """
        return {
            d.spec.label: dict(zip(d.spec.candidates, d.probabilities().tolist(), strict=True))
            for d in self.decisions
            if d.spec.label not in memo and d.spec.interval is None
        }


def supernet_modules(root: nn.Module) -> Iterator[BaseSuperNetModule]:
    """Yield the supernet modules in ``root``, each once, parents before children."""
    return (module for module in root.modules() if isinstance(module, BaseSuperNetModule))
