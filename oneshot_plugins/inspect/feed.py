"""How a sample batch is given to a model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from oneshot_core.errors import InspectionError
from oneshot_core.lightning.kit import is_lightning_module
from oneshot_plugins.costs.nests import leaves

from .wrapped import has_forward


@dataclass(frozen=True)
class Feed:
    """One way to call a model.

    Args:
        args: positional arguments.
        kwargs: by name.
        method: ``"forward"``, or ``"training_step"`` of a LightningModule without one.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    method: str = "forward"

    def call(self, model: nn.Module) -> Any:
        """Call ``model``, without gradients."""
        function: Callable[..., Any] = model
        if self.method != "forward":
            function = getattr(model, self.method)
        with torch.no_grad():
            return function(*self.args, **self.kwargs)

    def to(self, device: torch.device) -> Feed:
        """Return the same on another device."""
        args = tuple(_moved(value, device) for value in self.args)
        return replace(self, args=args, kwargs=_moved(dict(self.kwargs), device))

    @property
    def plain(self) -> bool:
        """Whether the model is simply called with tensors by position."""
        return self.method == "forward" and not self.kwargs

    def __str__(self) -> str:
        shown = [form_of(value) for value in self.args]
        shown += [f"{name}={form_of(value)}" for name, value in self.kwargs.items()]
        return f"{self.method}({', '.join(shown)})"


class Fed(nn.Module):
    """A network that is called in a way of its own, to be called by position.

    Args:
        network: what is called.
        feed: the method and the arguments by name.
    """

    def __init__(self, network: nn.Module, feed: Feed) -> None:
        super().__init__()
        self.network = network
        self.__dict__["feed"] = feed

    def forward(self, *args: Any) -> Any:
        """Call the network."""
        return replace(self.__dict__["feed"], args=args).call(self.network)


def feeds_for(model: nn.Module, sample: Any) -> list[Feed]:
    """Return the ways in which ``model`` accepts a sample, the most literal first.

    ======================  ==============================================================
    sample                  is given as
    ======================  ==============================================================
    ``None``                ``example_input_array`` of a LightningModule; else no way
    a tuple or list         all of it by position; its first element
    a dict                  all of it by name; what ``forward`` names; its first value
    anything else           the one argument
    ======================  ==============================================================

    A LightningModule without a ``forward`` gets it as the batch of ``training_step``.

    Raises:
        InspectionError: ``forward`` accepts it in none of these ways.
    """
    if sample is None and is_lightning_module(model):
        sample = getattr(model, "example_input_array", None)
    if sample is None:
        return []
    if is_lightning_module(model) and not has_forward(model):
        step: Any = getattr(model, "training_step", None)
        ways = [Feed((sample, 0), method="training_step"), Feed((sample,), method="training_step")]
        accepted = [feed for feed in ways if _binds(step, feed)][:1]
        name = "training_step"
    else:
        name = "forward"
        accepted = [feed for feed in _ways(model, sample) if _binds(model.forward, feed)]
    if not accepted:
        raise InspectionError(
            f"{type(model).__name__}.{name} does not accept the sample batch {form_of(sample)}",
            expected=f"its arguments{_parameters(model, name)}: a tensor, a tuple, or a dict",
            fix="pass what forward is called with, or a batch whose first element is",
        )
    return accepted


def _ways(model: nn.Module, sample: Any) -> Iterator[Feed]:
    if isinstance(sample, Mapping):
        named = {key: value for key, value in sample.items() if isinstance(key, str)}
        if len(named) == len(sample):
            yield Feed(kwargs=named)
            known = inspect.signature(model.forward).parameters
            some = {key: value for key, value in named.items() if key in known}
            if some and len(some) < len(named):
                yield Feed(kwargs=some)
        yield from (Feed((first,)) for first in list(sample.values())[:1])
    elif isinstance(sample, (tuple, list)):
        yield Feed(tuple(sample))
        if len(sample) > 1:
            yield Feed((sample[0],))
    else:
        yield Feed((sample,))


def _binds(function: Any, feed: Feed) -> bool:
    try:
        inspect.signature(function).bind(*feed.args, **feed.kwargs)
    except (TypeError, ValueError):
        return False
    return True


def _parameters(model: nn.Module, name: str) -> str:
    try:
        return f" {inspect.signature(getattr(model, name))}"
    except (AttributeError, TypeError, ValueError):
        return ""


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        if value.device == device:
            return value
        if device.type != "meta":
            return value.detach().to(device)
        return torch.empty_like(value, device=device).requires_grad_(value.requires_grad)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        items = [_moved(item, device) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def form_of(value: Any) -> str:
    """Return shapes and types of what ``value`` holds, as text that is equal for equal forms."""
    if isinstance(value, Tensor):
        shape = "x".join(map(str, value.shape)) or "number"
        return f"{shape} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {form_of(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return "(" + ", ".join(map(form_of, value)) + ")"
    return "None" if value is None else type(value).__name__


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in a nest of tuples, lists and dicts."""
    return (leaf for leaf in leaves(value) if isinstance(leaf, Tensor))
