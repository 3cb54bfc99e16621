"""The supernet module: what an activation choice becomes in a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from oneshot_core import BaseSuperNetModule, Decision, DecisionTable
from oneshot_core.hooks import Memo, Options
from oneshot_core.space import Candidate, Choice

from .choice import ActivationChoice


class MixedActivation(BaseSuperNetModule):
    """Run the active activation functions and add up their outputs, each times its weight.

    Args:
        choice: what is replaced.
        decision: what decides.
    """

    functions: nn.ModuleDict

    def __init__(self, choice: ActivationChoice, decision: Decision) -> None:
        super().__init__(decision)
        self.__dict__["choice"] = choice  # no submodule: the choice is no longer in the tree
        self.functions = choice.functions  # under the name it had: state dicts stay as they were
        self.training = choice.training

    @classmethod
    def mutate(
        cls, module: nn.Module, name: str, memo: Memo, mutate_kwargs: Options
    ) -> MixedActivation | None:
        """Replace an activation choice; the mutation hook."""
        if type(module) is not ActivationChoice:
            return None
        decisions = mutate_kwargs["decisions"]
        assert isinstance(decisions, DecisionTable)
        return cls(module, decisions.decide(module.spec(module.label_at(name)), path=name))

    def select(self, chosen: Mapping[str, Choice]) -> nn.Module:
        choice: ActivationChoice = self.__dict__["choice"]
        return choice.select(chosen[self.decisions[0].spec.label])

    def branches(self) -> Mapping[str, Mapping[Candidate, Sequence[nn.Module]]]:
        choice: ActivationChoice = self.__dict__["choice"]
        return {self.decisions[0].spec.label: choice.branches()}

    def forward(self, x: Tensor) -> Tensor:
        """Apply the active functions to the same input; shapes stay as they are."""
        out: Tensor | None = None
        for candidate, weight in self.decisions[0].active():
            value: Tensor = self.functions[str(candidate)](x)
            if weight is not None:  # None is "as it is": nothing may be multiplied
                value = weight * value
            out = value if out is None else out + value
        assert out is not None, "a decision always has an active candidate"
        return out
