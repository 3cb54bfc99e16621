"""Training steps of a search against loops that are written by hand.

Both sides do the same arithmetic on the same batches, weights and paths, which is checked: their
losses are equal to the last bit. Timed are the steps, without what a Trainer does before the
first and after the last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot

from .timing import Ratio, compare_seconds

LAYERS, OPERATIONS, CHANNELS, BATCH, STEPS = 6, 4, 16, 64, 20
Batch = Sequence[Tensor]
Loader = Iterable[Any]


def operation(index: int) -> nn.Module:
    """Return one of four convolutions that keep the shape."""
    return nn.Sequential(
        nn.Conv2d(CHANNELS, CHANNELS, (1, 3, 5, 7)[index], padding=index, bias=False),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU(),
    )


class Model(pl.LightningModule):
    """6 layers with 4 convolutions to choose from, 16 channels, images of 32 x 32."""

    rate = 0.01

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 3, padding=1, stride=2)
        self.layers = nn.Sequential(
            *(
                oneshot.LayerChoice([operation(i) for i in range(OPERATIONS)], label=f"l{n}")
                for n in range(LAYERS)
            )
        )
        self.head = nn.Linear(CHANNELS, 10)
        self.losses: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.layers(self.stem(x)).mean((2, 3)))
        return out

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.losses.append(loss.detach())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.rate)


class TinyModel(Model):
    """Two layers of four inputs: what is left is overhead."""

    def __init__(self) -> None:
        pl.LightningModule.__init__(self)
        self.layers = nn.Sequential(
            *(oneshot.LayerChoice([nn.Linear(4, 4) for _ in range(4)], label=f"l{n}") for n in "01")
        )
        self.losses = []

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


def images(batches: int = STEPS) -> DataLoader[tuple[Tensor, ...]]:
    """Return batches of random images, the same each time."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batches * BATCH, 3, 32, 32, generator=generator)
    y = torch.randint(10, (len(x),), generator=generator)
    return DataLoader(TensorDataset(x, y), batch_size=BATCH)


def points(batches: int = 300) -> DataLoader[tuple[Tensor, ...]]:
    """Return batches of two points."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2 * batches, 4, generator=generator)
    y = torch.randint(4, (len(x),), generator=generator)
    return DataLoader(TensorDataset(x, y), batch_size=2)


class _Clock(Callback):
    """Notes when the first batch had ended, and when the last had."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.perf_counter())


def fitted(module: pl.LightningModule, loader: Loader, **options: Any) -> float:
    """Train for one epoch; return the mean seconds of a step, the first left out."""
    clock = _Clock()
    pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
        **options,
    ).fit(module, loader)
    return (clock.ends[-1] - clock.ends[0]) / (len(clock.ends) - 1)


def looped(step: Callable[[Batch, int], object], loader: Loader) -> float:
    """Run a loop that is written by hand; return the mean seconds of a step, the first left out."""
    ends = []
    for index, batch in enumerate(loader):
        step(batch, index)
        ends.append(time.perf_counter())
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def candidates(choice: nn.Module) -> list[nn.Module]:
    """Return the candidates of a choice, whether it was mutated or not."""
    return list(choice.candidates.children())  # type: ignore[union-attr,operator]


def drawn_paths(search: Any, steps: int) -> list[list[int]]:
    """Return the paths that a sampling search takes in the first batches of its first epoch."""
    paths = []
    for index in range(steps):
        search.reseed("train", 0, index)
        drawn = search.resample()
        paths.append([int(drawn[d.spec.label]) for d in search.decisions])
    return paths


def pair(model: type[Model], strategy: str, **options: Any) -> tuple[Any, Model]:
    """Return a search and a bare model, with equal weights."""
    torch.manual_seed(0)
    search = oneshot.search(model(), strategy, seed=0, **options)
    torch.manual_seed(0)
    return search, model()


def _require_equal(search: Any, bare: Model) -> None:
    ours, theirs = torch.stack(search.model.losses), torch.stack(bare.losses)
    assert torch.equal(ours, theirs), "both sides must do the same arithmetic"


