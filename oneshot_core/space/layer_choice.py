"""Choose one of several layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..errors import SpaceError
from .mutable import LabelInside, Mutable
from .spec import Candidate, Choice, ParameterSpec


class LayerChoice(Mutable):
    """Choose one of several candidate layers.

    Runs the first candidate until a search replaces it. Whatever it is called with is passed
    on: several inputs, keyword arguments, inputs that are no tensors. Attributes that it does not
    have are those of the first candidate, or of the one that is computed; tensors are not passed
    on, nor are names that begin with an underscore.

    Args:
        candidates: name -> layer, or layers, which are then named ``"0"``, ``"1"``, ...
            All must accept the same inputs and return the same shapes.
        prior: how often each is drawn, in any unit, where a strategy has no preference of its
            own; a strategy that learns starts from it. None for equally often.
        label: see :class:`Mutable`.

    Raises:
        SpaceError: there are no candidates, one is not a module, a name cannot be a submodule's
            name, or the prior does not fit.

    Source: ``nni.nas.nn.pytorch.LayerChoice``.
    """

    def __init__(
        self,
        candidates: Mapping[str, nn.Module] | Sequence[nn.Module],
        *,
        prior: Sequence[float] | None = None,
        label: str | LabelInside | None = None,
    ) -> None:
        super().__init__(label)
        named = candidates
        if not isinstance(named, Mapping):
            named = {str(index): layer for index, layer in enumerate(named)}
        if not named:
            raise SpaceError(
                "LayerChoice has no candidates",
                expected="at least one layer",
                fix="pass a dict or a list of layers",
            )
        self.candidates = nn.ModuleDict()
        for name, layer in named.items():
            if not isinstance(layer, nn.Module):
                raise SpaceError(
                    f"candidate {name!r} of LayerChoice is {layer!r}",
                    expected="a torch.nn.Module",
                    fix="pass an instance, such as nn.ReLU() instead of nn.ReLU",
                )
            try:
                self.candidates.add_module(name, layer)
            except (KeyError, TypeError) as error:
                raise SpaceError(
                    f"a candidate of LayerChoice cannot be named {name!r}: {error.args[0]}",
                    expected="a non-empty name without dots that no ModuleDict method has",
                    fix="rename the candidate",
                ) from None
        self.prior = None if prior is None else tuple(prior)
        self.spec(self.label_at("LayerChoice"))  # refuses a wrong prior now, not at the walk

    @property
    def names(self) -> tuple[str, ...]:
        """The candidates' names in declaration order."""
        return tuple(self.candidates)

    def __getitem__(self, name: str) -> nn.Module:
        return self.candidates[name]

    def __len__(self) -> int:
        return len(self.candidates)

    def __iter__(self) -> Iterator[str]:
        return iter(self.candidates)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            candidates = self.__dict__.get("_modules", {}).get("candidates")
            if candidates is None or name.startswith("_"):
                raise
        return attribute_of(self, next(iter(candidates.values())), name)

    def spec(self, label: str) -> ParameterSpec:
        return ParameterSpec(label, self.names, prior=self.prior)

    def select(self, choice: Choice) -> nn.Module:
        return self.candidates[str(choice)]

    def branches(self) -> Mapping[Candidate, Sequence[nn.Module]]:
        return {name: (layer,) for name, layer in self.candidates.items()}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Apply the first candidate."""
        return self.candidates[self.names[0]](*args, **kwargs)


def attribute_of(choice: nn.Module, candidate: nn.Module, name: str) -> Any:
    """Return what a parent reads of a choice: an attribute of one of its candidates.

    Raises:
        AttributeError: the candidate has none of this name, or it is a tensor, which a parent would
            compute with whatever is chosen.
    """
    kind = type(choice).__name__
    try:
        value = getattr(candidate, name)
    except AttributeError as error:
        raise AttributeError(
            f"neither a {kind} nor its candidate has the attribute {name!r}: {error}"
        ) from None
    if isinstance(value, Tensor):
        raise AttributeError(
            f"a {kind} does not pass on the tensor {name!r} of its candidate.\n"
            "  expected: a call of the choice, which computes what is chosen\n"
            "  fix: call it; or read the tensor of a candidate by its name"
        )
    return value
