"""What a mutation hook is, and what its return value means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import nn

from .errors import HookReturnError, UnsupportedModuleError
from .space.mutable import MutableModule

Memo: TypeAlias = MutableMapping[str, object]
Options: TypeAlias = Mapping[str, object]
HookReturn: TypeAlias = "nn.Module | bool | tuple[nn.Module | None, bool] | None"
MutationHook: TypeAlias = Callable[[nn.Module, str, Memo, Options], HookReturn]


@dataclass(frozen=True, slots=True)
class HookResult:
    """One hook's answer for one module, in the only form the walk reads."""

    replacement: nn.Module | None
    suppress: bool

    @classmethod
    def parse(cls, answer: object, *, hook: MutationHook, path: str) -> HookResult:
        """Read any of the documented return forms.

        =======================  =============  ==========================
        hook returned            module         later hooks
        =======================  =============  ==========================
        ``None`` or ``False``    stays          run
        ``True``                 stays          suppressed
        ``module``               is replaced    suppressed
        ``(module|None, flag)``  as given       suppressed if ``flag``
        =======================  =============  ==========================

        Raises:
            HookReturnError: for anything else.
        """
        # `is`, never truth: an empty nn.Sequential is falsy.
        if answer is None or answer is False or answer is True:
            return cls(None, suppress=answer is True)
        if isinstance(answer, nn.Module):
            return cls(answer, suppress=True)
        match answer:
            case (nn.Module() | None as replacement, bool(suppress)) if isinstance(answer, tuple):
                return cls(replacement, suppress)
        raise HookReturnError(
            f"{hook_name(hook)} returned {answer!r} for {path!r}",
            expected="a Module, True, False, None, or (Module | None, bool)",
            fix="return None to leave the module as it is",
        )


def run_hooks(
    hooks: Sequence[MutationHook], module: nn.Module, path: str, memo: Memo, options: Options
) -> nn.Module:
    """Offer ``module`` to each hook in turn; return what should stand there.

    A hook sees what the hooks before it made of the module.

    Raises:
        HookReturnError: a hook's return value has no meaning.
    """
    for hook in hooks:
        answer = hook(module, path, memo, options)
        if answer is None:  # by far the most frequent answers: nothing, and the last hook's
            continue
        if answer is True:
            break
        result = HookResult.parse(answer, hook=hook, path=path)
        if result.replacement is not None:
            module = result.replacement
        if result.suppress:
            break
    return module


def no_default_hook(module: nn.Module, name: str, memo: Memo, mutate_kwargs: Options) -> bool:
    """Refuse a choice that no hook before it handled; the last hook of every strategy.

    Raises:
        UnsupportedModuleError: ``module`` is a choice.
    """
    if MutableModule in type(module).__mro__:  # isinstance asks an abstract class in Python
        raise UnsupportedModuleError(
            f"no mutation hook handles the {type(module).__name__} at {name!r}",
            expected="a hook that replaces it by a supernet module",
            fix="install the plugin that provides one, or pass it in mutation_hooks=[...]",
        )
    return True


def hook_name(hook: MutationHook) -> str:
    """Return the name under which a hook appears in messages."""
    return getattr(hook, "__qualname__", None) or repr(hook)