def sampled_step() -> Ratio:
    """A sampled step against the same path, weights and batch in a loop written by hand."""
    search, bare = pair(Model, "random")
    loader = images()
    paths = drawn_paths(search, STEPS)

    def theirs() -> float:
        optimizer = bare.configure_optimizers()

        def step(batch: Batch, index: int) -> None:
            x = bare.stem(batch[0])
            for choice, taken in zip(bare.layers, paths[index], strict=True):
                x = candidates(choice)[taken](x)
            loss = nn.functional.cross_entropy(bare.head(x.mean((2, 3))), batch[1])
            bare.losses.append(loss.detach())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return looped(step, loader)

    ratio = compare_seconds(lambda: fitted(search, loader), theirs)
    _require_equal(search, bare)
    return ratio


def sampled_tiny_step() -> Ratio:
    """A sampled step of a tiny network against one of its networks, both in a Trainer."""
    search, _ = pair(TinyModel, "random")
    bare, loader = oneshot.freeze(search, {"l0": "0", "l1": "0"}), points()
    return compare_seconds(lambda: fitted(search, loader), lambda: fitted(bare, loader))


class Loop:
    """The first-order loop of the DARTS paper, written by hand: two backward passes."""

    def __init__(self, model: Model, search: Any) -> None:
        self.model = model
        first = [d.get_parameter("alpha").detach().clone() for d in search.decisions]
        self.alphas = [alpha.requires_grad_() for alpha in first]

    def forward(self, x: Tensor) -> Tensor:
        x = self.model.stem(x)
        for choice, alpha in zip(self.model.layers, self.alphas, strict=True):
            weights = alpha.softmax(0)
            terms = [w * part(x) for w, part in zip(weights, candidates(choice), strict=True)]
            x = sum(terms[1:], terms[0])
        out: Tensor = self.model.head(x.mean((2, 3)))
        return out

    def run(self, loader: Loader) -> float:
        weights = self.model.configure_optimizers()
        architecture = torch.optim.Adam(self.alphas, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
        others = iter(loader)

        def step(batch: Batch, index: int) -> None:
            for x, y in (next(others), batch):
                optimizer = weights if x is batch[0] else architecture
                loss = nn.functional.cross_entropy(self.forward(x), y)
                if optimizer is weights:  # a search's architecture step leaves no trace
                    self.model.losses.append(loss.detach())
                weights.zero_grad()
                architecture.zero_grad()
                loss.backward()
                optimizer.step()

        return looped(step, loader)


def darts_step(**options: Any) -> Ratio:
    """A step of first-order DARTS against the paper's loop, which computes all gradients twice."""
    loader = images()
    search, bare = pair(Model, "darts", arch_dataloader=loader, **options)
    loop = Loop(bare, search)
    ratio = compare_seconds(lambda: fitted(search, loader), lambda: loop.run(loader), pairs=7)
    _require_equal(search, bare)
    return ratio


def gdas_step() -> Ratio:
    """A step of GDAS, which runs a path for the architecture and one for the weights, against two
    sampled steps, each in a Trainer."""
    loader = images()
    search, _ = pair(Model, "gdas", arch_dataloader=loader)
    sampled, _ = pair(Model, "random")
    return compare_seconds(lambda: fitted(search, loader), lambda: 2 * fitted(sampled, loader))


def recomputed_darts_step() -> Ratio:
    """A step of DARTS with ``recompute=True`` against one without, both in a Trainer."""
    loader = images()
    search, _ = pair(Model, "darts", arch_dataloader=loader, recompute=True)
    plain, _ = pair(Model, "darts", arch_dataloader=loader)
    ratio = compare_seconds(lambda: fitted(search, loader), lambda: fitted(plain, loader), pairs=7)
    assert torch.equal(torch.stack(search.model.losses), torch.stack(plain.model.losses))
    return ratio


def compiled_sampled_step() -> Ratio:
    """A sampled step with compiled candidates against one without, both in a Trainer."""
    search, _ = pair(Model, "random")
    plain, _ = pair(Model, "random")
    for choice in search.nas_modules:
        for part in candidates(choice):
            part.compile()
    loader = images()
    return compare_seconds(lambda: fitted(search, loader), lambda: fitted(plain, loader), pairs=7)


def compiled_darts_step() -> Ratio:
    """A step of DARTS with a compiled supernet against one without, both in a Trainer."""
    loader = images()
    search, _ = pair(Model, "darts", arch_dataloader=loader)
    plain, _ = pair(Model, "darts", arch_dataloader=loader)
    search.model.layers.compile()
    return compare_seconds(lambda: fitted(search, loader), lambda: fitted(plain, loader), pairs=7)
