"""Proof of a trace: the forward pass runs at other sizes than those of the model."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from oneshot_plugins.elastic.extent import Extent, Size
from oneshot_plugins.pretrained.reading import Fixed
from oneshot_plugins.pretrained.static import is_depthwise, quiet, untouched
from oneshot_plugins.pretrained.symbols import Line, line_of
from oneshot_plugins.pretrained.trace import Trace, TraceError

__all__ = ["prove"]


def prove(
    model: nn.Module,
    trace: Trace,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    times: int = 4,
    seed: int = 0,
) -> Trace:
    """Run ``model`` at random sizes; return what of ``trace`` holds.

    The tensors have no content, torch's own shape functions run, and no symbol is used: so the
    proof does not rest on what the tracer knows about layers. A size at which the forward pass
    fails becomes fixed in the result, with the line that failed.

    Args:
        model: the one that was traced; it is not changed.
        trace: from :func:`~oneshot_plugins.pretrained.trace.trace`.
        args: what the model is called with.
        kwargs: by name.
        times: how many random settings of all sizes are tried, at least 1; the smallest of all
            sizes are tried as well.
        seed: of the random sizes.

    Returns:
        ``trace`` itself if all settings run.

    Raises:
        TraceError: the forward pass fails at the sizes of the model itself.

    >>> import torch
    >>> from oneshot_plugins.pretrained.trace import trace
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> found = trace(net, (torch.zeros(1, 4),))
    >>> prove(net, found, (torch.zeros(1, 4),)) is found
    True
    """
    named = dict(kwargs or {})
    chance = random.Random(seed)

    def failure(values: Mapping[Size, int]) -> Exception | None:
        return _failure(model, trace, args, named, values)

    if (error := failure({})) is not None:
        raise TraceError(
            f"the forward pass of {type(model).__name__} fails: {line_of(error.__traceback__)}\n"
            f"  {_text(error)}",
            expected="a model that runs with these inputs",
            fix="correct what it is called with",
        ) from error
    settings = [{s: chance.randrange(s.unit, s.full + 1, s.unit) for s in trace.sizes}
                for _ in range(times)]  # fmt: skip
    settings.append({s: s.unit for s in trace.sizes})
    for values in settings:
        while (error := failure(_of(trace, values))) is not None:
            size = _culprit(trace, values, failure)
            error = failure({size: values[size]}) or error
            trace = _without(trace, size, values[size], error)
    return trace


def _of(trace: Trace, values: Mapping[Size, int]) -> dict[Size, int]:
    return {size: values[size] for size in trace.sizes}


def _failure(
    model: nn.Module,
    trace: Trace,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    values: Mapping[Size, int],
) -> Exception | None:
    lengths = {n: {d: e.at(values) for d, e in dims.items()} for n, dims in trace.extents.items()}
    attributes = {
        path: {name: extent.at(values) for name, extent in own.items()}
        for path, own in trace.attributes.items()
    }
    try:
        forward(model, args, kwargs, lengths, attributes)
    except Exception as error:
        return error
    return None


def _culprit(trace: Trace, values: Mapping[Size, int], failure: Any) -> Size:
    """Return a size without which fewer sizes would still run: found by halving."""
    sizes = trace.sizes
    low, high = 0, len(sizes)  # the first `low` run, the first `high` fail
    while high - low > 1:
        middle = (low + high) // 2
        if failure({s: values[s] for s in sizes[:middle]}) is None:
            low = middle
        else:
            high = middle
    return sizes[high - 1]


def _without(trace: Trace, size: Size, value: int, error: Exception) -> Trace:
    """Return ``trace`` where ``size`` keeps its full value."""
    line = line_of(error.__traceback__)
    reason = f"where {size.name} is {value} of {size.full}, this fails: {_text(error)}"
    fixed = list(trace.fixed)
    extents: dict[str, dict[int, Extent]] = {}
    for name, dims in trace.extents.items():
        for dim, extent in dims.items():
            rest = _constant(extent, size)
            if rest.sizes:
                extents.setdefault(name, {})[dim] = rest
            else:
                where = "" if line == Line("", 0) else str(line)
                fixed.append(Fixed(name, dim, extent.full, reason, where))
    return replace(
        trace,
        sizes=tuple(s for s in trace.sizes if s is not size),
        outputs=tuple(s for s in trace.outputs if s is not size),
        extents=extents,
        fixed=tuple(fixed),
        attributes={
            path: {name: _constant(extent, size) for name, extent in own.items()}
            for path, own in trace.attributes.items()
        },
    )


def _constant(extent: Extent, size: Size) -> Extent:
    return Extent(tuple(tuple(size.full if f is size else f for f in t) for t in extent.terms))


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"


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
