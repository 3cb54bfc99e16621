"""A user's module and data, and searches of them from the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oneshot_core.cli import main

USERS = """
import os

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot


class Net(pl.LightningModule):
    def __init__(self, hidden: int = 8, lr: float = 0.1):
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        deep = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Dropout(0.1), nn.Linear(4, hidden))
        wide = nn.Linear(6, hidden)
        self.first = oneshot.LayerChoice({"wide": wide, "deep": deep}, label="first")
        self.norm = nn.BatchNorm1d(hidden)
        self.blocks = oneshot.Repeat(lambda i: nn.Linear(hidden, hidden), (0, 2), label="depth")
        self.head = nn.Linear(hidden, 3)
        self.example_input_array = torch.zeros(2, 6)

    def forward(self, x):
        return self.head(self.blocks(self.norm(self.first(x))))

    def training_step(self, batch, batch_idx):
        if self.current_epoch == 2 and batch_idx == 1:
            stop = os.environ.get("STOP_IN_EPOCH_2")
            if stop == "kill":
                os._exit(9)
            if stop is not None:
                raise {"error": ZeroDivisionError, "interrupt": KeyboardInterrupt}[stop]("stop")
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        if "STOP_IN_VALIDATION" in os.environ:
            raise KeyboardInterrupt
        self.log("val_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class WithoutOptimizer(Net):
    configure_optimizers = pl.LightningModule.configure_optimizers


class Raises(pl.LightningModule):
    def __init__(self):
        super().__init__()
        raise RuntimeError("no data at /here")


def number():
    return 5


class WithoutExample(Net):
    def __init__(self):
        super().__init__()
        self.example_input_array = None


class Data(pl.LightningDataModule):
    def __init__(self, n: int = 96):
        super().__init__()
        self.n = n

    def setup(self, stage):
        x = torch.randn(self.n, 6, generator=torch.Generator().manual_seed(0))
        self.data = TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long())

    def train_dataloader(self):
        return DataLoader(self.data, batch_size=16, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.data, batch_size=48)


class OwnArchitectureData(Data):
    def arch_dataloader(self):
        return DataLoader(self.data, batch_size=12)
"""

GDAS = ("--search.strategy", "gdas", "--search.arch_fraction", "0.5")
QUIET = """\
model: {class_path: cli_users.Net}
data: {class_path: cli_users.Data}
trainer:
  max_epochs: 3
  accelerator: cpu
  enable_progress_bar: false
  enable_model_summary: false
"""


@pytest.fixture(scope="session")
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Write ``cli_users.py`` into a folder that Python looks in, and return the folder."""
    folder = tmp_path_factory.mktemp("users")
    (folder / "cli_users.py").write_text(USERS)
    (folder / "search.yaml").write_text(QUIET)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("cli_users", None)


@pytest.fixture(scope="session")
def finished(users: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run of gdas, ranked."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    ranked = ("--rank.metric", "val_acc", "--rank.costs", "[macs]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PL_GLOBAL_SEED", "0")
        patch.setenv("PL_SEED_WORKERS", "0")
        config = str(users / "search.yaml")
        assert main(["search", "--config", config, *GDAS, *ranked, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(autouse=True)
def seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take back what Lightning's seed_everything sets."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")


Oneshot = Callable[..., int]


@pytest.fixture
def search(users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Oneshot:
    """Return a function that runs ``oneshot search`` in an empty folder, with ``search.yaml``."""
    monkeypatch.chdir(tmp_path)
    return lambda *more: main(["search", "--config", str(users / "search.yaml"), *more])
