"""The choice: one of several activation functions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from oneshot_core import Mutable, ParameterSpec
from oneshot_core.errors import SpaceError
from oneshot_core.space import Candidate, Choice

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "hardswish": nn.Hardswish,
    "identity": nn.Identity,
}
"""Name -> how it is made."""


class ActivationChoice(Mutable):
    """Choose an activation function.

    Runs ``original`` until a search replaces it.

    Args:
        candidates: names in :data:`ACTIVATIONS`.
        original: the module that is there already; a copy of it is a candidate, named after its
            class, and the default. Without it the first candidate is. The copy keeps its
            settings, also where its name is among ``candidates``, but does not work in place.
        label: see :class:`oneshot_core.Mutable`.

    Raises:
        SpaceError: there is no activation of such a name, or ``original`` is of another class
            than the candidate of its name.
    """

    def __init__(
        self,
        candidates: Sequence[str],
        *,
        original: nn.Module | None = None,
        label: str | None = None,
    ) -> None:
        super().__init__(label)
        unknown = [name for name in candidates if name not in ACTIVATIONS]
        if unknown or not (candidates or original):
            raise SpaceError(
                f"ActivationChoice got the candidates {list(candidates)}",
                expected=f"some of {list(ACTIVATIONS)}",
                fix=f"correct {', '.join(unknown) or 'candidates'}",
            )
        self.functions = nn.ModuleDict()
        if original is not None:
            name = type(original).__name__.lower()
            if name in candidates and type(original) is not type(ACTIVATIONS[name]()):
                raise SpaceError(
                    f"ActivationChoice got an original of a class {type(original).__name__} "
                    f"beside the candidate {name!r}, which is another one",
                    expected="candidates with different names",
                    fix=f"leave {name!r} out of candidates, or rename the class",
                )
            # One that works in place would destroy the input of those that run beside it.
            first = copy.deepcopy(original)
            if getattr(first, "inplace", False):
                first.inplace = False  # type: ignore[assignment]
            self.functions[name] = first
        for name in candidates:
            if name not in self.functions:
                self.functions[name] = ACTIVATIONS[name]()
        self.train(original is None or original.training)

    def spec(self, label: str) -> ParameterSpec:
        return ParameterSpec(label, tuple(self.functions))

    def select(self, choice: Choice) -> nn.Module:
        return self.functions[str(choice)]

    def branches(self) -> Mapping[Candidate, Sequence[nn.Module]]:
        return {name: (function,) for name, function in self.functions.items()}

    def forward(self, x: Tensor) -> Tensor:
        """Apply the default."""
        out: Tensor = next(iter(self.functions.values()))(x)
        return out
