"""What a module is called with and what it gives back, read by forward hooks for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from oneshot_core.errors import StrategyError


@dataclass
class Call:
    """One call of the recorded module.

    Attributes:
        args: positional arguments, the same objects.
        kwargs: keyword arguments, the same objects.
        values: name -> outputs, in the order of their calls; ``""`` is the module's own.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    values: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._leaves, self._structure = tree_flatten((self.args, self.kwargs))
        self._versions = _versions(self._leaves)

    @property
    def inputs(self) -> list[Any]:
        """The leaves of the arguments, in order."""
        return self._leaves

    def require_unchanged(self, who: str) -> None:
        """Refuse a module that has written to its inputs, which the teacher is to get, too.

        Raises:
            StrategyError: an input was changed in place since the call began.
        """
        if _versions(self._leaves) != self._versions:
            raise StrategyError(
                f"{who} changes its input in place",
                expected="an input that student and teacher can both be called with",
                fix="leave inplace=True out of what is called first, or name an outer module as "
                "distill_at",
            )

    def same_inputs(self, other: Call) -> bool:
        """Say whether ``other`` was called with equal inputs."""
        return self._structure == other._structure and all(map(_same, self._leaves, other._leaves))


@contextmanager
def recorded(module: nn.Module, inside: Mapping[str, nn.Module], who: str) -> Iterator[list[Call]]:
    """Collect the calls of ``module`` inside the block; no hook is left behind.

    Calls of ``module`` inside a call of itself, and calls of ``inside`` at other times, are left
    out.

    Args:
        module: what is recorded.
        inside: name -> submodule of it, whose outputs are recorded in addition.
        who: names ``module`` in messages.

    Raises:
        StrategyError: ``module`` writes to its inputs.
    """
    calls: list[Call] = []
    depth = 0

    def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal depth
        depth += 1
        if depth == 1:
            calls.append(Call(args, kwargs))

    def end(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        nonlocal depth
        depth -= 1
        if depth == 0:
            calls[-1].values[""] = [output]
            calls[-1].require_unchanged(who)

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, args: Any, output: Any) -> None:
            if depth:
                calls[-1].values.setdefault(name, []).append(output)

        return hook

    handles = [
        module.register_forward_pre_hook(begin, with_kwargs=True),
        *(part.register_forward_hook(note(name)) for name, part in inside.items()),
        module.register_forward_hook(end, with_kwargs=True),
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _versions(leaves: list[Any]) -> list[int]:
    # Inference tensors keep no version; nothing can be written to them in a training step.
    return [x._version for x in leaves if isinstance(x, Tensor) and not x.is_inference()]


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, Tensor):
        return (
            isinstance(b, Tensor)
            and a.shape == b.shape
            and a.dtype == b.dtype
            and a.device == b.device
            and torch.equal(a, b)
        )
    return type(a) is type(b) and isinstance(a, (bool, int, float, str)) and bool(a == b)


__all__ = ["Call", "recorded"]
