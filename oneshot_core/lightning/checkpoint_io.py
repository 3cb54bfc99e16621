"""Checkpoint files: written whole whenever the process is killed, read without running code."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import torch
from lightning_fabric.utilities.cloud_io import get_filesystem
from pytorch_lightning import Trainer
from pytorch_lightning.plugins import TorchCheckpointIO

from ..errors import CheckpointError
from ..files import cannot_write, require_place, whole_file
from .trees import count_as


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lets a Trainer write checkpoints that are whole, and on the disk, or not there at all.

    ``Trainer(plugins=[AtomicCheckpointIO()])``. For files; how URLs are written is left to
    Lightning. Strategies that write folders (FSDP, DeepSpeed) do not ask it.

    Lightning's own way is to write into the system's temporary folder and to move the file. If
    that is another file system, moving is copying, which a kill cuts off; nothing waits for the
    disk; and where permission is missing the checkpoint is left out without a word.
    """

    def __init__(self) -> None:
        super().__init__()
        count_as(type(self), TorchCheckpointIO)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; the old file stays until the new one is complete.

        Raises:
            OutputError: the file cannot be written; the old one is left.
            TypeError: ``storage_options`` are given, as Lightning raises it.
        """
        if storage_options is not None or _is_url(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        folder = os.path.dirname(os.path.abspath(path))
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        content = io.BytesIO()  # torch hides why it could not write, and what cannot be pickled
        torch.save(checkpoint, content)  # is told before any file is touched
        with whole_file(path) as file:
            file.write(content.getbuffer())

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint.

        Args:
            path: what :meth:`save_checkpoint` wrote.
            map_location: as in ``torch.load``; None for the CPU.
            weights_only: False lets the file run code; only for files you trust.

        Raises:
            CheckpointError: the file is cut off, or no checkpoint.
            FileNotFoundError: there is none.
        """
        only = weights_only is not False
        if _is_url(path):
            with get_filesystem(path).open(path, "rb") as file:
                return read_checkpoint(file, map_location or "cpu", weights_only=only)
        return read_checkpoint(path, map_location or "cpu", weights_only=only)


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
        if folder is not None and not _is_url(folder):
            require_place(os.path.join(folder, "last.ckpt"))


def _no_checkpoint(path: object, why: str) -> CheckpointError:
    name = os.fspath(path) if isinstance(path, (str, os.PathLike)) else path
    return CheckpointError(
        f"{name!r} cannot be read as a checkpoint: {why}",
        expected="a file that a Trainer wrote completely",
        fix="go on from an older checkpoint, and write with "
        "Trainer(plugins=[oneshot.AtomicCheckpointIO()]), which leaves no cut off files",
    )


def _is_url(path: object) -> bool:
    return "://" in str(path)


__all__ = ["AtomicCheckpointIO", "read_checkpoint", "require_entries", "require_folders"]
