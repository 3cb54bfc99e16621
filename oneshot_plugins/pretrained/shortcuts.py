"""Layers of which the result's shape is known, answered without running them.

torch could run every layer on fake tensors. That takes long, because each layer becomes dozens of
operators that look at strides and broadcasts, and it loses what a layer knows about its weight (a
depthwise convolution has as many groups as channels). A :class:`Shortcuts` answers the common ones
by shapes; all other functions run on fake tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from oneshot_plugins.pretrained.shapes import HANDLERS, broadcast, handles, like
from oneshot_plugins.pretrained.symbols import Length, Symbols

__all__ = ["Depthwise", "Shortcuts"]

F = nn.functional


class Depthwise(int):
    """A number of groups that is the number of channels."""


class Shortcuts(TorchFunctionMode):
    """Answers known functions by shapes while it is entered.

    Args:
        symbols: what is told about the lengths.
        parameters: id of a fake tensor -> its names.

    Attributes:
        used: the ids of the fake tensors that were arguments of some function.
    """

    def __init__(self, symbols: Symbols, parameters: dict[int, list[str]]) -> None:
        super().__init__()
        self.symbols = symbols
        self.parameters = parameters
        self.used: set[int] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") == "__get__":
            return func(*args, **kwargs)
        tensors = [*_tensors(args), *_tensors(kwargs.values())]
        self.used.update(id(t) for t in tensors if id(t) in self.parameters)
        handler = HANDLERS.get(func)
        if handler is not None and tensors:
            result = handler(self.symbols, *args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        self._note_unknown(tensors, result)
        return result

    def _note_unknown(self, tensors: list[Tensor], result: Any) -> None:
        """Lengths that torch computed from others have an order that nobody told."""
        results = result if isinstance(result, (tuple, list)) else (result,)
        known = {str(n) for t in tensors for n in t.shape}
        for tensor in results:
            if isinstance(tensor, Tensor):
                for length in tensor.shape:
                    if isinstance(length, torch.SymInt) and str(length) not in known:
                        expression = self.symbols.expression(length)
                        if not expression.is_Symbol:
                            self.symbols.layout("unknown", length, ())


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)


_SAME = (
    F.relu, F.relu_, F.gelu, F.silu, F.hardswish, F.hardsigmoid, F.hardtanh, F.relu6, F.dropout,
    F.dropout1d, F.dropout2d, F.dropout3d, F.softmax, F.log_softmax, F.sigmoid, F.tanh, F.elu,
    F.leaky_relu, F.mish, F.selu, F.softplus, F.logsigmoid, F.normalize,
    torch.softmax, torch.sigmoid, torch.sigmoid_, torch.tanh, torch.relu, torch.relu_, torch.rsqrt,
    torch.exp, torch.sqrt, torch.erf, torch.clamp, torch.abs, torch.neg,
    torch.Tensor.softmax, torch.Tensor.contiguous, torch.Tensor.sigmoid, torch.Tensor.sigmoid_,
    torch.Tensor.relu, torch.Tensor.relu_, torch.Tensor.tanh, torch.Tensor.exp, torch.Tensor.clone,
    torch.Tensor.detach, torch.Tensor.rsqrt, torch.Tensor.sqrt, torch.Tensor.clamp,
    torch.Tensor.abs, torch.Tensor.neg, torch.Tensor.__neg__,
)  # fmt: skip


@handles(*_SAME)
def _same(symbols: Symbols, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    if not x.is_floating_point() or kwargs.get("out") is not None:
        return NotImplemented
    return x


@handles(
    torch.Tensor.to, torch.Tensor.float, torch.Tensor.half, torch.Tensor.double,
    torch.Tensor.bfloat16, torch.Tensor.type_as,
)  # fmt: skip
def _to(symbols: Symbols, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """A conversion between floating types changes no shape."""
    for value in (*args, *kwargs.values()):
        dtype = value.dtype if isinstance(value, Tensor) else value
        if isinstance(dtype, torch.dtype) and not dtype.is_floating_point:
            return NotImplemented
    return x if x.is_floating_point() else NotImplemented


@handles(
    torch.Tensor.__add__, torch.Tensor.__radd__, torch.Tensor.__iadd__, torch.Tensor.add,
    torch.Tensor.add_, torch.add, torch.Tensor.__sub__, torch.Tensor.__rsub__, torch.sub,
    torch.Tensor.sub, torch.Tensor.__mul__, torch.Tensor.__rmul__, torch.Tensor.__imul__,
    torch.Tensor.mul, torch.Tensor.mul_, torch.mul, torch.Tensor.__truediv__, torch.Tensor.div,
    torch.div, torch.Tensor.__rtruediv__,
)  # fmt: skip
def _arithmetic(symbols: Symbols, x: Any, y: Any, **kwargs: Any) -> Any:
    tensors = [t for t in (x, y) if isinstance(t, Tensor)]
    if not all(t.is_floating_point() for t in tensors) or "out" in kwargs:
        return NotImplemented
    shape = broadcast(symbols, *(t.shape for t in tensors))
    return like(tensors[0], *shape)


@handles(F.linear)
def _linear(symbols: Symbols, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    if weight.dim() != 2:
        return NotImplemented
    symbols.tie(x.shape[-1], weight.shape[1])
    if bias is not None:
        symbols.tie(weight.shape[0], bias.shape[0])
    return like(x, *x.shape[:-1], weight.shape[0])


@handles(torch.addmm, torch.Tensor.addmm)
def _addmm(symbols: Symbols, bias: Tensor, a: Tensor, b: Tensor, **kwargs: Any) -> Any:
    symbols.tie(a.shape[1], b.shape[0])
    return like(a, *broadcast(symbols, bias.shape, (a.shape[0], b.shape[1])))


@handles(torch.matmul, torch.bmm, torch.mm, torch.Tensor.matmul, torch.Tensor.bmm,
         torch.Tensor.mm, torch.Tensor.__matmul__)  # fmt: skip
def _matmul(symbols: Symbols, a: Tensor, b: Tensor) -> Any:
    if a.dim() < 2 or b.dim() < 2:
        return NotImplemented
    symbols.tie(a.shape[-1], b.shape[-2])
    batch = broadcast(symbols, a.shape[:-2], b.shape[:-2]) if a.dim() + b.dim() > 4 else ()
    return like(a, *batch, a.shape[-2], b.shape[-1])


@handles(torch.einsum)
def _einsum(symbols: Symbols, equation: Any, *operands: Any) -> Any:
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    if not isinstance(equation, str) or "." in equation or "->" not in equation:
        return NotImplemented
    left, right = equation.replace(" ", "").split("->")
    lengths: dict[str, Length] = {}
    for letters, tensor in zip(left.split(","), operands, strict=True):
        for letter, length in zip(letters, tensor.shape, strict=True):
            if lengths.setdefault(letter, length) is not length:
                symbols.tie(lengths[letter], length)
    return like(operands[0], *(lengths[letter] for letter in right))


@handles(F.embedding)
def _embedding(symbols: Symbols, indices: Tensor, weight: Tensor, *args: Any, **more: Any) -> Any:
    symbols.hold(weight.shape[0], "the input chooses rows of this table")
    return like(weight, *indices.shape, weight.shape[1])


@handles(F.layer_norm)
def _layer_norm(
    symbols: Symbols, x: Tensor, normalized_shape: Sequence[Length],
    weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5,
) -> Any:  # fmt: skip
    """Lengths come from the weight: the module's ``normalized_shape`` is a plain number."""
    own = [p.shape for p in (weight, bias) if p is not None] or [normalized_shape]
    for shape in own:
        for axis in range(-len(shape), 0):
            symbols.tie(x.shape[axis], shape[axis])
    return x


