"""What a model is called with, and what the user wants of it: loose arguments made strict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from oneshot_core.errors import SpaceError

__all__ = ["Call", "call_of", "is_by_hand"]


class Call(NamedTuple):
    """Arguments of a forward pass."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def is_by_hand(given: object) -> bool:
    """Say whether ``given`` is a dict from labels to values, rather than inputs of a model."""
    return (
        isinstance(given, Mapping)
        and bool(given)
        and all(isinstance(name, str) for name in given)
        and not any(isinstance(value, Tensor | Mapping | str) for value in given.values())
        and all(value is None or isinstance(value, Sequence) for value in given.values())
    )


def call_of(model: nn.Module, example_inputs: object) -> Call:
    """Return what to call ``model`` with.

    Args:
        model: the model.
        example_inputs: a tensor; a tuple or list of positional arguments; a mapping of keyword
            arguments, such as a tokenizer returns; or None, for inputs that the model itself
            describes, as models of transformers and timm do.

    Raises:
        SpaceError: it is none of these.

    >>> call_of(nn.Linear(2, 3), torch.zeros(1, 2)).args[0].shape
    torch.Size([1, 2])
    """
    if example_inputs is None:
        return _own_inputs(model)
    if isinstance(example_inputs, Tensor):
        return Call((example_inputs,), {})
    if isinstance(example_inputs, Mapping):
        return Call((), dict(example_inputs))
    if isinstance(example_inputs, tuple | list):
        return Call(tuple(example_inputs), {})
    raise SpaceError(
        f"example_inputs is a {type(example_inputs).__name__}",
        expected="a tensor, a tuple of positional or a dict of keyword arguments of the model",
        fix="give what you would call the model with",
    )


def _own_inputs(model: nn.Module) -> Call:
    """Return inputs that the model describes: transformers' ``dummy_inputs``, timm's config."""
    config = getattr(model, "config", None)
    main = getattr(model, "main_input_name", None)
    size = getattr(config, "image_size", None)
    if main == "pixel_values" and isinstance(size, int):
        return Call(
            (), {"pixel_values": torch.zeros(1, getattr(config, "num_channels", 3), size, size)}
        )
    dummy = getattr(model, "dummy_inputs", None)
    if main == "input_ids" and isinstance(dummy, Mapping):
        ids = dummy["input_ids"] % getattr(config, "vocab_size", 2)
        kwargs = {**dummy, "input_ids": ids}
        if getattr(config, "is_encoder_decoder", False):
            kwargs.setdefault("decoder_input_ids", ids)
        return Call((), kwargs)
    described = getattr(model, "default_cfg", None)
    if isinstance(described, Mapping) and isinstance(described.get("input_size"), tuple):
        return Call((torch.zeros(2, *described["input_size"]),), {})
    raise SpaceError(
        f"{type(model).__name__} does not say what it is called with",
        expected="example_inputs: a tensor, a tuple of positional or a dict of keyword arguments",
        fix="call oneshot.elastic(net, example_inputs, ...)",
    )
