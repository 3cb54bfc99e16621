"""What a user's code raises, in the words of the command line."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from textwrap import shorten

import oneshot_core
import oneshot_plugins
from oneshot_core.errors import OneShotError

from .folder import RunError

LONGEST = 400
"""Characters of an error of others that are shown."""
LIBRARIES = (
    *(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")),
    *(path for package in (oneshot_core, oneshot_plugins) for path in package.__path__),
)
"""Where code is that is not the user's."""


@contextmanager
def explained(what: str, command: str) -> Iterator[None]:
    """Turn any exception but ours into an error with a place and a fix.

    Args:
        what: failed, such as ``"training the supernet"``.
        command: of ``oneshot``, for the fix.

    Raises:
        RunError: instead of what is raised inside.
    """
    try:
        yield
    except OneShotError:
        raise
    except Exception as error:
        if (ours := _ours(error)) is not None:
            raise ours from error
        raised = _unpacked(error)
        text = shorten(str(raised), LONGEST, placeholder=" ...").rstrip(".")
        place = _place(raised)
        raise RunError(
            f"{what} failed: {type(raised).__name__}: {text}{place and f' ({place})'}",
            expected="a model, data and settings that work together",
            fix=f"correct {'that place' if place else 'the configuration'}; `oneshot --debug "
            f"{command} ...` shows how it was reached",
        ) from error


def require_batches(n: int) -> None:
    """Check a number of batches for BatchNorm.

    Raises:
        RunError: it is negative.
    """
    if n < 0:
        raise RunError(
            f"{n} calibration batches",
            expected="a number of training batches, or 0 for the statistics of the supernet",
            fix="--calibration-batches 16; rank.calibration_batches in a configuration",
        )


def _unpacked(error: BaseException) -> BaseException:
    """Return what the user's code raised, where jsonargparse lists all that it tried."""
    while str(error).startswith("Does not validate against any of") and error.__cause__ is not None:
        error = error.__cause__
    return error


def _ours(error: BaseException) -> OneShotError | None:
    """Return the error of ours that something else, such as jsonargparse, has packed."""
    cause = error.__cause__
    while cause is not None and not isinstance(cause, OneShotError):
        cause = cause.__cause__
    return cause


def require_jsonargparse() -> None:
    """Check that the extra is installed.

    Raises:
        RunError: it is not.
    """
    missing = [name for name in ("jsonargparse", "docstring_parser") if find_spec(name) is None]
    if missing:
        raise RunError(
            f"searches from the command line need {missing[0]}",
            expected="the extra 'cli'",
            fix="pip install 'oneshot-core[cli]'",
        )


def _place(error: BaseException) -> str:
    """Return the last line of the user's own that took part; empty if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((*LIBRARIES, "<"))]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""
