"""One process at a time writes into a run folder; others are told which one does."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any

from filelock import FileLock, Timeout

from oneshot_core.files import cannot_write, write_text

from .folder import RunError, RunFolder


class RunInUseError(RunError):
    """Another process writes into the folder, or may do so."""


@contextmanager
def held(folder: RunFolder) -> Iterator[None]:
    """Be the only process that writes into a run folder, which is made if there is none.

    The lock is the system's, on ``run.lock``: it ends with the process that holds it, however that
    ends. ``running.json`` says who holds it. It is left behind by a kill; on this host the lock
    then tells that nobody is there. On another host nothing tells, so that is refused.

    Raises:
        RunInUseError: another process of this host holds it, or one of another host has not said
            that it is done.
        OutputError: the folder cannot be written.
    """
    made = [path for path in (folder.path, *folder.path.parents) if not path.exists()]
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.lock, timeout=0)
        lock.acquire()
    except Timeout:
        raise RunInUseError(
            f"another process writes into {str(folder)!r}: {_words(_read(folder))}",
            expected="one process at a time",
            fix="wait for it, or stop it; or take another folder with --out",
        ) from None
    except OSError as error:
        raise cannot_write(folder.lock, error) from error
    try:
        before = _read(folder)
        if before.get("host", platform.node()) != platform.node():
            raise RunInUseError(
                f"{str(folder)!r} is written on another host, or was when that was stopped: "
                f"{_words(before)}. It cannot be seen from here ({platform.node()})",
                expected="a run whose process has said that it is done",
                fix=f"if nothing runs there any more, delete {folder.running}, and again",
            )
        owner = {
            "host": platform.node(),
            "process": os.getpid(),
            "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        write_text(folder.running, json.dumps(owner) + "\n")
        try:
            yield
        finally:
            folder.running.unlink(missing_ok=True)
    finally:
        if made and set(folder.path.iterdir()) <= {folder.lock}:  # nothing came of it
            folder.lock.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # something is in it
            for path in made:
                path.rmdir()


def _read(folder: RunFolder) -> dict[str, Any]:
    """Return who holds the lock, or held it last; empty if that is not known."""
    try:
        found = json.loads(folder.running.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _words(owner: dict[str, Any]) -> str:
    if not owner:
        return "it does not say which"
    return ", ".join(
        f"{name} {owner[name]}" for name in ("process", "host", "since") if name in owner
    )


__all__ = ["RunInUseError", "held"]
