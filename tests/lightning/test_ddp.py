"""A search on two processes: the same paths, weights and architecture parameters on both."""

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
from pytorch_lightning.strategies import DDPStrategy
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core.errors import StrategyError
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
    def __init__(self, choices=True):
        super().__init__()
        self.layer = nn.Linear(6, 6)
        if choices:
            self.layer = LayerChoice([nn.Linear(6, 6), nn.Linear(6, 6), nn.Identity()], label="a")
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(6, 2)
        self.paths = []

    def training_step(self, batch, batch_idx):
        decision = getattr(self.layer, "decision", None)
        if decision is not None and not decision.superposes:
            self.paths.append(decision.active()[0].candidate)
        x = self.head(self.drop(self.norm(self.layer(batch[0]).relu())))
        loss = nn.functional.cross_entropy(x, batch[1])
        self.log("loss", loss, sync_dist=True, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def fit(name, wrap, choices=True, strategy="ddp_find_unused_parameters_true", **options):
    torch.manual_seed(RANK)  # ranks draw differently: dropout, and whatever the user does
    model = Net(choices)
    module = wrap(model)
    module.needs_choices = choices
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy=strategy, max_epochs=2, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        **options,
    )
    error = None
    try:
        trainer.fit(module, loader(0, shuffle=True))
    except StrategyError as raised:
        error = str(raised)
    decisions = getattr(module, "decisions", None)
    alphas = [] if decisions is None else [p.detach() for p in decisions.parameters()]
    result = {
        "weights": model.state_dict(),
        "alphas": alphas,
        "paths": model.paths,
        "steps": trainer.global_step,
        "loss": trainer.callback_metrics.get("loss_epoch"),
        "error": error,
    }
    torch.save(result, OUT / f"{name}-{RANK}.pt")


def darts(shards):
    return lambda model: oneshot.search(
        model, "darts", seed=1, arc_learning_rate=0.1,
        arch_dataloader=loader(10 + (RANK if shards else 0), shuffle=True),
    )


def sample(model):
    return oneshot.search(model, "random", seed=1)


class Validated(Net):
    def validation_step(self, batch, batch_idx):
        x = self.head(self.norm(self.layer(batch[0]).relu()))
        self.log("val_loss", nn.functional.cross_entropy(x, batch[1]))


def ranked():
    torch.manual_seed(RANK)
    search = sample(Validated())
    Trainer(
        accelerator="cpu", devices=2, strategy="ddp_find_unused_parameters_true", max_epochs=1,
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0,
    ).fit(search, loader(0, shuffle=True))
    ranking = search.rank(
        "evolution", loader(5), metric="val_loss", mode="min", budget=2, population_size=2,
        train_dataloader=loader(0), progress=False,
    )
    scores = [[str(e.architecture), e.score] for e in ranking]
    torch.save({"scores": scores, "beside": str(ranking.baselines)}, OUT / f"ranked-{RANK}.pt")


ranked()
fit("random", sample)
fit("random-accumulate", sample, accumulate_grad_batches=2)
fit("darts-shards", darts(True), strategy="ddp")
fit("darts-rank0-data", darts(False), strategy="ddp")
fit("bare", lambda model: model, choices=False, strategy="ddp")
fit("wrapped", sample, choices=False, strategy="ddp")
fit("refused", sample, strategy="ddp")
fit("darts-static", darts(True), strategy=DDPStrategy(static_graph=True))
fit(
    "refused-static", sample,
    strategy=DDPStrategy(static_graph=True, find_unused_parameters=True),
)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Return, for each fit of the script, what each of the two processes found."""
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    folder = tmp_path_factory.mktemp("ddp")
    script = folder / "fit.py"
    script.write_text(SCRIPT)
    unset = (
        "LOCAL_RANK",
        "NODE_RANK",
        "WORLD_SIZE",
        "MASTER_ADDR",
        "MASTER_PORT",
        "PL_GLOBAL_SEED",
    )
    environment = {key: value for key, value in os.environ.items() if key not in unset}
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
    names = sorted({path.stem.rsplit("-", 1)[0] for path in folder.glob("*.pt")})
    return {name: [read(folder / f"{name}-{rank}.pt") for rank in (0, 1)] for name in names}


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


def same_parameters(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Compare what is trained: BatchNorm statistics are each process's own until broadcast."""
    names = [n for n in a["weights"] if "running" not in n and "tracked" not in n]
    return all(torch.equal(a["weights"][n], b["weights"][n]) for n in names)


FITS = [
    "random",
    "random-accumulate",
    "darts-shards",
    "darts-rank0-data",
    "darts-static",
    "wrapped",
]


@pytest.mark.parametrize("name", FITS)
def test_weights_are_equal_on_all_processes(name: str, results: Any) -> None:
    first, second = results[name]

    assert first["error"] is None
    assert first["steps"] == second["steps"] == (4 if "accumulate" in name else 8)
    assert same_parameters(first, second)


def test_rankings_and_their_baselines_are_the_same_on_all_processes(results: Any) -> None:
    first, second = results["ranked"]

    assert len(first["scores"]) == 2
    assert "best of 2 random" in first["beside"]
    assert first == second


@pytest.mark.parametrize("name", ["random", "random-accumulate"])
def test_paths_are_the_same_on_all_processes(name: str, results: Any) -> None:
    """Although the processes' global generators differ."""
    first, second = results[name]

    assert len(first["paths"]) == 8
    assert len(set(first["paths"])) > 1
    assert first["paths"] == second["paths"]


def test_architecture_parameters_are_equal_though_the_data_differ(results: Any) -> None:
    first, second = results["darts-shards"]
    (same_data, _) = results["darts-rank0-data"]

    assert torch.equal(first["alphas"][0], second["alphas"][0])
    assert first["alphas"][0].abs().max() > 0.01
    # The other process's shard has been taken into account.
    assert not torch.equal(first["alphas"][0], same_data["alphas"][0])


def test_training_without_choices_equals_bare_training_on_each_process(results: Any) -> None:
    for bare, wrapped in zip(results["bare"], results["wrapped"], strict=True):
        assert bare["weights"].keys() == wrapped["weights"].keys()
        assert all(
            torch.equal(bare["weights"][key], wrapped["weights"][key]) for key in bare["weights"]
        )
        assert torch.equal(bare["loss"], wrapped["loss"])
        assert bare["steps"] == wrapped["steps"]


def test_sampling_without_a_search_for_unused_parameters_is_refused_before_training(
    results: Any,
) -> None:
    for result in results["refused"]:
        assert "ddp_find_unused_parameters_true" in result["error"]
        assert result["steps"] == 0
        assert result["paths"] == []


def test_sampling_with_a_static_graph_is_refused_before_training(results: Any) -> None:
    """DDP would take the first batch's path for that of all batches."""
    for result in results["refused-static"]:
        assert "static_graph=True" in result["error"]
        assert "expected: a DDP strategy without static_graph" in result["error"]
        assert result["steps"] == 0
        assert result["paths"] == []


def test_static_graph_trains_a_search_that_leaves_nothing_out_as_without_it(results: Any) -> None:
    for static, dynamic in zip(results["darts-static"], results["darts-shards"], strict=True):
        assert same_parameters(static, dynamic)
        assert torch.equal(static["alphas"][0], dynamic["alphas"][0])
