"""The checkpoint of a run: the newest one, with the random state that it was written in."""

from __future__ import annotations

import pickle
import random
import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from oneshot_core.lightning.kit import require_entries

from .folder import RunError

KEY = "oneshot_random_state"


class SearchCheckpoint(Checkpoint):
    """Write one file after each epoch, from which a search goes on as if it never stopped.

    Lightning keeps no random states; without them, a resumed fit would shuffle otherwise. Those
    of one process are kept, of the CPU and of the GPU it computes on.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.path, weights_only=False)  # optimizers, too

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.world_size == 1:
            checkpoint[KEY] = _random_state(pl_module.device)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.world_size == 1 and KEY in checkpoint:
            try:
                _set_random_state(checkpoint[KEY], pl_module.device)
            except Exception as error:  # whatever is there in the place of what belongs there
                raise RunError(
                    f"the random state in {str(self.path)!r} is damaged: {type(error).__name__}: "
                    f"{error}",
                    expected="what `oneshot search` wrote",
                    fix="put a copy of the checkpoint in its place, or search again with another "
                    "--out",
                ) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, without running anything that is in it.

    Raises:
        RunError: it holds more than plain data and tensors, or cannot be read.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        raise RunError(
            f"{str(path)!r} cannot be loaded: {str(error).splitlines()[0]}",
            expected="a whole checkpoint of tensors and plain data; nothing else is run",
            fix="give save_hyperparameters() and checkpoint hooks plain data, or allow a class of "
            "yours in its module: torch.serialization.add_safe_globals([Class])",
        ) from error
    except Exception as error:  # of zip files, and torch's own
        raise RunError(
            f"{str(path)!r} cannot be loaded: {str(error).partition('. ')[0]}",
            expected="a whole checkpoint",
            fix="put a copy of it in its place, or search again with another --out",
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise RunError(
            f"{str(path)!r} holds no state_dict",
            expected="a checkpoint of Lightning",
            fix="name a folder that has one",
        )
    require_entries(checkpoint, path)
    return checkpoint


def _random_state(device: torch.device) -> dict[str, Any]:
    """Return the states of all global generators as tensors and plain data."""
    state: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    if (numpy := sys.modules.get("numpy")) is not None:
        name, keys, *rest = numpy.random.get_state()
        state["numpy"] = (str(name), keys.tolist(), *rest)
    return state


def _set_random_state(state: dict[str, Any], device: torch.device) -> None:
    version, inner, gauss = state["python"]
    random.setstate((version, tuple(inner), gauss))
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
    if "numpy" in state and (numpy := sys.modules.get("numpy")) is not None:
        name, keys, *rest = state["numpy"]
        numpy.random.set_state((name, numpy.array(keys, dtype="uint32"), *rest))
