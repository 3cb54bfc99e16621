"""How the layers of ``torch.nn`` are cut and superposed.

Channels and features are prefixes, kernels are centred, channels of grouped convolutions are those
of the same group. Each rule is of the kind ``elastic``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .rule import LayerRule, Tensors, pad_to, prefix, tensors_of


class PrefixRule(LayerRule):
    """Layers that take and give channels or features in one dimension."""

    takes: str | None = None
    """Name of the attribute that holds how much of the input is taken."""
    dim = 1
    """Dimension of channels or features."""
    fixed: tuple[str, ...] = ()
    """Attributes that must be equal in layers that are superposed."""

    def why_not_mixed(self, templates: Sequence[nn.Module]) -> str | None:
        for name in self.fixed:
            values = list(dict.fromkeys(repr(getattr(t, name)) for t in templates))
            if len(values) > 1:
                return f"{name} may be {' or '.join(values)}, which cannot be weighted"
        return None

    def narrow(
        self, template: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        size = None if self.takes is None else getattr(template, self.takes)
        if not args or size is None:
            return args, dict(kwargs)
        return (_narrow(args[0], self.dim, size), *args[1:]), dict(kwargs)

    def widen(self, output: Any, like: Sequence[Any]) -> Any:
        return pad_to(output, self.dim, max(o.shape[self.dim] for o in like))


class LinearRule(PrefixRule):
    """``nn.Linear``: the first features."""

    takes = "in_features"
    dim = -1

    def mixed(
        self,
        source: Tensors,
        parts: Sequence[tuple[nn.Module, Tensor]],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        # A linear map is linear in its weights: sum those, not the outputs.
        rows = max(int(t.out_features) for t, _ in parts)  # type: ignore[arg-type]
        columns = max(int(t.in_features) for t, _ in parts)  # type: ignore[arg-type]
        weight = _sum_padded(
            [(self.cut(source, t)["weight"], w) for t, w in parts], (rows, columns)
        )
        biases = [(self.cut(source, t).get("bias"), w) for t, w in parts]
        return F.linear(_narrow(args[0], -1, columns), weight, _sum_biases(biases, rows))


class ConvRule(PrefixRule):
    """Convolutions: the first channels, the centre of the kernel, the channels of the same group.

    The stored weight holds for every output channel the input channels of the largest group it
    may be in; a smaller group takes those of its own that lie in it.
    """

    takes = "in_channels"
    fixed: tuple[str, ...] = ("stride", "padding_mode")
    transposed = False

    def cut(self, source: Tensors, template: nn.Module) -> dict[str, Tensor]:
        cut = {
            n: prefix(source[n], t.shape) for n, t in tensors_of(template).items() if n == "bias"
        }
        weight = _centre(source["weight"], tensors_of(template)["weight"].shape[2:])
        return {"weight": self._channels(weight, template), **cut}

    def _channels(self, weight: Tensor, template: Any) -> Tensor:
        inner, outer = template.in_channels, template.out_channels
        rows, columns = (inner, outer) if self.transposed else (outer, inner)
        groups = template.groups
        width, stored = columns // groups, weight.shape[1]
        starts = [(group * width) % stored for group in range(groups)]
        if not any(starts) or any(start + width > stored for start in starts):
            return prefix(weight, (rows, width, *weight.shape[2:]))
        height = rows // groups
        return torch.cat(
            [
                weight[group * height : (group + 1) * height, start : start + width]
                for group, start in enumerate(starts)
            ]
        )

    def why_not_mixed(self, templates: Sequence[nn.Module]) -> str | None:
        why = super().why_not_mixed(templates)
        if why is None and len({_margins(t) for t in templates}) > 1:
            return (
                "kernel_size, dilation and padding may give outputs of different size; "
                "padding=kernel_size // 2 keeps it"
            )
        return why

    def mixed(
        self,
        source: Tensors,
        parts: Sequence[tuple[nn.Module, Tensor]],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        # A convolution is linear in its weights: sum those, each in the middle of the largest.
        templates: list[Any] = [template for template, _ in parts]
        same = ("dilation", "groups", "stride", "padding_mode")
        if self.transposed or any(
            getattr(t, name) != getattr(templates[0], name) for t in templates for name in same
        ):
            return NotImplemented
        kernels = [t.kernel_size for t in templates]
        centred = len({tuple(size % 2 for size in kernel) for kernel in kernels}) == 1
        first = templates[0]
        grouped = first.groups > 1 and len({(t.in_channels, t.out_channels) for t in templates}) > 1
        if (
            not centred
            or grouped
            or first.padding_mode != "zeros"
            or isinstance(first.padding, str)
        ):
            return NotImplemented
        kernel = [max(sizes) for sizes in zip(*kernels, strict=True)]
        rows = max(t.out_channels for t in templates)
        columns = max(t.in_channels for t in templates)
        shape = (rows, columns // first.groups, *kernel)
        weight = _sum_padded(
            [(self.cut(source, t)["weight"], w) for t, w in parts], shape, centred=True
        )
        biases = [(self.cut(source, t).get("bias"), w) for t, w in parts]
        # Equal margins were required: the padding of the largest kernel serves all.
        padding = [
            p + d * (large - k) // 2
            for p, d, large, k in zip(
                first.padding, first.dilation, kernel, first.kernel_size, strict=True
            )
        ]
        convolve = (F.conv1d, F.conv2d, F.conv3d)[len(kernel) - 1]
        return convolve(
            _narrow(args[0], 1, columns),
            weight,
            _sum_biases(biases, rows),
            first.stride,
            padding,
            first.dilation,
            first.groups,
        )


class TransposedConvRule(ConvRule):
    """Transposed convolutions, whose weight has input channels first."""

    fixed = ("stride", "padding_mode", "output_padding")
    transposed = True


class BatchNormRule(PrefixRule):
    """BatchNorm and InstanceNorm with statistics: the first channels.

    Channels do not depend on each other, so a superposition normalises once.
    """

    takes = "num_features"
    fixed = ("momentum", "track_running_stats")

    def mixed(
        self,
        source: Tensors,
        parts: Sequence[tuple[nn.Module, Tensor]],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        templates: list[Any] = [template for template, _ in parts]
        largest = max(templates, key=lambda template: template.num_features)
        x = _narrow(args[0], 1, largest.num_features)
        # Statistics are those of the batch, and are updated once, as in a layer by itself.
        plain: Any = type(largest)(
            largest.num_features,
            momentum=largest.momentum,
            affine=False,
            track_running_stats=largest.track_running_stats,
            device="meta",
        )
        plain.train(largest.training)
        outputs: dict[float, Tensor] = {}
        total: Tensor | None = None
        for template, weight in parts:
            each: Any = template
            if each.eps not in outputs:
                plain.eps = each.eps
                statistics = {
                    name: prefix(source[name], tensor.shape)
                    for name, tensor in plain.named_buffers()
                }
                if outputs and plain.training:  # the batch is counted already
                    statistics = {name: value.clone() for name, value in statistics.items()}
                outputs[each.eps] = torch.func.functional_call(plain, statistics, (x,))
            out = outputs[each.eps][:, : each.num_features]
            shape = (1, -1, *([1] * (out.dim() - 2)))
            tensors = self.cut(source, template)
            if "weight" in tensors:
                out = out * tensors["weight"].view(shape) + tensors["bias"].view(shape)
            out = weight * pad_to(out, 1, largest.num_features)
            total = out if total is None else total + out
        return total


class ChannelsRule(PrefixRule):
    """Layers with one number of channels, in and out: GroupNorm."""

    takes = "num_channels"


class TrailingNormRule(LayerRule):
    """LayerNorm and RMSNorm: the first entries of each normalised dimension."""

    def narrow(
        self, template: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        shape: Any = template.normalized_shape
        x = args[0]
        for index, size in enumerate(reversed(tuple(shape)), start=1):
            x = _narrow(x, -index, size)
        return (x, *args[1:]), dict(kwargs)

    def why_not_mixed(self, templates: Sequence[nn.Module]) -> str | None:
        shapes: list[Any] = [template.normalized_shape for template in templates]
        if len({len(shape) for shape in shapes}) > 1:
            return "normalized_shape may have different numbers of dimensions"
        return None

    def widen(self, output: Any, like: Sequence[Any]) -> Any:
        for dim in range(-output.dim(), 0):
            output = pad_to(output, dim, max(o.shape[dim] for o in like))
        return output


class EmbeddingRule(PrefixRule):
    """``nn.Embedding``: the first rows and features."""

    dim = -1
    fixed = ("num_embeddings",)


class PReLURule(PrefixRule):
    """``nn.PReLU``: one slope, or one for each of the first channels."""

    def narrow(
        self, template: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        slopes: Any = template.num_parameters
        if slopes == 1:  # for channels of any number
            return args, dict(kwargs)
        return (_narrow(args[0], 1, slopes), *args[1:]), dict(kwargs)


class AttentionRule(LayerRule):
    """``nn.MultiheadAttention``: the first features of query, key, value and output.

    Query, key and value have rows of their own, so each is cut by itself although they may be
    stored in one matrix.
    """

    def stored(self, templates: Sequence[nn.Module]) -> dict[str, tuple[int, ...]]:
        shapes = super().stored(templates)
        if "in_proj_weight" in shapes and "q_proj_weight" in shapes:
            rows, columns = shapes.pop("in_proj_weight")
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                height, width = shapes[name]
                shapes[name] = (max(height, rows // 3), max(width, columns))
        return shapes

    def cut(self, source: Tensors, template: nn.Module) -> dict[str, Tensor]:
        cut = {}
        for name, tensor in tensors_of(template).items():
            shape = tuple(tensor.shape)
            if name == "in_proj_weight":
                cut[name] = self._in_projection(source, shape)
            elif name == "in_proj_bias":
                cut[name] = _thirds(source[name], shape)
            else:
                cut[name] = prefix(source[name], shape)
        return cut

    def _in_projection(self, source: Tensors, shape: tuple[int, ...]) -> Tensor:
        if "in_proj_weight" in source:
            return _thirds(source["in_proj_weight"], shape)
        rows, columns = shape
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        return torch.cat([prefix(source[name], (rows // 3, columns)) for name in names])

    def why_not_mixed(self, templates: Sequence[nn.Module]) -> str | None:
        if len({bool(getattr(t, "batch_first", False)) for t in templates}) > 1:
            return "batch_first may be True or False"
        return None

    def narrow(
        self, template: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        sizes: dict[str, Any] = {
            "query": template.embed_dim,
            "key": template.kdim,
            "value": template.vdim,
        }
        some = [_narrow(x, -1, size) for x, size in zip(args, sizes.values(), strict=False)]
        named = {k: _narrow(v, -1, sizes[k]) if k in sizes else v for k, v in kwargs.items()}
        return (*some, *args[len(some) :]), named

    def widen(self, output: Any, like: Sequence[Any]) -> Any:
        size = max(o[0].shape[-1] for o in like)
        return (pad_to(output[0], -1, size), *output[1:])


def _narrow(x: Any, dim: int, size: Any) -> Any:
    if not isinstance(x, Tensor) or x.shape[dim] <= size:
        return x
    return x.narrow(dim, 0, size)


def _centre(weight: Tensor, kernel: Sequence[int]) -> Tensor:
    """Return the middle of every kernel dimension; of an odd difference more is cut behind."""
    for dim, size in enumerate(kernel, start=2):
        if weight.shape[dim] != size:
            weight = weight.narrow(dim, (weight.shape[dim] - size) // 2, size)
    return weight


def _thirds(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Cut each of three blocks of rows to a third of ``shape``."""
    if tuple(tensor.shape) == shape:
        return tensor
    part = (shape[0] // 3, *shape[1:])
    return torch.cat([prefix(block, part) for block in tensor.chunk(3)])


def _margins(template: Any) -> object:
    """Return what, beside the stride, decides how much smaller the output is."""
    if isinstance(template.padding, str):
        return template.padding
    return tuple(
        2 * p - d * (k - 1)
        for p, d, k in zip(template.padding, template.dilation, template.kernel_size, strict=True)
    )


def _sum_padded(
    parts: Sequence[tuple[Tensor, Tensor]], shape: Sequence[int], *, centred: bool = False
) -> Tensor:
    """Add weights up, each times its factor, in the corner (or kernels in the middle) of zeros."""
    total: Tensor | None = None
    for tensor, factor in parts:
        padding: list[int] = []
        for dim in reversed(range(tensor.dim())):
            missing = shape[dim] - tensor.shape[dim]
            before = missing // 2 if centred and dim >= 2 else 0
            padding += [before, missing - before]
        term = factor * (F.pad(tensor, padding) if any(padding) else tensor)
        total = term if total is None else total + term
    assert total is not None
    return total


def _sum_biases(parts: Sequence[tuple[Tensor | None, Tensor]], size: int) -> Tensor | None:
    present = [(bias, factor) for bias, factor in parts if bias is not None]
    return _sum_padded(present, (size,)) if present else None


__all__ = [
    "AttentionRule",
    "BatchNormRule",
    "ChannelsRule",
    "ConvRule",
    "EmbeddingRule",
    "LinearRule",
    "PReLURule",
    "TrailingNormRule",
    "TransposedConvRule",
]
