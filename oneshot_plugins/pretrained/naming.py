"""What the sizes of a traced model are, and what they are called: read from where they occur.

A trace knows which dimensions belong together, but not what they are for. The layers tell: a width
that one linear layer writes and the next one reads is that of a feed-forward network; a factor in
front of the width of a head counts heads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from torch import nn

from ..elastic.extent import Extent, Size

__all__ = [
    "Extents", "Group", "Place", "Use", "glob_of", "groups_of", "names_of", "places_of",
    "replace_sizes", "uses_of",
]  # fmt: skip

Extents: TypeAlias = Mapping[str, Mapping[int, Extent]]
"""Dotted name of a tensor -> dimension -> what it is."""

_CONV = nn.modules.conv._ConvNd
_NORM = (nn.modules.batchnorm._NormBase, nn.GroupNorm)
_RESIDUAL = 2  # so many layers write a residual stream, at least


class Place(NamedTuple):
    """One dimension of one tensor: ``encoder.layer.0.output.dense.weight:1``."""

    tensor: str
    dim: int

    def __str__(self) -> str:
        return f"{self.tensor}:{self.dim}"

    @property
    def path(self) -> str:
        """The path of the module that holds the tensor."""
        return self.tensor.rpartition(".")[0]


Kind: TypeAlias = Literal["conv-out", "conv-in", "depthwise", "norm", "out", "in", "table", "other"]


@dataclass(frozen=True, eq=False, slots=True)
class Use:
    """Where a size occurs, and what it is for.

    Args:
        size: the size.
        role: one of :data:`~oneshot_plugins.pretrained.sizes.ROLES`; ``"table"`` for rows of an
            embedding, ``"unread"`` for what no layer reads.
        places: the dimensions that depend on it, in the order of the tensors.
        path: the module that holds all these tensors, or the layer that writes the size.
        layer: the first layer that writes the size.
    """

    size: Size
    role: str
    places: tuple[Place, ...]
    path: str
    layer: str


@dataclass(frozen=True, eq=False, slots=True)
class Group:
    """Sizes that share one label, and therefore one value.

    Args:
        label: what the choice is called.
        uses: the sizes.
        names: what each of them would be called alone, in the same order.
    """

    label: str
    uses: tuple[Use, ...]
    names: tuple[str, ...]

    @property
    def role(self) -> str:
        """What all of them are."""
        return self.uses[0].role

    @property
    def full(self) -> int:
        """The value that all of them have in the model as it is."""
        return self.uses[0].size.full

    @property
    def places(self) -> tuple[Place, ...]:
        """The dimensions that depend on them."""
        return tuple(place for use in self.uses for place in use.places)


def places_of(extents: Extents) -> dict[Size, list[Place]]:
    """Return size -> the dimensions that depend on it, both in the order of ``extents``."""
    found: dict[Size, list[Place]] = {}
    for tensor, dims in extents.items():
        for dim, extent in dims.items():
            for size in extent.sizes:
                found.setdefault(size, []).append(Place(tensor, dim))
    return found


def uses_of(
    model: nn.Module, extents: Extents, roles: Mapping[Size, str] | None = None
) -> list[Use]:
    """Say what the sizes of ``extents`` are for.

    Args:
        model: the model that the tensors belong to.
        extents: what the dimensions of its tensors are.
        roles: what is known already, for example from an adapter.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    grouped = _grouped_queries(extents)
    uses = []
    for size, places in places_of(extents).items():
        kinds = {place: _kind(modules[place.path], place, extents) for place in places}
        role = (roles or {}).get(size) or _role(size, kinds, extents, grouped)
        written = [p.path for p in places if kinds[p] in ("out", "conv-out", "depthwise")]
        writers = list(dict.fromkeys(written)) or [places[0].path]
        paths = [place.path for place in places]
        spread = role in ("hidden", "channels") and len(writers) > 1
        uses.append(
            Use(size, role, tuple(places), _common(writers if spread else paths), writers[0])
        )
    return uses


