"""Samples repeat themselves, or nothing that is found with them says anything of a component."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from oneshot_core.errors import OneShotError
from oneshot_core.model_space import ModelSpace
from oneshot_core.space import MutableModule
from oneshot_plugins.checks.case import Sample, SamplesError
from oneshot_plugins.checks.isolation import own_randomness

FIX = (
    "build all of it anew in each call, and draw from the global generators, which get a seed "
    "before each call, or from a generator that is made and seeded in the function"
)


def seeded(sample: Sample) -> Sample:
    """Return ``sample`` with functions that start from one random state in each call."""
    return replace(sample, make=_seeded(sample.make), inputs=_seeded(sample.inputs))


def _seeded(function: Callable[[], Any]) -> Callable[[], Any]:
    def call() -> Any:
        with own_randomness():
            return function()

    return call


def require_repeatable(sample: Sample, what: str) -> None:
    """Call both functions of a sample twice and compare.

    Args:
        sample: as :func:`seeded` returns it.
        what: names it in messages.

    Raises:
        SamplesError: they raise, differ between two calls, or return something of a wrong type.
    """
    made = [_called(sample.make, what, "make") for _ in range(2)]
    if not isinstance(made[0], nn.Module):
        raise SamplesError(
            f"make() of {what} returned a {type(made[0]).__name__}",
            expected="a torch.nn.Module",
            fix="return the choice, layer or model to be tried",
        )
    if made[0] is made[1]:
        raise _differs(what, "make", "the same object twice; checks change what they get")
    (a, b) = map(_description, made)
    wrong = [
        name for name in {**a, **b} if name not in a or name not in b or not _equal(a, b, name)
    ]
    if wrong:
        raise _differs(what, "make", f"modules that differ in {wrong[0]}")
    given = [_called(sample.inputs, what, "inputs") for _ in range(2)]
    if not isinstance(given[0], (tuple, list)):
        raise SamplesError(
            f"inputs() of {what} returned a {type(given[0]).__name__}",
            expected="a tuple of what forward is called with",
            fix="return (x,) for one argument x",
        )
    if not _same(*given):
        raise _differs(what, "inputs", "other values each time")


def _called(function: Callable[[], Any], what: str, name: str) -> Any:
    try:
        return function()
    except Exception as error:
        raise SamplesError(
            f"{name}() of {what} raised {type(error).__name__}: {error}",
            expected="a function without arguments that works in every call",
            fix="correct that function",
        ) from error


def _differs(what: str, name: str, how: str) -> SamplesError:
    return SamplesError(
        f"{name}() of {what} does not repeat itself: two calls returned {how}",
        expected="equal results of all calls, for what a check compares is built by several",
        fix=f"{FIX}",
    )


def _description(module: nn.Module) -> dict[str, Any]:
    """Return what must be equal of two modules, by a name for messages."""
    space: object = None
    with suppress(OneShotError):  # a space that is none is for other checks to tell
        held = nn.Sequential(module) if isinstance(module, MutableModule) else module
        space = ModelSpace(held).describe()
    return {
        "their model spaces": space,
        "their submodules": [(path, type(part)) for path, part in module.named_modules()],
        **{repr(name): value for name, value in module.state_dict().items()},
    }


def _equal(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> bool:
    return _same(one[name], other[name])


def _same(one: Any, other: Any) -> bool:
    """Say whether two values are equal as far as can be known; NaN is equal to NaN."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if (one.shape, one.dtype, one.layout) != (other.shape, other.dtype, other.layout):
            return False
        if one.is_meta or one.layout != torch.strided:
            return True
        return torch.equal(one, other) or bool(torch.allclose(one, other, 0, 0, equal_nan=True))
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, (str, bytes, bool, int, float, complex, type, type(None))):
        return one == other or one != one
    return True  # of a type that need not know when two are equal


__all__ = ["require_repeatable", "seeded"]
