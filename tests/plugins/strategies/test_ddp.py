"""Every strategy on two processes: equal weights, architecture parameters and draws on both."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.slow

SCRIPT = """
import os, sys, warnings
from pathlib import Path

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core.errors import StrategyError
from oneshot_plugins.strategies.penalties import AdditiveCost
from oneshot_plugins.strategies.shrinking import Phase

warnings.simplefilter("ignore")
torch.set_num_threads(1)
RANK = int(os.environ.get("LOCAL_RANK", 0))
OUT = Path(sys.argv[1])


def loader(seed, part=slice(None), batch_size=4, **options):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(32, 6, generator=generator).double()[part]
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=batch_size, **options)


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.layer = nn.Sequential(*[
            oneshot.LayerChoice(
                {"a": nn.Linear(6, 6), "b": nn.Sequential(nn.Linear(6, 6), nn.Tanh()),
                 "skip": nn.Identity()}, label=label)
            for label in ("one", "two")
        ])
        self.head = nn.Linear(6, 2)
        self.double()
        self.paths = []

    def training_step(self, batch, batch_idx):
        decisions = [choice.decision for choice in self.layer]
        self.paths.append([str([a.candidate for a in d.active()]) for d in decisions])
        x = self.head(self.layer(batch[0]))
        return nn.functional.cross_entropy(x, batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def fit(name, strategy, *, ddp="ddp_find_unused_parameters_true", devices=2, data=None, **options):
    model = Net()
    torch.manual_seed(RANK)  # ranks draw differently: whatever the user does
    if options.pop("apart", False):  # DDP gives all ranks the weights of the first
        for parameter in model.parameters():
            nn.init.normal_(parameter)
    if options.pop("learns", False):
        options["arch_dataloader"] = data or loader(10 + RANK)
        options.setdefault("arc_learning_rate", 0.05)
    search = oneshot.search(model, strategy, seed=1, **options)
    search.decisions.double()
    trainer = Trainer(
        accelerator="cpu", devices=devices, strategy=ddp if devices > 1 else "auto",
        max_epochs=2, logger=False, use_distributed_sampler=False,  # that one shuffles
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        precision="64-true",
    )
    error = None
    try:
        mine = slice(RANK, None, 2) if devices > 1 else slice(None)
        trainer.fit(search, loader(0, mine, batch_size=8 // devices))
    except StrategyError as raised:
        error = str(raised)
    torch.save({
        "weights": {k: v.detach().clone() for k, v in model.state_dict().items()},
        "alphas": [p.detach() for p in search.decisions.parameters()],
        "state": str(search.strategy_state()),
        "stages": [list(n.state_dict().values()) for n in map(search.network, (0, 1))]
            if name.endswith("chain") else [],
        "paths": model.paths,
        "steps": trainer.global_step,
        "error": error,
    }, OUT / f"{name}-{RANK}.pt")


def logits(model, batch):
    return model.head(model.layer(batch[0]))


table = {label: {"a": 5.0, "b": 9.0, "skip": 2.0} for label in ("one", "two")}
JOINT = {
    "darts": {}, "darts-2": {"strategy": "darts", "order": 2},
    "darts-fd": {"strategy": "darts", "order": 2, "hessian": "difference"},
    "gdas-2": {"strategy": "gdas", "order": 2}, "proxyless": {}, "fair": {}, "sandwich": {},
    "enas": {"baseline_decay": 0.9}, "chain": {"sizes": 2},
    "taught": {"strategy": "fair", "teacher": "original", "distill_at": logits},
}
RANKED = ("fair", "sandwich", "chain", "taught")  # without architecture parameters
if "LOCAL_RANK" not in os.environ:  # once, before there is a second process
    for name, options in JOINT.items():
        data = loader(10, batch_size=8)
        learns = name not in RANKED
        fit(f"alone-{name}", **{"strategy": name, **options}, devices=1, data=data, learns=learns)
for name, options in JOINT.items():
    data = loader(10, slice(RANK, None, 2))
    fit(f"joint-{name}", **{"strategy": name, **options}, data=data,
        learns=name not in RANKED)

LEARN = {
    "darts": {}, "darts-2": {"strategy": "darts", "order": 2},
    "darts-fd": {"strategy": "darts", "order": 2, "hessian": "difference"},
    "sdarts": {"strategy": "darts", "perturbation": 0.2},
    "gumbel": {}, "snas": {}, "gdas": {}, "gdas-2": {"strategy": "gdas", "order": 2},
    "proxyless": {}, "drnas": {}, "fbnet": {"cost": table}, "enas": {"n_samples": 2},
}
for name, options in LEARN.items():
    fit(name, options.pop("strategy", name), learns=True, **options)
OTHERS = {
    "fair": {}, "sandwich": {"distill": logits},
    "shrinking": {"phases": [Phase(1), Phase(1, {"*": None})]},
    "chain": {"teacher": "previous", "distill_at": logits},
    "taught": {"strategy": "random", "teacher": "original", "distill_at": logits},
    "shared": {"strategy": "random", "teacher": "original", "distill_at": logits, "apart": True},
}
for name, options in OTHERS.items():
    fit(name, options.pop("strategy", name), **options)
for name in ("gdas", "proxyless", "fair", "sandwich"):
    fit(f"refused-{name}", name, learns=name in LEARN, ddp="ddp")
"""

LEARN = [
    "darts",
    "darts-2",
    "darts-fd",
    "sdarts",
    "gumbel",
    "snas",
    "gdas",
    "gdas-2",
    "proxyless",
    "drnas",
    "fbnet",
    "enas",
]
OTHERS = ["fair", "sandwich", "shrinking", "chain", "taught", "shared"]
JOINT = ["darts", "darts-2", "darts-fd", "gdas-2", "proxyless", "fair", "sandwich", "enas"]
JOINT += ["chain", "taught"]
REFUSED = ["gdas", "proxyless", "fair", "sandwich"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Return, for each fit of the script, what each of the two processes found."""
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    folder = tmp_path_factory.mktemp("ddp")
    script = folder / "fit.py"
    script.write_text(SCRIPT)
    unset = [
        "LOCAL_RANK",
        "NODE_RANK",
        "WORLD_SIZE",
        "MASTER_ADDR",
        "MASTER_PORT",
        "PL_GLOBAL_SEED",
    ]
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    names = sorted({path.stem.rsplit("-", 1)[0] for path in folder.glob("*.pt")})
    return {
        name: [
            torch.load(folder / f"{name}-{rank}.pt", weights_only=True)
            for rank in (0, 1)
            if (folder / f"{name}-{rank}.pt").exists()
        ]
        for name in names
    }


@pytest.mark.parametrize("name", LEARN + OTHERS)
def test_both_processes_end_with_the_same_weights_and_draw_the_same(
    name: str, results: Any
) -> None:
    first, second = results[name]
    assert first["error"] is None
    assert first["steps"] == second["steps"] == 8
    assert first["paths"] == second["paths"]
    for key, value in first["weights"].items():
        assert torch.equal(value, second["weights"][key]), key
    assert first["state"] == second["state"]


@pytest.mark.parametrize("name", LEARN)
def test_architecture_parameters_are_equal_though_the_data_differ(name: str, results: Any) -> None:
    first, second = results[name]
    assert first["alphas"]
    for one, two in zip(first["alphas"], second["alphas"], strict=True):
        assert torch.equal(one, two)
        assert one.abs().max() > 0.01


@pytest.mark.parametrize("name", JOINT)
def test_two_processes_do_what_one_does_on_both_their_batches(name: str, results: Any) -> None:
    """For losses that are means, without BatchNorm: also the second derivatives are averaged."""
    (alone,) = results[f"alone-{name}"]
    joint, _ = results[f"joint-{name}"]
    assert alone["steps"] == joint["steps"] == 8
    for one, two in zip(alone["alphas"], joint["alphas"], strict=True):
        assert torch.allclose(one, two, rtol=1e-8, atol=1e-11)
    for key, value in alone["weights"].items():
        assert torch.allclose(value, joint["weights"][key], rtol=1e-8, atol=1e-11), key


def test_both_processes_keep_equal_stages(results: Any) -> None:
    first, second = results["chain"]
    assert len(first["stages"]) == 2
    for stage, other in zip(first["stages"], second["stages"], strict=True):
        assert all(torch.equal(one, two) for one, two in zip(stage, other, strict=True))


@pytest.mark.parametrize("name", REFUSED)
def test_what_leaves_candidates_out_needs_a_search_for_unused_parameters(
    name: str, results: Any
) -> None:
    for result in results[f"refused-{name}"]:
        assert "ddp_find_unused_parameters_true" in result["error"]
        assert result["steps"] == 0
