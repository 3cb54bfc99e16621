"""Checkpoint files that are written whole, whenever the process is killed."""

from __future__ import annotations

import io
import os
from typing import Any

import torch
from lightning_fabric.utilities.cloud_io import get_filesystem
from pytorch_lightning.plugins import TorchCheckpointIO

from oneshot_core.files import cannot_write, whole_file
from oneshot_core.lightning.kit import count_as, is_url, read_checkpoint


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
        if storage_options is not None or is_url(path):
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
        if is_url(path):
            with get_filesystem(path).open(path, "rb") as file:
                return read_checkpoint(file, map_location or "cpu", weights_only=only)
        return read_checkpoint(path, map_location or "cpu", weights_only=only)
