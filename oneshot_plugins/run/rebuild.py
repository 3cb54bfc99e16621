"""From a run folder back to its search, with the trained supernet."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from jsonargparse import Namespace
from pytorch_lightning import LightningDataModule
from torch import nn

import oneshot_core as oneshot

from .checkpoint import load_checkpoint
from .configuration import SearchCLI, search_cli
from .folder import RunFolder
from .ranking import train_loader
from .settings import RankSettings
from .tables import cost_tables
from .words import explained

CALIBRATION_BATCHES = 16
"""Training batches that give a network BatchNorm statistics of its own."""


class Run(NamedTuple):
    """What a folder holds, as objects.

    Attributes:
        folder: where.
        search: with the weights of the checkpoint, or as it was made without one.
        data: None if the model has the loaders.
        model: ``class_path`` and ``init_args`` of the model.
        ranking: how the configuration ranks.
    """

    folder: RunFolder
    search: oneshot.BaseOneShotLightningModule
    data: LightningDataModule | None
    model: Namespace
    ranking: RankSettings


def read_run(path: str | Path, command: str) -> SearchCLI:
    """Make model and data as the configuration of a run says; imports what it names.

    Raises:
        RunError: there is no configuration, or the code of the run cannot be used.
    """
    folder = RunFolder(path)
    folder.require(folder.config)
    return search_cli(["--config", str(folder.config)], command=command)


def load_run(path: str | Path, command: str = "rank", *, trained: bool = True) -> Run:
    """Make the search of a run as its configuration says; load its checkpoint.

    Nothing that is in the checkpoint is run.

    Args:
        path: of the folder.
        command: that asks, for messages.
        trained: whether the weights of the checkpoint are loaded.

    Raises:
        RunError: a file is missing, or the code of the run cannot be used.
    """
    folder = RunFolder(path)
    folder.require(folder.config, *([folder.checkpoint] if trained else []))
    cli = read_run(path, command)
    search = cli.search()
    cost_tables(search, cli.options, folder)
    if trained:
        with explained(f"loading {folder.checkpoint}", command):
            search.configure_model()
            checkpoint = load_checkpoint(folder.checkpoint)
            search.on_load_checkpoint(checkpoint)
            search.load_state_dict(checkpoint["state_dict"])
    return Run(folder, search, cli.datamodule, cli.config.model, cli.ranking)


def chosen(folder: RunFolder, file: Path | None) -> oneshot.Architecture:
    """Return the architecture in ``file``; that of the run if there is no file.

    Raises:
        RunError: the run has chosen none yet.
        ArchitectureError: the file holds none.
    """
    if file is None:
        folder.require(folder.architecture)
    return oneshot.Architecture.load(folder.architecture if file is None else file)


def network_of(run: Run, architecture: oneshot.Architecture, calibration_batches: int) -> nn.Module:
    """Return the plain network, on the CPU, with what the supernet learned.

    Where it has BatchNorm, it gets statistics of its own from training batches, as in a ranking:
    those of the supernet fit none of its networks.
    """
    search = run.search
    if calibration_batches < 1 or not any(map(_has_statistics, search.model.modules())):
        return oneshot.freeze(search, architecture).cpu()
    frozen: list[nn.Module] = []

    def keep(metrics: object) -> float:
        """Freeze while the statistics are those of the architecture."""
        frozen.append(oneshot.freeze(search, architecture).cpu())
        return 0.0

    with explained("giving BatchNorm statistics of its own", "freeze"):
        search.rank(
            [architecture],
            search.model.val_dataloader() if run.data is None else run.data,
            metric=keep,
            train_dataloader=train_loader(search, run.data),
            calibration_batches=calibration_batches,
            progress=False,
        )
    return frozen[0]


def _has_statistics(module: nn.Module) -> bool:
    norm = nn.modules.batchnorm._BatchNorm
    return isinstance(module, norm) and isinstance(module.running_mean, torch.Tensor)
