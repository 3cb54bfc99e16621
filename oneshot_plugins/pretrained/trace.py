"""Which dimensions of which tensors belong together in an unmodified model.

:func:`trace` runs the forward pass once over tensors without content, of which every length is a
symbol. What the forward pass demands of the symbols says which dimensions are one size.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from oneshot_core.errors import OneShotError
from oneshot_plugins.elastic.extent import Extent, Size
from oneshot_plugins.pretrained.reading import Fixed, Reading
from oneshot_plugins.pretrained.shortcuts import Depthwise, Shortcuts
from oneshot_plugins.pretrained.symbols import Length, Symbols, line_of

__all__ = ["Fixed", "Follow", "Trace", "TraceError", "trace"]


class TraceError(OneShotError, RuntimeError):
    """A model's forward pass cannot be followed."""


@dataclass(frozen=True, slots=True)
class Follow:
    """The length that an integer attribute of a module follows.

    The attribute is the length of dimension ``dim`` of ``tensor``, times ``times``, over ``over``,
    and over the length of the dimension ``per`` where one is given.

    Args:
        tensor: dotted name of a parameter or buffer, from the model's root.
        dim: which of its dimensions, from 0.
        times: at least 1.
        over: at least 1.
        per: ``(tensor, dim)`` of which the length divides, too.
        unit: both lengths are multiples of it, such as the features of a head.

    >>> Follow("attention.query.weight", 0, over=32)  # the number of heads
    Follow(tensor='attention.query.weight', dim=0, times=1, over=32, per=None, unit=1)
    """

    tensor: str
    dim: int
    times: int = 1
    over: int = 1
    per: tuple[str, int] | None = None
    unit: int = 1


@dataclass(frozen=True, slots=True)
class Trace:
    """What a forward pass says about the dimensions of a model's tensors.

    Args:
        sizes: the independent numbers of the model, in the order of its tensors. A name such as
            ``"encoder.0.weight:0"`` is the first dimension that depends on the size.
        extents: dotted name of a parameter or buffer -> dimension -> what it is. A tied tensor
            stands under each of its names.
        fixed: the dimensions that keep their length, and why. Lengths of 1 and the kernels of
            convolutions are left out.
        seconds: how long the tracing took.
        outputs: the sizes that the shapes of the model's results depend on. The task decides
            whether they can be chosen: classes cannot, features that are pooled can.
        attributes: module path -> integer attribute -> what it is, for all that was asked to follow.
    """

    sizes: tuple[Size, ...]
    extents: dict[str, dict[int, Extent]]
    fixed: tuple[Fixed, ...]
    seconds: float
    outputs: tuple[Size, ...] = ()
    attributes: dict[str, dict[str, Extent]] = field(default_factory=dict)


Attributes = Mapping[str, Mapping[str, Follow]]


def trace(
    model: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    attributes: Attributes | None = None,
) -> Trace:
    """Find the sizes of ``model`` by one forward pass over symbols.

    The model is called in eval mode, without gradients and without its content. Afterwards it is
    as it was, also after an error; no random number is drawn.

    Args:
        model: any module; it is not changed.
        args: what the model is called with.
        kwargs: by name.
        attributes: module path -> integer attribute -> the length that it follows while the model
            is traced. Adapters give these for models that read sizes from attributes.

    Raises:
        TraceError: the forward pass fails, or it depends on the content of tensors.
        OneShotError: an attribute cannot follow.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> found = trace(net, (torch.zeros(1, 4),))
    >>> found.sizes, found.outputs
    ((Size('0.weight:0', 8), Size('2.weight:0', 2)), (Size('2.weight:0', 2),))
    >>> found.extents["2.weight"]
    {0: 2.weight:0, 1: 0.weight:0}
    """
    start = time.perf_counter()
    with untouched(model):
        model.eval()
        symbols = Symbols()
        tensors, parameters = _fakes(symbols, model)
        followed = _follow(symbols, model, tensors, attributes or {})
        output, used = run_forward(symbols, model, tensors, args, dict(kwargs or {}))
        reading = Reading(symbols, tensors, parameters)
        for name, fake in tensors.items():
            if id(fake) not in used:
                reading.hold(fake.shape, "the forward pass never uses this tensor")
        extents = reading.extents()
        lengths = [n for t in pytree.tree_leaves(output) if isinstance(t, Tensor) for n in t.shape]
        shown = {size for n in lengths for size in reading.sizes_in(n)}
        return Trace(
            tuple(reading.order),
            extents,
            reading.fixed(),
            time.perf_counter() - start,
            tuple(size for size in reading.order if size in shown),
            _read_attributes(reading, followed),
        )


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
            own: tuple[dict[str, Any], ...]
            own = (module._parameters, module._buffers, module._modules)
            for table, before in zip(own, tables, strict=True):
                if table != before if table is module._modules else True:
                    table.clear()
                    table.update(before)


