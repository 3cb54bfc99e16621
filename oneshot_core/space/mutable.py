"""What every choice that a user writes into a model has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from ..errors import SpaceError
from .spec import Candidate, Choice, ParameterSpec
from .value import Value

if TYPE_CHECKING:
    from . import Diagram

Branches = Mapping[str, Mapping[Candidate, Sequence[nn.Module]]]
"""Label -> candidate -> submodules that run only if it is taken."""
Gates = Sequence[tuple[Value, Sequence[nn.Module]]]
"""Conditions, each with submodules that run only if it is true."""


@dataclass(frozen=True)
class LabelInside:
    """The label of a choice inside another that is named after its own place in the model.

    Args:
        inside: dotted path of the choice from the one that holds it, such as ``"ops.2_0"``.
        name: what follows the holder's path and a slash in the label.
    """

    inside: str
    name: str

    def at(self, path: str) -> str:
        """Return the label of a choice whose own path in the model is ``path``."""
        return label_below(path.removesuffix(self.inside).removesuffix("."), self.name)


def label_below(label: str, name: str) -> str:
    """Return the label ``name`` below ``label``, which is empty for the model itself."""
    return f"{label}/{name}" if label else name


class MutableModule(nn.Module, ABC):
    """A module of which something is to be chosen, under one label or several.

    Before a search it runs with its default choice, so the bare model trains. A mutation hook
    replaces it by a supernet module. ``path`` is always its dotted path in the model, after
    which unlabelled choices are named.

    Attributes:
        sealed: whether its submodules are its own: parts of one computation, which relies on what
            they are. The walk then offers them to no hook. False, as for candidates that users
            write: hooks may replace those.
    """

    sealed: ClassVar[bool] = False

    @abstractmethod
    def specs_at(self, path: str) -> tuple[ParameterSpec, ...]:
        """Describe the choices, each label once."""

    @abstractmethod
    def select_at(self, path: str, chosen: Mapping[str, Choice]) -> nn.Module:
        """Return a plain module that computes ``chosen``, which decides every label.

        It contains nothing of unchosen candidates, and nothing of ours.
        """

    def branches_at(self, path: str) -> Branches:
        """Return, by label and candidate, the submodules that run only if it is taken.

        Choices nested in those submodules decide nothing unless the candidate is taken.
        Submodules not named here always run.
        """
        return {}

    def gates_at(self, path: str) -> Gates:
        """Return the submodules that run only under conditions on more than one choice.

        As :meth:`branches_at`, for what no single candidate decides.
        """
        return ()

    def impossible_at(self, path: str) -> Iterator[tuple[Mapping[str, Choice], str]]:
        """Yield combinations of choices that cannot be built, and why.

        Constraints must exclude them. Nothing, where every combination works.
        """
        yield from ()

    def diagram_at(self, path: str) -> Diagram | None:
        """Return how the choices are drawn; None draws a row of candidates for each label."""
        return None


class Mutable(MutableModule):
    """A module that makes one choice.

    Args:
        label: name of the decision; equal labels decide together. None takes the dotted path
            of the module in the model; a :class:`LabelInside` follows that of what holds it.

    Raises:
        SpaceError: ``label`` is not a non-empty string.
    """

    def __init__(self, label: str | LabelInside | None = None) -> None:
        super().__init__()
        if not isinstance(label, LabelInside):
            check_label(label, self)
        self.label = label

    @abstractmethod
    def spec(self, label: str) -> ParameterSpec:
        """Describe the choice under ``label``."""

    @abstractmethod
    def select(self, choice: Choice) -> nn.Module:
        """Return a plain module that computes ``choice``.

        It shares its parts with this one and contains nothing of unchosen candidates.
        """

    def branches(self) -> Mapping[Candidate, Sequence[nn.Module]]:
        """Return, for each candidate, the submodules that run only if it is taken.

        Choices nested in those submodules decide nothing unless the candidate is taken.
        Submodules not named here always run.
        """
        return {}

    def label_at(self, path: str) -> str:
        """Return the label under which this decides at ``path``."""
        if isinstance(self.label, LabelInside):
            return self.label.at(path)
        return path if self.label is None else self.label

    def specs_at(self, path: str) -> tuple[ParameterSpec, ...]:
        return (self.spec(self.label_at(path)),)

    def select_at(self, path: str, chosen: Mapping[str, Choice]) -> nn.Module:
        return self.select(chosen[self.label_at(path)])

    def branches_at(self, path: str) -> Branches:
        return {self.label_at(path): self.branches()}


def check_label(label: object, choice: nn.Module) -> None:
    """Refuse what is no label.

    Raises:
        SpaceError: ``label`` is neither None nor a non-empty string.
    """
    if label is not None and (not isinstance(label, str) or not label):
        raise SpaceError(
            f"{type(choice).__name__} got label={label!r}",
            expected="a non-empty string, or None for the module's path",
            fix="give the choice a name such as 'stem'",
        )