@handles(*([F.rms_norm] if hasattr(F, "rms_norm") else []))
def _rms_norm(
    symbols: Symbols, x: Tensor, normalized_shape: Sequence[Length],
    weight: Tensor | None = None, eps: float | None = None,
) -> Any:  # fmt: skip
    return _layer_norm(symbols, x, normalized_shape, weight)


@handles(F.batch_norm, F.instance_norm)
def _batch_norm(symbols: Symbols, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    for parameter in (*args, *kwargs.values()):
        if isinstance(parameter, Tensor):
            symbols.tie(x.shape[1], parameter.shape[0])
    return x


@handles(F.group_norm)
def _group_norm(
    symbols: Symbols, x: Tensor, num_groups: int,
    weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5,
) -> Any:  # fmt: skip
    channels = x.shape[1]
    for parameter in (weight, bias):
        if parameter is not None:
            symbols.tie(channels, parameter.shape[0])
    if num_groups != 1:
        part = symbols.divide(channels, num_groups)
        symbols.layout("product", channels, [num_groups, part])
    return x


@handles(F.scaled_dot_product_attention)
def _attention(
    symbols: Symbols, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:  # fmt: skip
    symbols.tie(q.shape[-1], k.shape[-1])
    symbols.tie(k.shape[-2], v.shape[-2])
    batch: tuple[Length, ...] = tuple(q.shape[:-2])
    if enable_gqa:
        symbols.tie(k.shape[-3], v.shape[-3])
        heads, groups = q.shape[-3], k.shape[-3]
        symbols.layout("product", heads, [groups, symbols.divide(heads, groups)])
        broadcast(symbols, q.shape[:-3], k.shape[:-3], v.shape[:-3])
    else:
        batch = broadcast(symbols, batch, k.shape[:-2], v.shape[:-2])
    if attn_mask is not None:
        broadcast(symbols, attn_mask.shape, (*batch, q.shape[-2], k.shape[-2]))
    return like(q, *batch, q.shape[-2], v.shape[-1])


@handles(F.multi_head_attention_forward)
def _multi_head_attention(
    symbols: Symbols, query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int,
    num_heads: int, in_proj_weight: Tensor | None, in_proj_bias: Tensor | None,
    bias_k: Tensor | None, bias_v: Tensor | None, add_zero_attn: bool, dropout_p: float,
    out_proj_weight: Tensor, out_proj_bias: Tensor | None, *args: Any, **kwargs: Any,
) -> Any:  # fmt: skip
    """The width of the layer is counted in heads, of which the features stay as many."""
    width, heads = query.shape[-1], num_heads
    if isinstance(num_heads, int) and symbols.hint(width) % num_heads == 0:
        heads = symbols.divide(width, symbols.hint(width) // num_heads)
    features = symbols.divide(width, heads)
    symbols.layout("product", width, [heads, features])
    if in_proj_weight is not None:
        symbols.tie(in_proj_weight.shape[0], 3 * width)
        symbols.layout("product", in_proj_weight.shape[0], [3, width])
    separate = [kwargs.get(f"{n}_proj_weight") for n in "qkv"]
    sources = (query, key, value)
    for weight, source in zip(separate, sources, strict=True):
        if weight is not None:
            symbols.tie(weight.shape[0], width)
            symbols.tie(weight.shape[1], source.shape[-1])
        elif in_proj_weight is not None:
            symbols.tie(in_proj_weight.shape[1], source.shape[-1])
    if in_proj_bias is not None:
        symbols.tie(in_proj_bias.shape[0], 3 * width)
    for bias in (bias_k, bias_v):
        if bias is not None:
            symbols.tie(bias.shape[-1], width)
    symbols.tie(out_proj_weight.shape[1], width)
    result = _linear(symbols, query, out_proj_weight, out_proj_bias)
    if not kwargs.get("need_weights", args[2] if len(args) > 2 else True):
        return result, None
    batched = query.dim() == 3
    batch = [query.shape[1]] if batched else []
    if not kwargs.get("average_attn_weights", True):
        batch.append(heads)
    extra = (bias_k is not None) + bool(add_zero_attn)
    return result, like(query, *batch, query.shape[0], key.shape[0] + extra)


def _convolution(dimensions: int) -> Any:
    def convolution(
        symbols: Symbols, x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, groups: Any = 1,
    ) -> Any:  # fmt: skip
        if x.dim() != dimensions + 2:
            return NotImplemented
        _tie_channels(symbols, x.shape[1], weight, groups)
        if bias is not None:
            symbols.tie(weight.shape[0], bias.shape[0])
        stride, dilation = _tuple(stride, dimensions), _tuple(dilation, dimensions)
        kernel = weight.shape[2:]
        if isinstance(padding, str):
            same = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
            total = same if padding == "same" else [0] * dimensions
        else:
            total = [2 * p for p in _tuple(padding, dimensions)]
        spatial = [
            (x.shape[2 + i] + total[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
            for i in range(dimensions)
        ]
        return like(x, x.shape[0], weight.shape[0], *spatial)

    return convolution


def _tie_channels(symbols: Symbols, channels: Length, weight: Tensor, groups: Any) -> None:
    """Tie the channels of the input to the two first dimensions of a convolution's weight."""
    out, within = weight.shape[:2]
    if isinstance(groups, Depthwise) or isinstance(groups, torch.SymInt):
        # Each channel has its own filters: their number follows the channels.
        if isinstance(groups, torch.SymInt):
            symbols.tie(channels, groups)
        times = symbols.hint(out) // symbols.hint(channels)
        symbols.tie(out, channels * times)
        symbols.tie(within, 1)
        symbols.layout("product", out, [channels, times])
        return
    if groups == 1:
        symbols.tie(channels, within)
        return
    # The number of groups stays: each has fewer channels, of its input and of its output.
    symbols.tie(channels, groups * within)
    symbols.layout("product", channels, [groups, within])
    symbols.layout("product", out, [groups, symbols.divide(out, groups)])


def _tuple(value: Any, dimensions: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * dimensions
    return tuple(value) * (dimensions if len(value) == 1 else 1)


for _n in (1, 2, 3):
    _name = f"conv{_n}d"
    handles(getattr(F, _name), getattr(torch, _name))(_convolution(_n))


@handles(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
def _adaptive_pool(symbols: Symbols, x: Tensor, output_size: Any) -> Any:
    wanted = (output_size,) if isinstance(output_size, int) else tuple(output_size)
    if len(wanted) == 1 and x.dim() > 3:
        wanted *= x.dim() - 2
    lead = x.dim() - len(wanted)
    shape = [n if w is None else w for n, w in zip(x.shape[lead:], wanted, strict=True)]
    return like(x, *x.shape[:lead], *shape)
