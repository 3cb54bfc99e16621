"""A forward pass over tensors without content, with lengths that are given."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

__all__ = ["forward", "is_depthwise", "quiet", "untouched"]


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Leave every module of ``model``, and the state of random numbers, as they were."""
    saved = [
        (m, dict(m.__dict__), dict(m._parameters), dict(m._buffers), dict(m._modules))
        for m in model.modules()
    ]
    state = random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(state)
        for module, attributes, *tables in saved:
            module.__dict__.clear()
            module.__dict__.update(attributes)
            own: list[Any] = [module._parameters, module._buffers, module._modules]
            for table, before in zip(own, tables, strict=True):
                table.clear()
                table.update(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep torch from logging an error that is raised anyway."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def is_depthwise(module: nn.Module) -> bool:
    """Say whether a module is a convolution that has as many groups as channels."""
    return isinstance(module, nn.modules.conv._ConvNd) and module.groups == module.in_channels > 1


def forward(
    model: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    lengths: Mapping[str, Mapping[int, int]],
    attributes: Mapping[str, Mapping[str, int]],
) -> Any:
    """Return what ``model`` computes in eval mode, where its tensors have other lengths.

    No shortcut is taken and no symbol is used: torch's own shape functions run, as on the device
    ``meta``. The model is as before afterwards.

    Args:
        model: any module.
        args: what it is called with.
        kwargs: by name.
        lengths: dotted name of a tensor -> dimension -> its length.
        attributes: module path -> attribute -> its value.

    Raises:
        Exception: whatever the forward pass raises.
    """
    fake_mode = FakeTensorMode(allow_non_fake_inputs=True)
    with untouched(model), quiet(), fake_mode as mode, torch.no_grad():
        model.eval()
        tensors: dict[str, Tensor] = {}
        memo: dict[int, Tensor] = {}
        named = [
            *model.named_parameters(remove_duplicate=False),
            *model.named_buffers(remove_duplicate=False),
        ]
        for name, tensor in named:
            if id(tensor) not in memo:
                shape = [lengths.get(name, {}).get(d, n) for d, n in enumerate(tensor.shape)]
                same = list(tensor.shape) == shape
                memo[id(tensor)] = (
                    mode.from_tensor(tensor.detach(), static_shapes=True)
                    if same
                    else torch.empty(shape, dtype=tensor.dtype, device=tensor.device)
                )
            tensors[name] = memo[id(tensor)]
        for path, module in model.named_modules(remove_duplicate=False):
            own = {k: tensors[f"{path}.{k}".lstrip(".")] for k in _own(module)}
            module.__dict__.update(_follow_tensors(module, own))
            module.__dict__.update(attributes.get(path, {}))

        def fake(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return mode.from_tensor(value.detach(), static_shapes=True)

        given, by_name = pytree.tree_map(fake, (tuple(args), dict(kwargs)))
        return torch.func.functional_call(model, tensors, given, by_name)


def _own(module: nn.Module) -> list[str]:
    return [k for k, v in module._parameters.items() if v is not None]


def _follow_tensors(module: nn.Module, own: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the attributes of torch's own layers that say how long their tensors are."""
    if "normalized_shape" in module.__dict__ and "weight" in own:
        return {"normalized_shape": tuple(own["weight"].shape)}
    if is_depthwise(module):
        times = module.out_channels // module.in_channels  # type: ignore[operator]
        return {"groups": own["weight"].shape[0] // times}
    if isinstance(module, nn.MultiheadAttention):
        width = own["in_proj_weight" if "in_proj_weight" in own else "k_proj_weight"].shape[0]
        width = width // 3 if "in_proj_weight" in own else width
        # The features of a head stay as many, and so the heads are fewer.
        heads = width // module.head_dim
        return {"embed_dim": width, "num_heads": heads, "kdim": width, "vdim": width} | (
            {"kdim": own["k_proj_weight"].shape[1], "vdim": own["v_proj_weight"].shape[1]}
            if "k_proj_weight" in own
            else {}
        )
    return {}
