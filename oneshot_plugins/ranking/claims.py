"""Which process scores what, told to the others by locks on bytes of one file.

Such a lock ends with the process that holds it, however that ends: no process has to find out
whether another one is still alive. Bytes need not exist to be locked.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from torch import distributed

from oneshot_core.errors import RankingError

if sys.platform != "win32":
    import fcntl

WHOLE = 0
"""Length of a lock on all bytes."""


class Claims:
    """Keys of one file, each held by one process at a time.

    Nothing is held, and nobody waits, where the system has no such locks (Windows), and on the
    ranks of one distributed run: they score the same at the same time, and need each other for it.

    Args:
        file: descriptor, open for writing. Closing any descriptor of the file gives up all.
        name: of the file, for errors.
    """

    def __init__(self, file: int, name: str | os.PathLike[str]) -> None:
        self.file = file
        self.name = name
        together = distributed.is_available() and distributed.is_initialized()
        self.locks = sys.platform != "win32" and not together

    @contextmanager
    def held(self, key: str) -> Iterator[None]:
        """Hold ``key``; first wait until no other process does."""
        self._lock(_byte(key))
        try:
            yield
        finally:
            self._unlock(_byte(key))

    def taken(self, key: str) -> bool:
        """Say whether another process holds ``key``. Not to be asked for what is held here."""
        if not self._lock(_byte(key), wait=False):
            return True
        self._unlock(_byte(key))
        return False

    def wait(self) -> None:
        """Wait until no other process holds anything."""
        self._lock(0, WHOLE)
        self._unlock(0, WHOLE)

    def _lock(self, start: int, length: int = 1, *, wait: bool = True) -> bool:
        if sys.platform != "win32" and self.locks:
            try:
                fcntl.lockf(
                    self.file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), length, start
                )
            except (BlockingIOError, PermissionError):  # either is how systems say: taken
                return False
            except OSError as error:
                raise RankingError(
                    f"{os.fspath(self.name)!r} cannot be locked: {error}",
                    expected="a file system on which processes can lock parts of a file",
                    fix="keep the file on a local disk",
                ) from error
        return True

    def _unlock(self, start: int, length: int = 1) -> None:
        if sys.platform != "win32" and self.locks:
            fcntl.lockf(self.file, fcntl.LOCK_UN, length, start)


def _byte(key: str) -> int:
    """Return the position of ``key`` among 2^56: two on one would only wait for each other."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
