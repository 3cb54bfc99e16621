"""Curves of drawings whose unit is the pixel, y downwards."""

from __future__ import annotations

from typing import TypeAlias

Corner: TypeAlias = "tuple[float, float]"
Curve: TypeAlias = "tuple[Corner, Corner, Corner, Corner]"
"""Begin, two control points, end of a cubic Bezier curve."""


def straight(x: float, top: float, bottom: float) -> Curve:
    """Return a vertical line as a curve."""
    return (x, top), (x, top), (x, bottom), (x, bottom)


def svg(curve: Curve) -> str:
    """Return the SVG path of a curve."""
    begin, one, other, end = (f"{x:g} {y:g}" for x, y in curve)
    return f"M{begin}C{one} {other} {end}"
