"""Elastic networks on two processes: as one process with both halves of each batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]

COMMON = """
import os, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import torch
import torch.distributed as dist
from torch import nn
import oneshot_core as oneshot
from oneshot_core import DecisionTable, traverse_and_mutate_submodules
from oneshot_plugins.costs.supernet import Followed
from oneshot_plugins.elastic.classes import ElasticSuperNetModule
from oneshot_plugins.elastic.extent import Extent, Size
from oneshot_plugins.elastic.module import make_elastic
from oneshot_plugins.elastic.optional import make_optional

torch.set_num_threads(1)
RANK, OUT = int(os.environ["RANK"]), Path(sys.argv[1])
of = Extent.of

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.gamma = nn.Linear(6, 12), nn.Parameter(torch.ones(12))
        self.down = nn.Linear(12, 6)
    def forward(self, x):
        return x + self.down((self.up(x) * self.gamma).relu())

def net():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), Block(), Block(), nn.LayerNorm(6), nn.Linear(6, 2))
    hidden, inner = Size("hidden", 6), Size("inner", 12)
    h, i = of(hidden), of(inner)
    table = {"0.weight": {0: h}, "0.bias": {0: h}, "3.weight": {0: h}, "3.bias": {0: h},
             "4.weight": {1: h}}
    for n in "12":
        table |= {f"{n}.up.weight": {0: i, 1: h}, f"{n}.up.bias": {0: i}, f"{n}.gamma": {0: i},
                  f"{n}.down.weight": {0: h, 1: i}, f"{n}.down.bias": {0: h}}
    make_elastic(model, table, {hidden: (2, 3, 6), inner: (4, 12)})
    make_optional(model, ["1", "2"], names=["first", "second"])
    root, decisions = nn.Sequential(model), DecisionTable(Followed)
    hooks = [ElasticSuperNetModule.mutate]
    traverse_and_mutate_submodules(root, hooks, {"decisions": decisions})
    return root, decisions

def train(root, decisions, model, batches, skip=True):
    optimizer = torch.optim.AdamW(root.parameters(), 0.01)
    for step, x in enumerate(batches):
        decisions["hidden"].pin((2, 6, 3)[step % 3])
        decisions["inner"].pin((4, 12)[step % 2])
        if skip:
            decisions["first"].pin(step % 3 != 0)
            decisions["second"].pin(step % 2 != 0)
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    named = root.named_parameters()
    return {n: (p.full_tensor() if hasattr(p, "full_tensor") else p).detach() for n, p in named}

def halves():
    torch.manual_seed(1)
    whole = [torch.randn(8, 8) for _ in range(6)]
    return whole, [x[4 * RANK : 4 * RANK + 4] for x in whole]

dist.init_process_group("gloo")
whole, half = halves()
found = {}
"""

DDP = (
    COMMON
    + """
from torch.nn.parallel import DistributedDataParallel

for name, skip, options in (
    ("widths", False, {}),
    ("widths, views of buckets", False, {"gradient_as_bucket_view": True}),
    ("widths, static graph", False, {"static_graph": True}),
    ("depth", True, {"find_unused_parameters": True}),
):
    root, decisions = net()
    parallel = DistributedDataParallel(root, **options)
    found[name] = train(root, decisions, parallel, half, skip)
    root, decisions = net()
    found[name + " alone"] = train(root, decisions, root, whole, skip)
torch.save(found, OUT / f"{RANK}.pt")
dist.destroy_process_group()
"""
)

FSDP = (
    COMMON
    + """
from torch.distributed.fsdp import fully_shard
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

root, decisions = net()
for block in root[0][1:3]:
    fully_shard(block)
fully_shard(root)
found["sharded"] = train(root, decisions, root, half)
root, decisions = net()
found["sharded alone"] = train(root, decisions, root, whole)

root, decisions = net()
layer = root[0][0]
mesh = init_device_mesh("cpu", (2,))
split = distribute_tensor(layer._parameters["weight"], mesh, [Shard(0)])
layer._parameters["weight"] = nn.Parameter(split)
decisions["hidden"].pin(2)
try:
    root(half[0])
except oneshot.errors.StrategyError as error:
    found["refused"] = str(error)
torch.save(found, OUT / f"{RANK}.pt")
dist.destroy_process_group()
"""
)


def run(script: str, folder: Path) -> list[dict[str, Any]]:
    """Run a script on two processes; return what each of them saved."""
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    (folder / "script.py").write_text(script)
    unset = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, str(folder / "script.py"), str(folder)],
        env={**environment, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def require_equal(found: list[dict[str, Any]], name: str) -> None:
    for rank in (0, 1):
        for key, alone in found[0][f"{name} alone"].items():
            torch.testing.assert_close(found[rank][name][key], alone, msg=f"{name}: {key}")


def test_ddp_trains_as_one_process_with_the_whole_batch(tmp_path: Path) -> None:
    found = run(DDP, tmp_path)
    for name in [name for name in found[0] if not name.endswith("alone")]:
        require_equal(found, name)


def test_fully_shard_trains_as_one_process_and_tensor_parallelism_is_refused(
    tmp_path: Path,
) -> None:
    found = run(FSDP, tmp_path)
    require_equal(found, "sharded")
    assert all("is split over devices" in each["refused"] for each in found)
