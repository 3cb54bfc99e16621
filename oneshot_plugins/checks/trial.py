"""A training run of milliseconds: what the checks of strategies are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from oneshot_core.architecture import Architecture, freeze
from oneshot_core.discovery import Registry
from oneshot_core.errors import StrategyError
from oneshot_core.lightning import BaseOneShotLightningModule, search
from oneshot_core.lightning.kit import takes
from oneshot_core.space import InputChoice, LayerChoice, Repeat

from .case import require
from .choices import batch, linear
from .tensors import mapped, same, total


class Trial(LightningModule):
    """Trains ``body`` on inputs that vary a little from batch to batch.

    Args:
        body: a module, with choices or as one.
        inputs: builds what it is called with.
        optimizers: what ``configure_optimizers`` returns for some parameters.
    """

    def __init__(
        self,
        body: nn.Module,
        inputs: Callable[[], tuple[Any, ...]],
        optimizers: Callable[[list[nn.Parameter]], Any] | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.gain = nn.Parameter(torch.ones(()))  # something to train, whatever the body holds
        self.inputs = inputs
        self.optimizers_for = optimizers or sgd

    def forward(self, scale: Tensor) -> Any:
        factor = self.gain * scale.mean()
        return self.body(*mapped(lambda x: factor * x, self.inputs()))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return total(self(batch))

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("loss", total(self(batch)))

    def configure_optimizers(self) -> Any:
        return self.optimizers_for(list(self.parameters()))


class Network(nn.Module):
    """Every kind of choice of the core, one inside another; 30 architectures."""

    def __init__(self) -> None:
        super().__init__()
        inner = LayerChoice([linear(2), nn.Tanh()], label="inner")
        self.first = LayerChoice({"plain": linear(0), "deep": nn.Sequential(inner)}, label="outer")
        self.chain = Repeat(linear, (1, 2), label="depth")
        self.skips = InputChoice(3, None, label="skips")

    def forward(self, x: Tensor) -> Any:
        first = self.first(x)
        return self.skips([x, first, self.chain(first)])


def network_trial(optimizers: Callable[[list[nn.Parameter]], Any] | None = None) -> Trial:
    """Return a trial of :class:`Network`."""
    return Trial(Network(), lambda: (batch(),), optimizers)


def bare_trial() -> Trial:
    """Return a trial in which nothing can be chosen."""
    body = nn.Sequential(linear(0), nn.Tanh(), linear(1))
    return Trial(body, lambda: (batch(),))


def sgd(parameters: list[nn.Parameter]) -> Optimizer:
    """Return the optimizer of all trials."""
    return torch.optim.SGD(parameters, lr=0.05)


def loader(first: float = 1.0) -> DataLoader[Tensor]:
    """Return four batches of two numbers near ``first``."""
    scales: Any = torch.linspace(first, first + 0.5, 8)
    return DataLoader(scales, batch_size=2)


def searched(
    model: Trial, strategy: Any, registry: Registry, options: Mapping[str, Any]
) -> BaseOneShotLightningModule:
    """Return a search, with an ``arch_dataloader`` if the strategy takes one."""
    return search(model, strategy, registry=registry, **completed(strategy, options))


def completed(strategy: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``options`` with a seed, and an ``arch_dataloader`` if the strategy takes one."""
    given = {"seed": 0, **options}
    if takes(strategy, "arch_dataloader"):
        given.setdefault("arch_dataloader", loader(0.5))
    return given


def fit(module: LightningModule, epochs: int = 1, resume_from: str | None = None) -> Trainer:
    """Train in one process on the CPU, and return the Trainer."""
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, loader(), loader(2.0), ckpt_path=resume_from)
    return trainer


def exported(searching: BaseOneShotLightningModule) -> Architecture:
    """Return what a trained search exports, after a ranking if it needs one."""
    try:
        return searching.export()
    except StrategyError:
        some = min(4, searching.space.size)
        searching.rank(
            some, loader(2.0), metric="loss", mode="min", baselines=False, progress=False
        )
        return searching.export()


def require_honest(searching: BaseOneShotLightningModule, architecture: Any, who: str) -> None:
    """Refuse an architecture that the supernet and the frozen network do not compute alike.

    Raises:
        ConformanceError: they differ.
    """
    frozen = freeze(searching, architecture).eval()
    model = searching.model.eval()
    scale = torch.ones(2)
    with torch.no_grad(), searching.at(architecture):
        alike = same(model(scale), frozen(scale))
    require(
        alike,
        f"the supernet at {dict(architecture)} and its frozen network differ, after a search by "
        f"{who}",
        "equal outputs, bit for bit",
        "let forward read decision.active(), and select return what that computes",
    )


def state(searching: LightningModule) -> dict[str, Tensor]:
    """Return copies of weights and, of a search, of what its decisions have learned."""
    found = {f"model.{k}": v.clone() for k, v in searching.state_dict().items()}
    if isinstance(searching, BaseOneShotLightningModule):
        learned = searching.decisions.state_dict()
        found |= {f"decisions.{k}": v.clone() for k, v in learned.items()}
    return found


def differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Return the names under which two states differ."""
    return [
        name
        for name in {**one, **other}
        if name not in one or name not in other or not torch.equal(one[name], other[name])
    ]