def _fakes(symbols: Symbols, model: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """Return a fake tensor with symbols for every name of a tensor, and the parameters' names."""
    fakes: dict[str, Tensor] = {}
    parameters: list[str] = []
    memo: dict[int, Tensor] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        kernel = isinstance(module, nn.modules.conv._ConvNd)
        for table in (module._parameters, module._buffers):
            for own, tensor in table.items():
                if tensor is None:
                    continue
                name = prefix + own
                if table is module._parameters:
                    parameters.append(name)
                if id(tensor) not in memo:
                    free = tensor.is_floating_point() and tensor.layout is torch.strided
                    dynamic = [free and not (kernel and d > 1) for d in range(tensor.dim())]
                    memo[id(tensor)] = symbols.fake(name, tensor, dynamic)
                fakes[name] = memo[id(tensor)]
        if kernel and module.groups == module.in_channels > 1:
            module.__dict__["groups"] = Depthwise(module.groups)
    return fakes, parameters


def _follow(
    symbols: Symbols, model: nn.Module, tensors: Mapping[str, Tensor], attributes: Attributes
) -> dict[str, dict[str, Length]]:
    """Set the attributes that follow; return what they were set to."""
    modules = dict(model.named_modules(remove_duplicate=False))
    result: dict[str, dict[str, Length]] = {}
    for path, wanted in attributes.items():
        for attribute, follow in wanted.items():
            where = f"{path}.{attribute}".lstrip(".")
            module = modules.get(path)
            if module is None or not isinstance(module.__dict__.get(attribute), int):
                raise OneShotError(
                    f"attributes: {where} is no integer attribute of the model",
                    expected="the path of a module and the name of an integer that it holds",
                    fix="correct the adapter, or the attributes= that you give",
                )
            now = module.__dict__[attribute]
            value = _followed(symbols, tensors, follow, where)
            if symbols.hint(value) != now:
                raise OneShotError(
                    f"attributes: {where} is {now}, but {follow} is {symbols.hint(value)}",
                    expected="the attribute as the model has it",
                    fix="correct times= or over=",
                )
            module.__dict__[attribute] = value
            result.setdefault(path, {})[attribute] = value
    return result


def _followed(
    symbols: Symbols, tensors: Mapping[str, Tensor], follow: Follow, where: str
) -> Length:
    places = [(follow.tensor, follow.dim), *([follow.per] if follow.per else [])]
    for name, dim in places:
        if name not in tensors or not 0 <= dim < tensors[name].dim():
            raise OneShotError(
                f"attributes: {where} follows {name}:{dim}, which the model does not have",
                expected="the dotted name of a parameter or buffer, and one of its dimensions",
                fix="correct the adapter, or the attributes= that you give",
            )
    lengths = [tensors[name].shape[dim] for name, dim in places]
    try:
        value = symbols.divide(lengths[0] * follow.times, follow.over)
        if follow.per is None:
            return value
        # What both count comes first: queries and keys are so many heads, each of equal length.
        for length in lengths:
            symbols.divide(length, follow.unit)
        return symbols.divide(value, lengths[1])
    except ValueError as error:
        raise OneShotError(
            f"attributes: {where} cannot be {follow}: {error}",
            expected="a length that can be divided",
            fix="correct times=, over= or per=",
        ) from error


def run_forward(
    symbols: Symbols,
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> tuple[Any, set[int]]:
    """Return the model's result over ``tensors``, and the ids of those that it used.

    Raises:
        TraceError: the forward pass fails.
    """
    names: dict[int, list[str]] = {}
    for name, fake in tensors.items():
        names.setdefault(id(fake), []).append(name)
    shortcuts = Shortcuts(symbols, names)

    def fake_input(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return symbols.mode.from_tensor(value.detach(), static_shapes=True)

    try:
        with torch.no_grad(), symbols.mode, shortcuts:
            given, named = pytree.tree_map(fake_input, (tuple(args), dict(kwargs)))
            output = torch.func.functional_call(model, dict(tensors), given, named)
    except Exception as error:
        line = line_of(error.__traceback__)
        message = str(error).strip().split("\n")[0]
        raise TraceError(
            f"the forward pass of {type(model).__name__} cannot be followed: {line}\n"
            f"  {type(error).__name__}: {message}",
            expected="a forward pass that depends on the shapes of tensors, not on their content",
            fix="use an adapter for this architecture, or shrink a part of the model without "
            "this line",
        ) from error
    return output, shortcuts.used


def _read_attributes(
    reading: Reading, followed: Mapping[str, Mapping[str, Length]]
) -> dict[str, dict[str, Extent]]:
    result: dict[str, dict[str, Extent]] = {}
    for path, lengths in followed.items():
        for attribute, length in lengths.items():
            extent = reading.read(length)
            if extent is not None:
                result.setdefault(path, {})[attribute] = extent
    return result