def _kind(module: nn.Module, place: Place, extents: Extents) -> Kind:
    """Say what a dimension is to the layer that holds the tensor."""
    name = place.tensor.rpartition(".")[2]
    if isinstance(module, _NORM) or "Norm" in type(module).__name__:
        return "norm"
    if isinstance(module, _CONV):
        if name != "weight":
            return "conv-out"
        if module.groups > 1 and module.groups == module.in_channels:
            return "depthwise"
        return "conv-in" if (place.dim == 1) != module.transposed else "conv-out"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) and place.dim == 0:
        return "table"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) or name != "weight":
        return "other"
    bias = extents.get(f"{place.path}.bias", {}).get(0)
    tensor = extents[place.tensor]
    if isinstance(module, nn.Linear) or bias is None or tensor.get(0) == bias:
        return "out" if place.dim == 0 else "in"
    return "out" if tensor.get(1) == bias else "in"  # transformers' Conv1D keeps (in, out)


def _role(
    size: Size, kinds: Mapping[Place, Kind], extents: Extents, grouped: Mapping[Size, str]
) -> str:
    every = set(kinds.values())
    if every == {"table"} or ("table" in every and not every & {"other", "in", "conv-in"}):
        return "table"
    if size in grouped:
        return grouped[size]
    if not every & {"in", "conv-in", "depthwise", "norm", "other", "table"}:
        return "unread"
    if every & {"conv-in", "depthwise"} or ("conv-out" in every and "out" not in every):
        return "channels"
    if features := {n for p in kinds for n in _features(size, extents[p.tensor][p.dim])}:
        return "heads" if len(features) == 1 else "kv"
    writers = {p.path for p, kind in kinds.items() if kind == "out"}
    readers = {p.path for p, kind in kinds.items() if kind == "in"}
    begins = every & {"conv-out"} or any(
        kind == "other" and not p.tensor.endswith(".bias") for p, kind in kinds.items()
    )
    if readers and len(writers) + bool(begins) >= _RESIDUAL and not _is_gated(writers, readers):
        return "hidden"
    return "ffn" if writers and readers else "size" if readers else "unread"


def _is_gated(writers: Iterable[str], readers: Iterable[str]) -> bool:
    """Say whether the writers are a gate and its values: siblings, which one sibling reads."""
    writers, readers = list(writers), list(readers)
    parents = {path.rpartition(".")[0] for path in (*writers, *readers)}
    return len(readers) == 1 and len(writers) == _RESIDUAL and len(parents) == 1


def _features(size: Size, extent: Extent) -> set[int]:
    """Return how many features each of ``size`` stands for, if it counts heads; else nothing.

    Several numbers mean groups: the keys have one head where the queries have several.
    """
    inner = [term[term.index(size) + 1 :] for term in extent.terms if size in term]
    return {Extent.of(*factors).full for factors in inner if factors}


def _grouped_queries(extents: Extents) -> dict[Size, str]:
    """Return the sizes of grouped queries: in ``kv * queries * 64``, both count heads."""
    found: dict[Size, str] = {}
    for dims in extents.values():
        for extent in dims.values():
            for term in extent.terms:
                sizes = [factor for factor in term if isinstance(factor, Size)]
                if len(sizes) > 1 and term[-1] is not sizes[1]:
                    found[sizes[0]] = "kv"
                    found[sizes[1]] = "queries"
    return found


