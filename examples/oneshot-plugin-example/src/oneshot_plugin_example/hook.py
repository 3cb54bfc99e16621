"""The mutation hook: puts choices into a model that has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

from oneshot_core import MutationHook
from oneshot_core.errors import UnsupportedModuleError
from oneshot_core.hooks import HookReturn, Memo, Options

from .choice import ActivationChoice
from .supernet import MixedActivation

FUNCTIONS: Mapping[object, type[nn.Module]] = {
    torch.relu: nn.ReLU,
    functional.relu: nn.ReLU,
    functional.gelu: nn.GELU,
    functional.silu: nn.SiLU,
    torch.tanh: nn.Tanh,
    functional.elu: nn.ELU,
    functional.hardswish: nn.Hardswish,
}
"""Function -> the module that computes it."""


def choose_activations(
    candidates: Sequence[str] = ("relu", "gelu", "silu", "tanh"),
    *,
    replaces: tuple[type[nn.Module], ...] = (nn.ReLU,),
    share: bool = False,
) -> MutationHook:
    """Return a mutation hook that turns activations into choices.

    Args:
        candidates: names of activations; what is replaced is always one, too, and the default.
        replaces: exactly these classes are replaced, wherever they are; their subclasses, which
            may mean something else, are not.
        share: make one choice for all that are of one class, under a label such as
            ``"activation.relu"``. Else the label of each is its path.

    Raises:
        SpaceError: there is no activation of such a name.

    The hook itself raises:
        UnsupportedModuleError: a module holds an activation that is to be replaced as a function,
            or one that is to be replaced has weights.
    """
    ActivationChoice(candidates or ["identity"])  # says now what is misspelt

    def hook(module: nn.Module, name: str, memo: Memo, mutate_kwargs: Options) -> HookReturn:
        _refuse_functions(module, name, replaces)
        if type(module) not in replaces or _is_a_candidate(name, memo):
            return None
        if module.state_dict():
            raise UnsupportedModuleError(
                f"the {type(module).__name__} at {name!r} has weights",
                expected="activations without any; as a candidate its weights would have other "
                "names, and checkpoints of your model would not load",
                fix=f"leave {type(module).__name__} out of replaces=, or write an "
                "ActivationChoice with original=... into the model",
            )
        label = f"activation.{type(module).__name__.lower()}" if share else name
        choice = ActivationChoice(candidates, original=module, label=label)
        _places(memo).add(name)
        return MixedActivation.mutate(choice, name, memo, mutate_kwargs)

    return hook


def _refuse_functions(module: nn.Module, name: str, replaces: tuple[type[nn.Module], ...]) -> None:
    """Raise for an activation that was asked for and cannot be reached: nothing is left out."""
    held = [
        (attribute, function)
        for attribute, function in vars(module).items()
        for known, kind in FUNCTIONS.items()
        if function is known and kind in replaces
    ]
    # In evaluation torch's fused kernel computes what this flag says, not what the module does.
    fused = getattr(module, "activation_relu_or_gelu", 0)
    if not held and fused and type(getattr(module, "activation", None)) in replaces:
        held = [("activation", module.activation)]
    for attribute, function in held:
        what = getattr(function, "__name__", type(function).__name__)
        raise UnsupportedModuleError(
            f"the {type(module).__name__} at {name!r} computes its {attribute}, {what}, in a way "
            "that no module can take the place of",
            expected="activations that are submodules and are called",
            fix=f"build it with {attribute}=ActivationChoice(['relu', 'gelu']); or give the "
            "search a hook before this one that answers True for it, to leave it as it is",
        )


def _places(memo: Memo) -> set[str]:
    """Return where something was replaced in this walk."""
    places = memo.setdefault(__name__, set())
    assert isinstance(places, set)
    return places


def _is_a_candidate(name: str, memo: Memo) -> bool:
    """Say whether a module is inside something that was replaced in this walk.

    The walk goes on in replacements, and their candidates are activations themselves.
    """
    return any(name.startswith(f"{place}.") for place in _places(memo))
