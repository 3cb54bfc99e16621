"""Several sizes at once: what a module with weighted candidates computes with."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from oneshot_core.errors import StrategyError

from .layout import Follows


def weighted_tensor(module: nn.Module, name: str, full: Tensor) -> Tensor:
    raise _refused(module, "")


def largest(module: nn.Module, follows: Follows) -> Any:
    raise _refused(module, "")


def require_mixable(module: nn.Module, path: str) -> None:
    raise _refused(module, path)


def _refused(module: nn.Module, path: str) -> StrategyError:
    return StrategyError(
        f"the {type(module).__name__} at {path!r} cannot be superposed: its sizes",
        expected="modules whose output is linear in their tensors",
        fix="use a strategy that samples, such as 'random'",
    )
