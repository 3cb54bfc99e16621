"""A page about a search that was really run, from what its recorder wrote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core.cli import main
from oneshot_plugins.run.recorder import RunRecorder


class Model(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        layers = {"wide": nn.Linear(4, 4), "skip": nn.Identity()}
        self.first = oneshot.LayerChoice(layers, label="first")
        self.pair = oneshot.InputChoice(3, n_chosen=2, label="pair")
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.pair([self.first(x), x, -x]))
        return out

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_what_the_recorder_writes_is_what_the_page_shows(tmp_path: Path) -> None:
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    data = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), 8)
    search = oneshot.search(Model(), "darts", arch_dataloader=data, arc_learning_rate=0.3, seed=0)
    pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
        callbacks=[RunRecorder(tmp_path)],
    ).fit(search, data, data)  # fmt: skip
    search.rank(
        "all", data, metric="val_acc", costs=["macs"], inputs=[x[:1]], progress=False
    ).to_json(tmp_path / "ranking.json")  # fmt: skip
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Of 6 architectures the search chose" in page
    assert re.search(r"number \d of 6 ranked by val_acc", page)
    assert f"oneshot-core</dt><dd>{oneshot.__version__}" in page
    assert oneshot.registry.fingerprint() in page
    chosen = search.export()
    drawn = re.findall(r'class="box chosen"><title>([^<,]+), probability ([\d.]+)</title>', page)
    probabilities = search.export_probs()
    expected = [("first", chosen["first"]), *(("pair", member) for member in chosen["pair"])]
    assert drawn == [(str(c), f"{probabilities[label][c]:.3f}") for label, c in expected]
