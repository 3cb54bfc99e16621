"""What passes between a terminal and a process: text that can be shown, signals that stop it."""

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


def stopped_by_signal(error: BaseException) -> int | None:
    """Return the exit code of a process that a signal has stopped; None if none has.

    Lightning answers Ctrl-C with a SystemExit, and SIGTERM with a subclass of it; a plain
    SystemExit is somebody's ``sys.exit()``.

    Args:
        error: what was raised.
    """
    stop = error.__cause__ if isinstance(error, KeyboardInterrupt) and error.__cause__ else error
    if isinstance(stop, SystemExit) and type(stop).__name__ == "SIGTERMException":
        return 128 + 15
    if isinstance(stop, SystemExit):
        stop = stop.__context__ or stop
    return 128 + 2 if isinstance(stop, KeyboardInterrupt) else None
