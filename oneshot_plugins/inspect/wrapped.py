"""Plain modules as LightningModules, so that a strategy can be tried on them."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import LightningModule
from torch import nn

from oneshot_core.lightning.kit import is_lightning_module, tree_of
from oneshot_core.space import Patch


class Wrapped(LightningModule):
    """Hold the submodules of ``network`` under their own paths, and run it.

    Args:
        network: whose tables of submodules, parameters and buffers are shared, so that what a
            walk replaces here is replaced there.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.__dict__["network"] = network
        for table in ("_modules", "_parameters", "_buffers"):
            self.__dict__[table] = network.__dict__[table]
        for name, value in network.__dict__.items():
            if isinstance(value, Patch):  # constraints
                self.__dict__[name] = value

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the network."""
        return self.__dict__["network"](*args, **kwargs)


def as_lightning_module(model: nn.Module) -> Any:
    """Return ``model`` if it is a LightningModule, else one that wraps it."""
    return model if is_lightning_module(model) else Wrapped(model)


def has_forward(model: nn.Module) -> bool:
    """Say whether ``model`` has a ``forward`` of its own."""
    bare = tree_of(model).own(LightningModule).forward
    return "forward" in model.__dict__ or type(model).forward not in (bare, nn.Module.forward)
