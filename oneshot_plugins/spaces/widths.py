"""Numbers of channels that may be values, and how MobileNets round them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oneshot_core.space import apply, values_in


def computed(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``function(*arguments)``: a value if there are values among the arguments."""
    if any(True for _ in values_in(arguments)):
        return apply(function, *arguments)
    return function(*arguments)


def rounded(width: float, divisor: int = 8) -> int:
    """Return the multiple of ``divisor`` nearest to ``width``, but not less than 90% of it.

    Source: ``_make_divisible`` of the MobileNet reference code.
    """
    near = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return near + divisor if near < 0.9 * width else near


def scaled(width: int, factor: float) -> int:
    """Return ``width`` times ``factor``, rounded to a multiple of 8."""
    return rounded(width * factor)
