"""A LightningModule that looks like the one inside it.

Attributes, logged names, checkpoint keys, optimizers and exports are those of the inner module.
Hooks are passed on by :mod:`.forwarding`.
"""

from __future__ import annotations

from typing import Any

from pytorch_lightning import LightningModule

from ..space.running import running
from .forwarding import FORWARDED_SLOTS, ForwardedSlot, looks_like

_SLOTS = {name: ForwardedSlot(name) for name in FORWARDED_SLOTS}


class ModuleFacade(LightningModule):
    """Stands before ``model`` wherever Lightning or a callback looks at a module.

    Args:
        model: the user's module; registered as the submodule ``model``.
    """

    model: LightningModule

    def __init__(self, model: LightningModule) -> None:
        super().__init__()
        self.model = model

    def complete(self) -> None:
        """Say that construction is over: unknown attributes are from now on set on ``model``."""
        self.__dict__["_complete"] = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call ``model``."""
        with running:
            return self.model(*args, **kwargs)

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Log under the user's names."""
        self.model.log(*args, **kwargs)

    def log_dict(self, *args: Any, **kwargs: Any) -> None:
        """Log under the user's names."""
        self.model.log_dict(*args, **kwargs)

    def to_onnx(self, *args: Any, **kwargs: Any) -> Any:
        """Export ``model``."""
        return self.model.to_onnx(*args, **kwargs)

    def to_torchscript(self, *args: Any, **kwargs: Any) -> Any:
        """Export ``model``."""
        return self.model.to_torchscript(*args, **kwargs)

    def to_tensorrt(self, *args: Any, **kwargs: Any) -> Any:
        """Export ``model``."""
        return self.model.to_tensorrt(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            model = self.__dict__.get("_modules", {}).get("model")
            if model is None or name.startswith("__"):
                raise
        return getattr(model, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SLOTS:  # written around every hook: go to the descriptor at once
            _SLOTS[name].__set__(self, value)
        elif not self.__dict__.get("_complete") or self._owns(name):
            super().__setattr__(name, looks_like(self.__dict__.get(name), value))
        else:
            setattr(self.model, name, value)

    def _owns(self, name: str) -> bool:
        own = self.__dict__
        return (
            name in own
            or hasattr(type(self), name)
            or any(name in own[kind] for kind in ("_parameters", "_buffers", "_modules"))
        )

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """Return the user's optimizers, as on the bare module."""
        return self.model.optimizers(use_pl_optimizer)

    def lr_schedulers(self) -> Any:
        """Return the user's schedulers, as on the bare module."""
        return self.model.lr_schedulers()

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the state of ``model``, under its own keys."""
        return self.model.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load a state of ``model``."""
        return self.model.load_state_dict(*args, **kwargs)


for _name, _slot in _SLOTS.items():
    setattr(ModuleFacade, _name, _slot)