def groups_of(
    uses: Sequence[Use],
    names: Mapping[Size, str],
    *,
    per_layer: bool,
    apart: Mapping[Size, object] | None = None,
) -> list[Group]:
    """Give each size a label; sizes of equal role share one, unless ``per_layer``.

    Channels share one only where their layers have equal names but for numbers: the residual
    streams of all blocks are no single thing in a convolutional network.

    Args:
        uses: the sizes that can be chosen.
        names: what each is called alone, from :func:`names_of`.
        per_layer: whether each gets a label of its own. Residual streams of equal width share one
            all the same: they belong to no layer.
        apart: size -> what it must have in common with those that share its label.
    """
    together: dict[tuple[object, ...], list[Use]] = defaultdict(list)
    for use in uses:
        pattern = _starred(use.layer) if use.role in ("channels", "size") else ""
        own = use.size if per_layer and use.role != "hidden" else None
        common = (own, pattern, (apart or {}).get(use.size))
        together[use.role, use.size.full, use.size.unit, common].append(use)
    of_role: dict[str, int] = defaultdict(int)
    for key in together:
        of_role[str(key[0])] += 1
    taken: set[str] = set()
    groups = []
    for (role, *_), members in together.items():
        alone = tuple(names[use.size] for use in members)
        label = str(role)
        if (per_layer and role != "hidden") or of_role[label] > 1 or role in ("channels", "size"):
            label = glob_of(alone)
        while label in taken:
            label = f"{label}.{members[0].size.full}"
        taken.add(label)
        groups.append(Group(label, tuple(members), alone))
    return groups


def names_of(uses: Sequence[Use]) -> dict[Size, str]:
    """Return size -> what it is called alone: its path and role, in as few words as tell.

    A name that several sizes would have is made longer: it is then that of the layer which writes
    the size. A model's only residual stream is called ``"hidden"``.
    """
    by_name: dict[str, list[Use]] = defaultdict(list)
    streams = [use for use in uses if use.role == "hidden"]
    for use in uses:
        path = "" if streams == [use] else use.path or use.layer
        by_name[_join(path, use.role)].append(use)
    names: dict[Size, str] = {}
    taken: set[str] = set()
    for name, several in by_name.items():
        for use in several:
            own = longer = name if len(several) == 1 else _join(use.layer, use.role)
            number = 1
            while own in taken:
                number += 1
                own = f"{longer}{number}"
            taken.add(own)
            names[use.size] = own
    return names


def replace_sizes(extents: Extents, new: Mapping[Size, Size]) -> dict[str, dict[int, Extent]]:
    """Return ``extents`` in the sizes of ``new``; all other sizes become numbers.

    Dimensions that then depend on no size are left out.
    """

    def exchanged(factor: Size | int) -> Size | int:
        return new.get(factor, factor.full) if isinstance(factor, Size) else factor

    found: dict[str, dict[int, Extent]] = {}
    for tensor, dims in extents.items():
        for dim, extent in dims.items():
            if any(size in new for size in extent.sizes):
                terms = tuple(tuple(map(exchanged, term)) for term in extent.terms)
                found.setdefault(tensor, {})[dim] = Extent(terms)
    return found


def glob_of(names: Sequence[str]) -> str:
    """Return one pattern for ``names``, in which ``*`` stands for what differs.

    >>> glob_of(["layer.0.ffn", "layer.1.ffn"])
    'layer.*.ffn'
    """
    split = [name.split(".") for name in names]
    if len({len(parts) for parts in split}) == 1:
        columns = zip(*split, strict=True)
        return ".".join(column[0] if len(set(column)) == 1 else "*" for column in columns)
    first, ends = _common(names), [parts[-1] for parts in split]
    return ".".join(filter(None, [first, "*", ends[0] if len(set(ends)) == 1 else ""]))


def _starred(path: str) -> str:
    return ".".join("*" if part.isdigit() else part for part in path.split("."))


def _common(paths: Iterable[str]) -> str:
    """Return the path that all ``paths`` begin with."""
    common: list[str] | None = None
    for path in paths:
        parts = path.split(".") if path else []
        if common is None:
            common = parts
        same = [a == b for a, b in zip(common, parts, strict=False)]
        common = common[: same.index(False) if False in same else len(same)]
    return ".".join(common or [])


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
