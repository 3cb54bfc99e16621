"""Numbers, choices and times as a reader wants them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from itertools import takewhile
from typing import Any

UNITS = ((999.5e9, 1e12, "T"), (999.5e6, 1e9, "G"), (999.5e3, 1e6, "M"), (1e4, 1e3, "k"))
"""From where on a unit is used; ``1e4`` leaves 5,210 as it is."""

RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None) -> str:
    """Return a number with three significant digits and a unit, or with four."""
    if value is None or not math.isfinite(value):
        return "n/a"
    size = abs(value)
    if size >= 999.5e12:
        return f"{value:.2e}"
    for least, factor, unit in UNITS:
        if size >= least:
            return f"{value / factor:.3g}{unit}"
    if value == int(value):
        return f"{int(value):,}"
    if size >= 100:
        return f"{value:,.1f}"
    return f"{value:.4g}" if size >= 1e-3 else f"{value:.2e}"


def count(digits: str | None) -> str:
    """Return a number of architectures, given as digits; None is infinitely many."""
    if digits is None:
        return "infinitely many"
    if len(digits) <= 15:
        return f"{int(digits):,}"
    power = str(len(digits) - 1).translate(RAISED)
    return f"{digits[0]}.{digits[1]}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}10{power}"


def choice(value: Any) -> str:
    """Return a choice as text: several candidates with ``+`` between them."""
    if isinstance(value, list):
        return "+".join(map(choice, value)) if value else "nothing"
    if isinstance(value, tuple):
        return f"({', '.join(map(choice, value))})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float | None) -> str:
    """Return how long something took."""
    if seconds is None:
        return "unknown"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def moment(iso: str | None) -> str:
    """Return a moment in UTC; the text as it is where it is none."""
    if iso is None:
        return "not yet"
    try:
        return datetime.fromisoformat(iso.replace("Z", "+00:00")).strftime("%d %b %Y, %H:%M UTC")
    except ValueError:
        return iso


def cut(text: str, width: int) -> str:
    """Return at most ``width`` characters."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def shortened(texts: Sequence[str], width: int) -> list[str]:
    """Return at most ``width`` characters of each, of those that are too long what differs.

    Where long texts begin and end alike, that is left out before anything else is.
    """
    long = [text for text in texts if len(text) > width]
    head = _shared(long)
    tail = _shared([text[head:][::-1] for text in long])
    # As much of what is shared stays as there is room for.
    room = max(0, width - 2 - max((len(text) - head - tail for text in long), default=0))
    tail -= min(tail, max(room - head, room // 3))
    head -= min(head, max(room - (room // 3 if tail else 0), 0))

    def short(text: str) -> str:
        kept = text[head : len(text) - tail]
        return cut(f"{'…' if head else ''}{kept}{'…' if tail else ''}", width)

    return [text if len(text) <= width else short(text) for text in texts]


def _shared(texts: Sequence[str]) -> int:
    """Return how many letters the texts begin with alike; 0 if it is not worth leaving out."""
    if len(texts) < 2:
        return 0
    columns = zip(*texts, strict=False)
    length = sum(1 for _ in takewhile(lambda letters: len(set(letters)) == 1, columns))
    return length if length > 3 else 0


def of(count: int, one: str, more: str = "") -> str:
    """Return a count of things; their plural has an s if ``more`` does not say otherwise."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def last(path: str) -> str:
    """Return the last part of ``package.module:Class``."""
    return path.rpartition(":")[2].rpartition(".")[2] or path
