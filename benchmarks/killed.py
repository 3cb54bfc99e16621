"""A complete small search, written so that it goes on after a kill at any moment.

What it trains with is what docs/reliability.md asks for: a loader that knows its place,
`SeedEachBatch` for dropout, `LogCheckpointRow` for logged rows, `AtomicCheckpointIO` for
checkpoints, a journal for the front.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # optimizers import it, slowly: once, before processes are forked
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers.logger import Logger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import oneshot_core as oneshot
from oneshot_core.files import write_text

EPOCHS, BATCHES, BATCH = 3, 7, 8
CHECKPOINT_EVERY = 4
"""Steps. No checkpoint falls on the last batch of an epoch: Lightning would skip its validation."""

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "fair": ("fair", {}),
    "sandwich": ("sandwich", {}),
    "shrinking": ("shrinking", {}),
    "darts": ("darts", {}),
    "darts of second order": ("darts", {"order": 2}),
    "gdas": ("gdas", {}),
    "proxyless": ("proxyless", {}),
    "enas": ("enas", {}),
}
"""Name -> strategy and its options."""

LEARNS = {"darts", "gdas", "proxyless", "enas"}
PHASES = ("train", "validate", "save", "rank", "pareto")

Moment = Callable[[str], None]


class Net(LightningModule):
    """Two choices around BatchNorm and dropout; tells when it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.first = oneshot.LayerChoice(
            {"linear": nn.Linear(6, 8), "narrow": nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 8)),
             "tanh": nn.Sequential(nn.Linear(6, 8), nn.Tanh())}, label="first",
        )  # fmt: skip
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.2)
        self.depth = oneshot.Repeat(lambda index: nn.Linear(8, 8), (0, 2), label="depth")
        self.head = nn.Linear(8, 2)
        self.__dict__["tell"] = lambda phase: None
        self.phase = "validate"
        self.means = False

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.depth(self.drop(self.norm(self.first(x)))))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.__dict__["tell"]("train" if self.phase == "validate" else self.phase)
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss, on_step=True, on_epoch=self.means)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.__dict__["tell"](self.phase)
        logits = self(batch[0])
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())
        self.log("val_loss", nn.functional.cross_entropy(logits, batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.8)]


class Batches:
    """Shuffled batches that a checkpoint knows the place in: (epoch, index)."""

    def __init__(self, data: TensorDataset, seed: int) -> None:
        self.data, self.seed, self.place = data, seed, (0, 0)

    def __len__(self) -> int:
        return len(self.data) // BATCH

    def __iter__(self) -> Iterator[Any]:
        epoch, start = self.place
        generator = torch.Generator().manual_seed(self.seed * 1000 + epoch)
        order = torch.randperm(len(self.data), generator=generator)
        for index in range(start, len(self)):
            last = index + 1 == len(self)
            self.place = (epoch + 1, 0) if last else (epoch, index + 1)
            yield self.data[order[index * BATCH : (index + 1) * BATCH]]

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.place = state["place"]


class Watched(oneshot.AtomicCheckpointIO):
    """Tells before a checkpoint is written."""

    def __init__(self, tell: Moment) -> None:
        super().__init__()
        self.tell = tell

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        self.tell("save")
        super().save_checkpoint(checkpoint, path, storage_options)


class Rows(Logger):
    """Appends every logged row to a file at once."""

    name = "rows"
    version = 0

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = json.dumps([step, metrics], sort_keys=True) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, row.encode())
        os.close(descriptor)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the model has none."""


def run(folder: Path, family: str, *, inside: bool, tell: Moment, forget: bool = False) -> None:
    """Search, rank and look for a front in ``folder``, from where a kill has left it.

    Args:
        folder: checkpoints, rows, a journal, and in the end ``result.json``.
        family: a key of :data:`FAMILIES`.
        inside: keep checkpoints inside epochs, with a loader that can be resumed there; else at
            the end of epochs, with a plain loader.
        tell: called with one of :data:`PHASES` at each moment of interest.
        forget: leave out what makes a resume exact; for the control.
    """
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    last = folder / "checkpoints" / "last.ckpt"
    torch.manual_seed(os.getpid() if last.exists() else 0)  # a resume must not need it
    model = Net()
    model.__dict__["tell"] = tell
    model.means = not inside  # Lightning resumes inside an epoch without what it has summed up
    strategy, options = FAMILIES[family]
    if strategy in LEARNS:
        options = {**options, "arch_dataloader": DataLoader(data(24, 1), BATCH, shuffle=True)}
    search = oneshot.search(model, strategy, seed=5, **options)
    every = {"every_n_train_steps": CHECKPOINT_EVERY} if inside else {}
    trainer = Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=Rows(folder / "rows.jsonl"),
        log_every_n_steps=1,
        callbacks=[ModelCheckpoint(last.parent, save_last=True, **every)]
        + ([] if forget else [oneshot.SeedEachBatch(5), oneshot.LogCheckpointRow()]),
        plugins=[Watched(tell)],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    train, val = data(BATCHES * BATCH, 0), DataLoader(data(24, 2), BATCH)
    epochs = DataLoader(train, BATCH, sampler=DistributedSampler(train, 1, 0))
    trainer.fit(
        search,
        Batches(train, 5) if inside and not forget else epochs,
        val,
        ckpt_path=last if last.exists() else None,
    )
    _finish(search, folder, val, DataLoader(train, BATCH), model, strategy)


def _finish(
    search: Any, folder: Path, val: Any, calibration: Any, model: Net, strategy: str
) -> None:
    model.phase = "rank"
    ranking = search.rank(
        "all", val, metric="val_loss", mode="min", train_dataloader=calibration, progress=False
    )
    model.phase = "pareto"
    front = search.pareto(
        {"val_loss": "min", "parameters": "min"},
        val,
        budget=6,
        inputs=torch.zeros(1, 6),
        journal=folder / "pareto.jsonl",
        train_dataloader=calibration,
        progress=False,
    )
    weights = {**search.state_dict(), **search.decisions.state_dict(prefix="decisions.")}
    result = {
        "architecture": dict(search.export()),
        "frozen": _digest(oneshot.freeze(search, search.export()).state_dict()),
        "weights": {name: _digest({name: value}) for name, value in weights.items()},
        "probabilities": {k: list(v.values()) for k, v in search.export_probs().items()},
        "ranking": [[dict(e.architecture), e.score, dict(e.metrics)] for e in ranking],
        "front": [[dict(e.architecture), dict(e.values)] for e in front],
        "scored": [[dict(e.architecture), dict(e.values)] for e in front.scored],
    }
    search.export().save(folder / "architecture.json")
    write_text(folder / "result.json", json.dumps(result, indent=1))


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in tensors.items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.detach().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def data(n: int, seed: int) -> TensorDataset:
    """Return ``n`` points of two classes that no line parts."""
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x[:, 0] * x[:, 1] > 0).long())


def in_child(folder: str, family: str, inside: bool, forget: bool, pipe: Any) -> None:
    """Run in a process of its own; write a byte for each moment to ``pipe``."""
    descriptor = pipe.fileno()
    run(
        Path(folder),
        family,
        inside=inside,
        forget=forget,
        tell=lambda phase: os.write(descriptor, bytes([PHASES.index(phase)])),
    )
