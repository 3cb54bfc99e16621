"""What every choice that a user writes into a model has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import nn

from ..errors import SpaceError
from .spec import Candidate, Choice, ParameterSpec


class Mutable(nn.Module, ABC):
    """A place in a model where something is to be chosen.

    Before a search it runs as a plain module with its default choice, so the bare model
    trains. A mutation hook replaces it by a supernet module.

    Args:
        label: name of the decision; equal labels decide together. None takes the dotted path
            of the module in the model.

    Raises:
        SpaceError: ``label`` is not a non-empty string.
    """

    def __init__(self, label: str | None = None) -> None:
        super().__init__()
        if label is not None and (not isinstance(label, str) or not label):
            raise SpaceError(
                f"{type(self).__name__} got label={label!r}.\n"
                "  expected: a non-empty string, or None for the module's path\n"
                "  fix: give the choice a name such as 'stem'"
            )
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
