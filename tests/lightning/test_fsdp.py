"""A search with weights sharded by FSDP2, on two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.slow

SCRIPT = """
import os, sys, warnings
from pathlib import Path

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core.space import LayerChoice

warnings.simplefilter("ignore")
torch.set_num_threads(1)
RANK = int(os.environ.get("LOCAL_RANK", 0))
OUT = Path(sys.argv[1])


def loader(seed, **options):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(32, 6, generator=generator)
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=4, **options)


class Net(LightningModule):
    def __init__(self, choices=True, dropout=0.0):
        super().__init__()
        self.layer = nn.Linear(6, 6)
        if choices:
            self.layer = LayerChoice([nn.Linear(6, 6), nn.Linear(6, 6), nn.Identity()], label="a")
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(6, 2)
        self.paths = []
        self.losses = []

    def configure_model(self):
        if not self.sharded():
            mesh = self.device_mesh["data_parallel"]
            fully_shard(self.layer, mesh=mesh)
            fully_shard(self.head, mesh=mesh)

    def sharded(self):
        return any(hasattr(p, "full_tensor") for p in self.parameters())

    def training_step(self, batch, batch_idx):
        assert self.sharded()
        decision = getattr(self.layer, "decision", None)
        if decision is not None and not decision.superposes:
            self.paths.append(decision.active()[0].candidate)
        x = self.head(self.drop(self.layer(batch[0]).relu()))
        loss = nn.functional.cross_entropy(x, batch[1])
        self.losses.append(loss.detach())
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def fit(name, wrap, choices=True, dropout=0.0, epochs=2, resume=None, distributed=True):
    torch.manual_seed(0)
    model = Net(choices, dropout)
    module = wrap(model)
    module.needs_choices = choices
    torch.manual_seed(RANK)
    strategy = ModelParallelStrategy(
        data_parallel_size=2, tensor_parallel_size=1, save_distributed_checkpoint=distributed
    )
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy=strategy, max_epochs=epochs, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )
    path = None if resume is None else OUT / f"{resume}.ckpt"
    trainer.fit(module, loader(0), ckpt_path=path, weights_only=False)
    decisions = getattr(module, "decisions", None)
    result = {
        "weights": {n: p.full_tensor().detach() for n, p in model.named_parameters()},
        "rows": {n: len(p.to_local()) for n, p in model.named_parameters()},
        "alphas": [] if decisions is None else [p.detach() for p in decisions.parameters()],
        "losses": model.losses,
        "paths": model.paths,
        "steps": trainer.global_step,
    }
    trainer.save_checkpoint(OUT / f"{name}.ckpt")
    torch.save(result, OUT / f"{name}-{RANK}.pt")


def darts(model):
    return oneshot.search(
        model, "darts", seed=1, arc_learning_rate=0.1,
        arch_dataloader=loader(10 + RANK, shuffle=True),
    )


def sample(model):
    return oneshot.search(model, "random", seed=1)


def bare(model):
    return model


fit("bare", bare, choices=False, dropout=0.2, distributed=False)
fit("wrapped", sample, choices=False, dropout=0.2, distributed=False)
fit("random", sample)
fit("darts", darts)
fit("darts-half", darts, epochs=1)
fit("darts-resumed", darts, resume="darts-half")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the script on two processes; return where it wrote what each of them found."""
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    folder = tmp_path_factory.mktemp("fsdp")
    script = folder / "fit.py"
    script.write_text(SCRIPT)
    unset = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    environment = {k: v for k, v in os.environ.items() if k not in (*unset, "PL_GLOBAL_SEED")}
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return, for each fit of the script, what each of the two processes found."""
    names = {path.stem.rsplit("-", 1)[0] for path in folder.glob("*.pt")}
    return {
        name: [torch.load(folder / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1)]
        for name in names
    }


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_training_without_choices_equals_bare_training_on_each_process(results: Any) -> None:
    for bare, wrapped in zip(results["bare"], results["wrapped"], strict=True):
        assert same(bare["weights"], wrapped["weights"])
        assert torch.equal(torch.stack(bare["losses"]), torch.stack(wrapped["losses"]))
        assert bare["steps"] == wrapped["steps"] == 8
        assert bare["rows"] == wrapped["rows"]


def test_file_of_a_checkpoint_is_the_bare_one_with_the_entry_of_the_search(
    results: Any, folder: Path
) -> None:
    bare, wrapped = (
        torch.load(folder / f"{n}.ckpt", weights_only=True) for n in ("bare", "wrapped")
    )

    assert wrapped.keys() - bare.keys() == {"oneshot"}
    assert same(bare["state_dict"], wrapped["state_dict"])
    states = [c["optimizer_states"][0]["state"] for c in (bare, wrapped)]
    assert all(same(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))


@pytest.mark.parametrize("name", ["random", "darts"])
def test_weights_of_a_search_are_sharded_and_trained(name: str, results: Any) -> None:
    """Each process holds a half of the rows of every layer, chosen or not."""
    first, second = results[name]

    assert first["steps"] == second["steps"] == 8
    assert same(first["weights"], second["weights"])
    for key, whole in first["weights"].items():
        assert first["rows"][key] + second["rows"][key] == len(whole)
        assert 0 < first["rows"][key] < len(whole)


def test_paths_are_the_same_on_all_processes(results: Any) -> None:
    """Another path on one of them would wait for shards that nobody sends."""
    first, second = results["random"]

    assert len(first["paths"]) == 8
    assert len(set(first["paths"])) > 1
    assert first["paths"] == second["paths"]


def test_architecture_parameters_are_trained_and_equal_on_all_processes(results: Any) -> None:
    first, second = results["darts"]

    assert torch.equal(first["alphas"][0], second["alphas"][0])
    assert first["alphas"][0].abs().max() > 0.01


def test_search_resumed_from_a_distributed_checkpoint_equals_the_uninterrupted_one(
    results: Any,
) -> None:
    for whole, resumed in zip(results["darts"], results["darts-resumed"], strict=True):
        assert resumed["steps"] == 8
        assert len(resumed["losses"]) > 0
        assert same(whole["weights"], resumed["weights"])
        assert torch.equal(whole["alphas"][0], resumed["alphas"][0])
