"""Put files into a new folder, all of them or none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from oneshot_core.errors import PluginError
from oneshot_core.files import cannot_write


def write(files: Mapping[str, str], folder: Path) -> Path:
    """Write ``files`` into ``folder``, which must be new or empty; return its absolute path.

    They are written into a temporary folder beside it, which is then renamed.

    Args:
        files: path relative to ``folder``, with ``/`` -> text.
        folder: what it is called in the end.

    Raises:
        PluginError: ``folder`` exists and is not an empty folder, or there is no place for it.
        OutputError: writing fails; nothing is left.
    """
    target = Path(os.path.abspath(folder))
    _require_place(target, folder)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        temporary.mkdir()
        for path, text in files.items():
            file = temporary / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", newline="\n")
        if target.is_dir():
            # Moved one by one: who stands in an empty folder would else stand in a deleted one.
            for child in list(temporary.iterdir()):
                child.rename(target / child.name)
        else:
            temporary.rename(target)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _require_place(target: Path, asked: Path) -> None:
    if target.is_dir():
        found = sorted(child.name for child in target.iterdir())
        if found:
            raise PluginError(
                f"the folder {str(asked)!r} is not empty: it holds "
                f"{', '.join(found[:3])}{', ...' if len(found) > 3 else ''}",
                expected="a folder that does not exist yet, or is empty",
                fix="choose another one with --out DIR",
            )
    elif os.path.lexists(target):
        raise PluginError(
            f"{str(asked)!r} exists and is no folder",
            expected="a folder that does not exist yet, or is empty",
            fix="choose another one with --out DIR",
        )
    elif not target.parent.is_dir():
        raise PluginError(
            f"there is no folder {str(asked.parent)!r} to write into",
            expected="a folder that exists, in which the new one is made",
            fix=f"mkdir -p {asked.parent}",
        )
