"""Files that are written whole or not at all, and what is said where they cannot be."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import OutputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_EFFECTIVE = os.access in os.supports_effective_ids


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of ``path`` at the end of the block.

    Who reads meanwhile, or after a kill or a power cut at any moment, finds the old file or the
    new one. After an error the old one is still there, and nothing else; a kill can leave
    ``.NAME.PID.THREAD.part`` beside it. What is no regular file, such as ``/dev/stdout``, is
    written to directly, and a link is followed.

    Raises:
        OutputError: the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            with open(target, "wb") as file:
                yield file
            return
        part = f".{target.name}.{os.getpid()}.{threading.get_ident()}.part"
        temporary = target.with_name(part)
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                shutil.copymode(target, temporary)
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync(target.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write ``text`` in UTF-8 as :func:`whole_file` does; return the path.

    Raises:
        OutputError: the file cannot be written.
    """
    content = text.encode()
    with whole_file(path) as file:
        file.write(content)
    return Path(path)


def require_place(path: str | os.PathLike[str]) -> None:
    """Look, before what takes long, whether a file could be written at ``path``.

    Nothing is written. Folders that do not exist yet count as those in which they would be made.

    Raises:
        OutputError: there is no permission, or something else is in the way.
    """
    target = Path(os.path.realpath(path))
    folder = target.parent
    while not os.path.lexists(folder):
        folder = folder.parent
    code = None
    if target.is_dir():
        code = errno.EISDIR
    elif not folder.is_dir():
        code = errno.ENOTDIR
    elif not os.access(folder, os.W_OK | os.X_OK, effective_ids=_EFFECTIVE):
        code = errno.EACCES
    if code is not None:
        raise cannot_write(path, OSError(code, os.strerror(code)))


def cannot_write(path: str | os.PathLike[str], error: OSError) -> OutputError:
    """Return the error that says what ``error`` means for a file that was to be written."""
    if error.errno in _FULL:
        expected, fix = "room for the file", "free some, raise the quota, or write elsewhere"
    elif error.errno in _FORBIDDEN:
        expected, fix = "permission to write", "change that of the folder, or write elsewhere"
    elif error.errno == errno.ENOENT:
        expected, fix = "a folder that exists", f"mkdir -p {Path(path).parent}"
    else:
        expected, fix = "a path in a folder, where a file is or could be", "correct the path"
    return OutputError(
        f"{os.fspath(path)!r} cannot be written: {error.strerror or error}",
        expected=expected,
        fix=fix,
    )


def _sync(folder: Path) -> None:
    """Let the new name of a file reach the disk, where folders can be synchronized."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
