"""Checkpoint files: read without running code, and written where there is a place for them."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import torch
from pytorch_lightning import Trainer

from ..errors import CheckpointError
from ..files import require_place

_ENTRIES: dict[str, type] = {
    "state_dict": dict,
    "epoch": int,
    "global_step": int,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "oneshot": dict,
}
"""Entries of Lightning's checkpoints and of ours, and their types."""


def read_checkpoint(
    path: str | os.PathLike[str] | IO[bytes], map_location: Any, *, weights_only: bool
) -> dict[str, Any]:
    """Return what is in a checkpoint.

    Raises:
        CheckpointError: the file is cut off, or no checkpoint.
        OSError: it cannot be read.
        pickle.UnpicklingError: it holds objects that ``weights_only`` refuses, whole as it is.
    """
    try:
        found = torch.load(path, map_location=map_location, weights_only=weights_only)
    except OSError:
        raise
    except Exception as error:
        whole = zipfile.is_zipfile(path)
        unreadable = "PytorchStreamReader" in str(error)
        if whole and not unreadable:  # torch says what it refuses in it, or which device it needs
            raise
        reason = str(error).partition("\n")[0] if unreadable else "it is cut off, or no zip archive"
        raise _no_checkpoint(path, reason) from error
    if not isinstance(found, dict):
        raise _no_checkpoint(path, f"it holds a {type(found).__name__}")
    require_entries(found, path)
    return found


def require_entries(checkpoint: Mapping[str, Any], path: object) -> None:
    """Look whether what a checkpoint holds under known names is of the type that it should be.

    Raises:
        CheckpointError: something is not.
    """
    for name, kind in _ENTRIES.items():
        found = checkpoint.get(name, kind())
        if not isinstance(found, kind) or isinstance(found, bool):
            raise _no_checkpoint(
                path, f"its entry {name!r} is a {type(found).__name__}, and no {kind.__name__}"
            )


def require_folders(trainer: Trainer) -> None:
    """Look whether the checkpoint callbacks of a Trainer may write where they will.

    Raises:
        OutputError: one may not. Lightning itself would go on, and write nothing.
    """
    for callback in trainer.checkpoint_callbacks if trainer.is_global_zero else ():
        folder = getattr(callback, "dirpath", None)
        if folder is not None and not is_url(folder):
            require_place(os.path.join(folder, "last.ckpt"))


def _no_checkpoint(path: object, why: str) -> CheckpointError:
    name = os.fspath(path) if isinstance(path, (str, os.PathLike)) else path
    return CheckpointError(
        f"{name!r} cannot be read as a checkpoint: {why}",
        expected="a file that a Trainer wrote completely",
        fix="go on from an older checkpoint, and write with "
        "Trainer(plugins=[oneshot.AtomicCheckpointIO()]), which leaves no cut off files",
    )


def is_url(path: object) -> bool:
    """Say whether a path is one of another machine or a store, not of a file here."""
    return "://" in str(path)
