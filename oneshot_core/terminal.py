"""Text of others, as a terminal can show it."""

from __future__ import annotations

import unicodedata

_CONTROLS = ("Cc", "Cf", "Cs", "Zl", "Zp")


def printable(text: str) -> str:
    """Return text of others as a terminal can show it: control characters as their escapes.

    A terminal obeys them, and a name or version is not to move its cursor or to colour it. Ends of
    lines and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode()
        if c not in "\n\t" and unicodedata.category(c) in _CONTROLS
        else c
        for c in text
    )
