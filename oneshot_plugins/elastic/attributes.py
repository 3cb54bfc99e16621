"""Attributes of torch's own layers that follow from what the dimensions of their tensors are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any

from torch import nn

from .extent import Extent, Size, Values
from .layout import Extents

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_BATCH_NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip
Function = Callable[[Values], Any]
Tables = Mapping[str, Extents]


def known_attributes(module: nn.Module, tensors: Tables) -> dict[str, Function]:
    """Return the attributes of one of torch's layers that follow; none for other classes.

    Args:
        module: plain.
        tensors: name -> what each dimension is, of the module's own tensors.

    Raises:
        ValueError: the dimensions do not fit together, as heads and the numbers of features.
    """
    for cls, facts in _FACTS:
        if isinstance(module, cls):
            return facts(module, tensors)
    return {}


def _extent(tensors: Tables, name: str, dim: int) -> Extent | None:
    extents = tensors.get(name)
    return None if extents is None else extents[dim]


def _lengths(
    tensors: Tables, wanted: Mapping[str, tuple[tuple[str, int], ...]]
) -> dict[str, Function]:
    """Return the attributes that are the length of a dimension, of the first tensor that has it."""
    found: dict[str, Function] = {}
    for attribute, places in wanted.items():
        for name, dim in places:
            extent = _extent(tensors, name, dim)
            if extent is not None:
                found[attribute] = extent.at
                break
    return found


def _simple(**wanted: tuple[tuple[str, int], ...]) -> Callable[[nn.Module, Tables], Any]:
    return lambda module, tensors: _lengths(tensors, wanted)


def _shape(extents: Extents, full: tuple[int, ...], values: Values) -> tuple[int, ...]:
    return tuple(
        length if extent is None else extent.at(values)
        for extent, length in zip(extents, full, strict=True)
    )


def _trailing_norm(module: Any, tensors: Tables) -> dict[str, Function]:
    extents = tensors.get("weight")
    if extents is None or not any(extents):
        return {}
    return {"normalized_shape": partial(_shape, extents, tuple(module.normalized_shape))}


def _divided(extent: Extent, by: int, what: str, values: Values) -> int:
    """Return a length divided by a number.

    Raises:
        ValueError: it cannot be divided.
    """
    length = extent.at(values)
    if length % by:
        raise ValueError(f"{length} is no multiple of {by}, {what}")
    return length // by


def _leading(extent: Extent, count: int) -> Extent | None:
    """Return the leading factors of a dimension whose product is ``count``; None if there are none.

    So the groups of a convolution are found in ``groups * channels``.
    """
    if len(extent.terms) != 1:
        return None
    (term,) = extent.terms
    for end in range(1, len(term) + 1):
        if prod(f.full if isinstance(f, Size) else f for f in term[:end]) == count:
            return Extent((term[:end],))
    return None


def _groups(extent: Extent, groups: int, per_group: int) -> Function:
    """Return how many of ``groups`` are left, each of ``per_group`` entries of a dimension."""
    leading = _leading(extent, groups)
    if leading is not None and (groups > 1 or not extent.sizes):
        return leading.at
    return partial(_divided, extent, per_group, "the channels of each group")


def _times(function: Function, extent: Extent | None, full: int, values: Values) -> int:
    return int(function(values)) * (full if extent is None else extent.at(values))


def _conv(module: Any, tensors: Tables) -> dict[str, Function]:
    outer, inner = _extent(tensors, "weight", 0), _extent(tensors, "weight", 1)
    transposed = isinstance(module, _TRANSPOSED)
    names = ("in_channels", "out_channels") if transposed else ("out_channels", "in_channels")
    found: dict[str, Function] = {}
    if outer is not None:
        found[names[0]] = outer.at
    if module.groups == 1:
        if inner is not None:
            found[names[1]] = inner.at
        return found
    if outer is None:
        groups: Function = partial(_constant, module.groups)
    else:
        per_group = outer.full // module.groups
        if inner is not None and _leading(outer, module.groups) is None:
            raise ValueError(
                f"dimension 0 of the weight is {outer}, which does not say what becomes of its "
                f"{module.groups} groups; write Extent.of(groups, channels)"
            )
        groups = found["groups"] = _groups(outer, module.groups, per_group)
    per_group_inner = int(module.weight.shape[1])
    found[names[1]] = partial(_times, groups, inner, per_group_inner)
    return found


def _constant(value: Any, values: Values) -> Any:
    return value


def _group_norm(module: Any, tensors: Tables) -> dict[str, Function]:
    extent = _extent(tensors, "weight", 0)
    if extent is None:
        return {}
    found: dict[str, Function] = {"num_channels": extent.at}
    leading = _leading(extent, module.num_groups)
    if leading is not None and leading.sizes and module.num_groups > 1:
        found["num_groups"] = leading.at
    else:
        found["num_groups"] = partial(_dividing, extent, module.num_groups)
    return found


def _dividing(extent: Extent, groups: int, values: Values) -> int:
    _divided(extent, groups, "the number of groups", values)
    return groups


def _attention(module: Any, tensors: Tables) -> dict[str, Function]:
    packed = module.in_proj_weight is not None
    queries = _extent(tensors, "in_proj_weight" if packed else "q_proj_weight", 0)
    found = _lengths(
        tensors,
        {
            "embed_dim": (("in_proj_weight", 1), ("q_proj_weight", 1)),
            "kdim": (("in_proj_weight", 1), ("k_proj_weight", 1)),
            "vdim": (("in_proj_weight", 1), ("v_proj_weight", 1)),
        },
    )
    if queries is None:
        return found
    if packed:
        queries = _third(queries)
    leading = _leading(queries, module.num_heads)
    if leading is not None and module.num_heads > 1:
        found["num_heads"] = leading.at
    else:
        found["num_heads"] = partial(_divided, queries, module.head_dim, "the size of a head")
    found["head_dim"] = partial(_per_head, queries, found["num_heads"])
    return found


def _third(extent: Extent) -> Extent:
    """Return what one of queries, keys and values is, of all three packed.

    Raises:
        ValueError: the extent is no packing of three equal ones.
    """
    if len(extent.terms) == 1 and extent.terms[0][0] == 3:
        return Extent((extent.terms[0][1:],))
    third, rest = divmod(len(extent.terms), 3)
    if rest or extent.terms != extent.terms[:third] * 3:
        raise ValueError(
            f"dimension 0 of in_proj_weight is {extent}; write Extent.of(3, heads, size_of_a_head)"
        )
    return Extent(extent.terms[:third])


def _per_head(extent: Extent, heads: Function, values: Values) -> int:
    return extent.at(values) // int(heads(values))


_GATES = {"LSTM": 4, "GRU": 3}


def _recurrent(module: Any, tensors: Tables) -> dict[str, Function]:
    cell = isinstance(module, nn.RNNCellBase)
    inward = "weight_ih" if cell else "weight_ih_l0"
    found = _lengths(tensors, {"input_size": ((inward, 1),)})
    mode = type(module).__name__.removesuffix("Cell") if cell else module.mode
    hidden = _extent(tensors, inward, 0)
    if hidden is not None:
        gates = _GATES.get(mode, 1)
        found["hidden_size"] = partial(_divided, hidden, gates, "the number of gates")
    if not cell and module.proj_size:
        projected = _extent(tensors, "weight_hr_l0", 0)
        if projected is not None:
            found["proj_size"] = projected.at
    return found


_FACTS: tuple[tuple[Any, Callable[[Any, Tables], dict[str, Function]]], ...] = (
    (nn.Linear, _simple(out_features=(("weight", 0),), in_features=(("weight", 1),))),
    (
        nn.Bilinear,
        _simple(
            out_features=(("weight", 0),),
            in1_features=(("weight", 1),),
            in2_features=(("weight", 2),),
        ),
    ),
    (
        (nn.Embedding, nn.EmbeddingBag),
        _simple(num_embeddings=(("weight", 0),), embedding_dim=(("weight", 1),)),
    ),
    ((nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED), _conv),
    (_BATCH_NORMS, _simple(num_features=(("weight", 0), ("running_mean", 0)))),
    ((nn.LayerNorm, nn.RMSNorm), _trailing_norm),
    (nn.GroupNorm, _group_norm),
    (nn.PReLU, _simple(num_parameters=(("weight", 0),))),
    (nn.MultiheadAttention, _attention),
    ((nn.RNNBase, nn.RNNCellBase), _recurrent),
)
