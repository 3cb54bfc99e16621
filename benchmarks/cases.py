"""What is measured, each against the plainest thing that does the same."""

from __future__ import annotations

import copy
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core.hooks import no_default_hook
from oneshot_plugins.strategies.uniform import UniformDecision

from .fitting import fitted
from .memory import darts_memory, recomputed_darts_memory, sampled_memory
from .plain import LAYERS, images, operation, points
from .steps import (
    Model,
    compiled_darts_step,
    compiled_sampled_step,
    darts_step,
    gdas_step,
    recomputed_darts_step,
    sampled_step,
    sampled_tiny_step,
    supernet_hooks,
)
from .timing import Ratio, compare, compare_seconds


def walk() -> Ratio:
    """Mutation of 10,000 modules against one pass of ``named_modules()``."""
    tree = nn.Sequential(
        *(nn.Sequential(*(nn.Linear(1, 1) for _ in range(9))) for _ in range(1000))
    )

    def no_opinion(module: nn.Module, name: str, memo: Any, options: Any) -> None:
        return None

    return compare(
        lambda: oneshot.traverse_and_mutate_submodules(tree, [no_opinion, no_default_hook]),
        lambda: sum(1 for _ in tree.named_modules()),
    )


def mutation() -> Ratio:
    """A search's whole walk over 10,000 modules, 500 of them choices, against one pass."""

    def build() -> nn.Module:
        return nn.Sequential(
            *(
                nn.Sequential(
                    *(nn.Identity() for _ in range(16)),
                    oneshot.LayerChoice([nn.Identity()], label=f"l{n}"),
                )
                for n in range(500)
            )
        )

    pairs = 15
    fresh = [build() for _ in range(pairs + 1)]  # a second walk finds nothing to replace
    gc.collect()
    gc.freeze()  # the collector need not look through the trees that wait
    pass_over = build()
    hooks = supernet_hooks()

    def ours() -> None:
        table = oneshot.DecisionTable(UniformDecision)
        oneshot.traverse_and_mutate_submodules(fresh.pop(), hooks, {"decisions": table})

    try:
        return compare(ours, lambda: sum(1 for _ in pass_over.named_modules()), pairs=pairs)
    finally:
        gc.unfreeze()


def frozen_copy() -> Ratio:
    """Freezing 1,000 layers out of 4,000 against ``copy.deepcopy`` of the result."""
    model = nn.Sequential(
        *(oneshot.LayerChoice([nn.Linear(8, 8) for _ in range(4)]) for _ in range(1000))
    )
    chosen = oneshot.ModelSpace(model).default()
    result = oneshot.freeze(model, chosen)
    return compare(lambda: oneshot.freeze(model, chosen), lambda: copy.deepcopy(result))


class Bare(Model):
    """The same size without choices."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(operation(1) for _ in range(LAYERS)))


class Tiny(pl.LightningModule):
    """One small layer: what is left is overhead."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 4)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def wrapped_step() -> Ratio:
    """A step of a model without choices through a search against the same model bare."""
    search, bare, loader = oneshot.search(Bare(), "random", seed=0), Bare(), images()
    search.needs_choices = False
    return compare_seconds(lambda: fitted(search, loader), lambda: fitted(bare, loader))


def wrapped_tiny_step() -> Ratio:
    """The same for one layer of four inputs."""
    search, bare, loader = oneshot.search(Tiny(), "random", seed=0), Tiny(), points()
    search.needs_choices = False
    return compare_seconds(lambda: fitted(search, loader), lambda: fitted(bare, loader))


def ranking() -> Ratio:
    """Ranking 50 networks of the demo against the plain evaluation loop."""
    from oneshot_plugins.spaces.chain import Chain1d

    class Classifier(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = Chain1d()

        def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
            self.log("acc", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())

    search = oneshot.search(Classifier(), "random", seed=0)
    x, y = torch.randn(800, 40), torch.randint(10, (800,))
    loader = DataLoader(TensorDataset(x, y), batch_size=800)
    architectures = list(search.space.architectures())[::12][:50]

    def theirs() -> None:
        search.eval()
        with torch.no_grad():
            for architecture in architectures:
                with search.at(architecture):
                    (search.model.net(x).argmax(1) == y).float().mean().item()

    def ours() -> None:
        search.rank(architectures, loader, metric="acc", calibration_batches=0, progress=False)

    return compare(ours, theirs, pairs=7)


def listing() -> Ratio:
    """``oneshot plugins list`` among 200 more distributions against ``import torch``.

    Each in a new process, both with compiled files: as of the second time after installing.
    """
    with tempfile.TemporaryDirectory() as folder:
        _install(Path(folder))
        empty = Path(folder, "empty")
        empty.mkdir()
        env = {**os.environ, "PYTHONPATH": folder, "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
        env.pop("PYTHONDONTWRITEBYTECODE", None)

        def run(*arguments: str) -> str:
            command = [sys.executable, *arguments]
            # Elsewhere, since `python -m` looks for packages in the working directory as well.
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, env=env, cwd=empty
            )
            return done.stdout

        listed = run("-m", "oneshot_core", "plugins", "list")
        assert listed.count(" oneshot-plugin-") == 80, listed
        return compare(
            lambda: run("-m", "oneshot_core", "plugins", "list"),
            lambda: run("-c", "import torch"),
            pairs=11,
        )


def _install(folder: Path) -> None:
    """Write metadata of 200 distributions: 8 plugins with 10 components each, 64 with scripts."""
    for number in range(200):
        plugin = number % 25 == 0
        name = f"oneshot_plugin_{number}" if plugin else f"distribution_{number}"
        info = folder / f"{name}-1.{number}.dist-info"
        info.mkdir()
        needs = "oneshot-core>=0.1,<1" if plugin else "torch>=2"
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.{number}\nRequires-Dist: {needs}\n"
            + "\n"
            + "A line of a long description.\n" * 200
        )
        if plugin:
            (info / "entry_points.txt").write_text(f"[oneshot_core]\nmain = {name}\n")
            (folder / f"{name}.py").write_text(
                "from oneshot_core.hookspecs import Component, hookimpl\n\n\n"
                "@hookimpl\n"
                "def oneshot_components():\n"
                "    names = (f'{__name__}.{number}' for number in range(10))\n"
                "    return [Component('strategy', name, 'nowhere:Thing') for name in names]\n"
            )
        elif number % 3 == 0:
            (info / "entry_points.txt").write_text(f"[console_scripts]\n{name} = {name}:main\n")


CASES: dict[str, Callable[[], Ratio]] = {
    "walk": walk,
    "mutation": mutation,
    "frozen_copy": frozen_copy,
    "wrapped_step": wrapped_step,
    "wrapped_tiny_step": wrapped_tiny_step,
    "sampled_step": sampled_step,
    "sampled_tiny_step": sampled_tiny_step,
    "darts_step": darts_step,
    "gdas_step": gdas_step,
    "recomputed_darts_step": recomputed_darts_step,
    "compiled_sampled_step": compiled_sampled_step,
    "compiled_darts_step": compiled_darts_step,
    "ranking": ranking,
    "listing": listing,
}
MEMORIES: dict[str, Callable[[], Ratio]] = {
    "sampled_memory": sampled_memory,
    "darts_memory": darts_memory,
    "recomputed_darts_memory": recomputed_darts_memory,
}
"""As the cases, in bytes."""
