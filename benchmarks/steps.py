"""Training steps of a search against loops that are written by hand.

Both sides do the same arithmetic on the same batches, weights and paths, which is checked: their
losses are equal to the last bit. Timed are the steps, without what a Trainer does before the
first and after the last.
"""

from __future__ import annotations

import copy
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core.hooks import no_default_hook

from .fitting import fitted
from .plain import (
    CHANNELS,
    LAYERS,
    OPERATIONS,
    RATE,
    STEPS,
    Batch,
    Net,
    images,
    operation,
    points,
    stem,
    train_darts,
    train_sampled,
)
from .timing import Ratio, compare_seconds


class Model(pl.LightningModule):
    """6 layers with 4 convolutions to choose from, 16 channels, images of 32 x 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = stem()
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
        return torch.optim.SGD(self.parameters(), lr=RATE)


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


def build(strategy: str, model: type[Model] = Model, **options: Any) -> Any:
    """Return a search, with the same weights each time."""
    torch.manual_seed(0)
    return oneshot.search(model(), strategy, seed=0, **options)


def supernet_hooks() -> list[oneshot.MutationHook]:
    """Return the hooks of all installed supernet modules, as a search asks them."""
    names = oneshot.registry.names("supernet")
    classes = [oneshot.registry.load("supernet", name) for name in names]
    return [*(cls.mutate for cls in classes), no_default_hook]


def by_hand(search: Any) -> Net:
    """Return the supernet of a search as plain modules, with copies of its weights."""
    model = copy.deepcopy(search.model)
    layers = [list(choice.candidates.children()) for choice in model.layers]
    return Net(model.stem, layers, model.head)


def probabilities_by_hand(search: Any) -> list[Tensor]:
    """Return copies of the architecture parameters of a DARTS search."""
    first = [decision.get_parameter("alpha").detach().clone() for decision in search.decisions]
    return [alpha.requires_grad_() for alpha in first]


def _require_equal(search: Any, losses: list[Tensor]) -> None:
    same = torch.equal(torch.stack(search.model.losses), torch.stack(losses))
    assert same, "both sides must do the same arithmetic"


def sampled_step() -> Ratio:
    """A sampled step against the same path, weights and batch in a loop written by hand."""
    search, loader = build("random"), images()
    net, paths = by_hand(search), []
    for index in range(STEPS):
        search.reseed("train", 0, index)
        drawn = search.resample()
        paths.append([int(drawn[decision.spec.label]) for decision in search.decisions])
    ratio = compare_seconds(
        lambda: fitted(search, loader), lambda: train_sampled(net, loader, paths)
    )
    _require_equal(search, net.losses)
    return ratio


def sampled_tiny_step() -> Ratio:
    """A sampled step of a tiny network against one of its networks, both in a Trainer."""
    search, loader = build("random", TinyModel), points()
    bare = oneshot.freeze(search, {"l0": "0", "l1": "0"})
    return compare_seconds(lambda: fitted(search, loader), lambda: fitted(bare, loader))


def darts_step() -> Ratio:
    """A step of first-order DARTS against the paper's loop, which computes all gradients twice."""
    loader = images()
    search = build("darts", arch_dataloader=loader)
    net, alphas = by_hand(search), probabilities_by_hand(search)
    ratio = compare_seconds(
        lambda: fitted(search, loader), lambda: train_darts(net, alphas, loader), pairs=7
    )
    _require_equal(search, net.losses)
    return ratio


def gdas_step() -> Ratio:
    """A step of GDAS against two sampled steps, each in a Trainer.

    GDAS runs one path for the architecture and one for the weights.
    """
    loader = images()
    search, sampled = build("gdas", arch_dataloader=loader), build("random")
    return compare_seconds(lambda: fitted(search, loader), lambda: 2 * fitted(sampled, loader))


def recomputed_darts_step() -> Ratio:
    """A step of DARTS with ``recompute=True`` against one without, both in a Trainer."""
    loader = images()
    search = build("darts", arch_dataloader=loader, recompute=True)
    plain = build("darts", arch_dataloader=loader)
    ratio = compare_seconds(lambda: fitted(search, loader), lambda: fitted(plain, loader), pairs=7)
    _require_equal(search, plain.model.losses)
    return ratio


def compiled_sampled_step() -> Ratio:
    """A sampled step with compiled candidates against one without, both in a Trainer."""
    search, plain, loader = build("random"), build("random"), images()
    for choice in search.nas_modules:
        for part in choice.candidates.children():
            part.compile()
    return compare_seconds(lambda: fitted(search, loader), lambda: fitted(plain, loader), pairs=7)


def compiled_darts_step() -> Ratio:
    """A step of DARTS with a compiled supernet against one without, both in a Trainer."""
    loader = images()
    search, plain = build("darts", arch_dataloader=loader), build("darts", arch_dataloader=loader)
    search.model.layers.compile()
    return compare_seconds(lambda: fitted(search, loader), lambda: fitted(plain, loader), pairs=7)
