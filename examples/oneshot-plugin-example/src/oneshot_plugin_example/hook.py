"""The mutation hook: puts choices into a model that has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from oneshot_core import MutationHook
from oneshot_core.hooks import HookReturn

from .choice import ActivationChoice
from .supernet import MixedActivation


def choose_activations(
    candidates: Sequence[str] = ("relu", "gelu", "silu", "tanh"),
    *,
    replaces: tuple[type[nn.Module], ...] = (nn.ReLU,),
    share: bool = False,
) -> MutationHook:
    """Return a mutation hook that turns activations into choices.

    Args:
        candidates: names of activations; what is replaced is always one, too.
        replaces: exactly these classes are replaced, wherever they are.
        share: make one choice for all that are replaced, under the label ``"activation"``.

    Raises:
        SpaceError: there is no activation of such a name.
    """
    ActivationChoice(candidates or ["identity"])  # says now what is misspelt

    def hook(module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> HookReturn:
        if type(module) not in replaces or _is_a_candidate(name, memo):
            return None
        label = "activation" if share else name
        choice = ActivationChoice(candidates, original=module, label=label)
        memo.setdefault(__name__, set()).add(name)
        return MixedActivation.mutate(choice, name, memo, mutate_kwargs)

    return hook


def _is_a_candidate(name: str, memo: Any) -> bool:
    """Say whether a module is inside something that was replaced in this walk.

    The walk goes on in replacements, and their candidates are activations themselves.
    """
    places: set[str] = memo.get(__name__, set())
    return any(name.startswith(f"{place}.") for place in places)
