"""What a command finds under the name that a user gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..discovery.manifests import describe, import_target
from ..discovery.registry import default_registry
from ..errors import OneShotError


def find_target(target: str, command: str, error: type[OneShotError]) -> Any:
    """Return what ``space:NAME`` or ``package.module:Object`` names; imports it.

    Args:
        target: as the user wrote it.
        command: what it was given to, such as ``"inspect"``.
        error: raised if there is nothing of that name.

    Raises:
        OneShotError: an ``error``, if it cannot be imported or has not the object.
        UnknownComponentError: there is no such model space.
    """
    home, _, name = target.partition(":")
    if home == "space":
        return default_registry().load("space", name)
    try:
        return import_target(target)
    except Exception as raised:  # whatever the user's module raises while it is imported
        missing = raised.name or "" if isinstance(raised, ModuleNotFoundError) else ""
        needed = missing if missing and not f"{home}.".startswith(f"{missing}.") else ""
        raise error(
            f"{target} cannot be found: {describe(raised, target)}",
            expected="space:NAME or package.module:Name",
            fix=f"install what {home} needs: {needed}"
            if needed
            else "correct the name; for a file in this folder, python -m oneshot_core "
            f"{command} {target}",
        ) from raised


def call_target(
    make: Callable[..., Any],
    target: str,
    command: str,
    error: type[OneShotError],
    options: Mapping[str, Any] | None = None,
    fix: str = "name a function that passes the arguments",
) -> Any:
    """Call ``make``, the function that a user named as ``target``, and return its result.

    Args:
        make: what :func:`find_target` returned.
        target: as the user wrote it.
        command: what it was given to.
        error: raised if the call fails.
        options: keyword arguments.
        fix: what to do if it takes other arguments.

    Raises:
        OneShotError: an ``error``, whatever the user's code raises; errors of ours as they are.
    """
    try:
        return make(**(options or {}))
    except OneShotError:
        raise
    except TypeError as raised:
        how = f"built with {dict(options)}" if options else "called without arguments"
        raise error(
            f"{target} cannot be {how}: {raised}",
            expected="arguments that it takes, and a module that it then returns",
            fix=fix,
        ) from raised
    except Exception as raised:  # whatever the user's code raises
        raise error(
            f"{target} raised {type(raised).__name__}: {' '.join(str(raised).split())}",
            expected="something that returns a module when it is called",
            fix=f"correct it; `oneshot --debug {command} ...` shows where it was raised",
        ) from raised
