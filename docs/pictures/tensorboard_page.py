"""Draw docs/pictures/tensorboard.png: search, open the logs in TensorBoard, photograph it.

About a minute. Needs Chromium, and ``pip install -c constraints.txt tensorboard``, which nothing
else of the project does.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_plugins.strategies.probability_logger import ProbabilityLogger

TARGET = Path(__file__).parent / "tensorboard.png"
EPOCHS, SEED = 40, 0
SIZE = "1810,1030"
CHARTS = (364, 64, 1556, 1030)
"""What is kept of it: left, top, right, bottom, in its pixels."""
WAIT = 60_000
"""Milliseconds that the page may take, of its own clock."""


class Model(pl.LightningModule):
    """Two choices: the width of the first layer, and what follows it."""

    def __init__(self) -> None:
        super().__init__()
        widths = {
            f"w{w}": nn.Sequential(nn.Linear(6, w), nn.ReLU(), nn.Linear(w, 8)) for w in (2, 4, 8)
        }
        self.first = oneshot.LayerChoice(widths, label="first")
        self.second = oneshot.LayerChoice(
            {"linear": nn.Linear(8, 8), "tanh": nn.Tanh(), "skip": nn.Identity()}, label="second"
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.second(self.first(x)))
        return out

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def search(logs: Path) -> None:
    """Leave the logs of a search with DARTS."""
    pl.seed_everything(SEED, verbose=False)
    x = torch.randn(192, 6)
    data = TensorDataset(x, (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] > 0).long())
    found = oneshot.search(
        Model(), "darts", arch_dataloader=DataLoader(data, 32), seed=SEED, arc_learning_rate=0.02
    )
    trainer = pl.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=TensorBoardLogger(logs, name="darts"),
        callbacks=[ProbabilityLogger(costs=["macs"], inputs=[torch.zeros(1, 6)])],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(found, DataLoader(data, 16))


def photograph(logs: Path, target: Path) -> None:
    """Start TensorBoard, wait until it knows the tags, open it in Chromium, keep what it shows."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser, "no Chromium: apt-get install chromium"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", str(logs), "--port", str(port),
         "--host", "127.0.0.1", "--load_fast=false"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for_tags(address)
        wanted = urlencode({"darkMode": "false", "smoothing": 0, "tagFilter": "probability"})
        page = f"{address}/?{wanted}#timeseries"
        with tempfile.TemporaryDirectory() as profile:
            subprocess.run(
                [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--hide-scrollbars",
                 "--disable-3d-apis",  # else lines are drawn where no screenshot sees them
                 f"--user-data-dir={profile}", f"--window-size={SIZE}",
                 f"--virtual-time-budget={WAIT}", f"--screenshot={target}", page],
                check=True, timeout=300, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        with Image.open(target) as whole:
            shown = whole.crop(CHARTS)
        shown.save(target)
    finally:
        server.terminate()
        server.wait()


def _wait_for_tags(address: str) -> None:
    for _ in range(120):
        try:
            with urlopen(f"{address}/data/plugin/scalars/tags", timeout=5) as answer:
                if "probability/first/w2" in json.dumps(json.load(answer)):
                    return
        except OSError:
            pass
        time.sleep(0.5)
    raise SystemExit("TensorBoard does not show the logs")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        search(Path(folder))
        photograph(Path(folder), TARGET)
