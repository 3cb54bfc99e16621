"""Find the adapters of a model, and resolve what they say to the names of this model.

The adapter of a module is the one whose ``handles`` names its class, or the nearest base of that.
A model may hold several: a task of a user that holds a ``BertModel`` gets the adapter of BERT for
that submodule, and a layer of torch inside may have one of its own. Where two say something about
one attribute, the outer one counts.

    adapters = find_adapters(model)
    traced = trace(model, args, kwargs, attributes=adapters.traced_attributes(model))
    extents = adapters.completed(model, traced.extents)
    roles = adapters.roles(model, extents)             # size -> "hidden", "ffn", "heads", ...
    stacks = adapters.stacks(model)                    # which blocks can be skipped
    attributes = adapters.run_time_attributes(model, extents)   # for make_elastic
    attach(model, adapters)                            # of .correcting: frozen networks
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import gcd
from typing import Any, NamedTuple

from torch import Tensor, nn

from oneshot_core.discovery import Record, Registry, default_registry
from oneshot_core.errors import PluginError
from oneshot_plugins.elastic.extent import Extent, Size, Values

from .adapter import ROLES, Adapter, Blocks, Role
from .expression import Dim, Parsed, matching, number_of, parse, tensors_of
from .trace import Follow

__all__ = ["Adapters", "Followed", "Following", "Found", "Stack", "find_adapters"]

Extents = Mapping[str, Mapping[int, Extent]]
"""Dotted tensor name -> dimension -> what it is; see :mod:`oneshot_plugins.elastic.extent`."""


class Found(NamedTuple):
    """An adapter and the module that it is for: its path, and who says so."""

    path: str
    adapter: Adapter
    name: str


@dataclass(frozen=True, slots=True)
class Give:
    """What a skipped block gives back; called with what the block is called with.

    Args:
        positions: of the arguments; a tuple for a block that gives back several things. What the
            block is not given is None.

    >>> Give((0, 2))("hidden", "mask", "bias", cache=None)
    ('hidden', 'bias')
    """

    positions: int | tuple[int, ...]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self.positions, int):
            return args[self.positions]
        return tuple(args[n] if n < len(args) else None for n in self.positions)


@dataclass(frozen=True, slots=True)
class Stack:
    """The blocks of one stack, in the order in which they run.

    Args:
        path: of the module that holds them.
        blocks: paths of all of them.
        optional: paths of those that can be skipped.
        give: what a skipped block gives back, of what it is called with; None for its first
            argument.
        index: attributes below each block that are its position in the stack.
        lists: names of lists in the config with an item for each block.
        name: of the adapter.
    """

    path: str
    blocks: tuple[str, ...]
    optional: tuple[str, ...]
    give: Give | None
    index: tuple[str, ...]
    lists: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Following:
    """The value of an attribute that follows sizes; called with the values of sizes.

    Args:
        text: the expression.
        lengths: dimension -> what it is, or its length where no size has an influence.
        numbers: name -> number of the module, as it was when the adapter was read.

    >>> heads = Size("heads", 12)
    >>> rows = {Dim("query.weight", 0): Extent.of(heads, 32)}
    >>> Following("query.weight:0 / head_dim", rows, {"head_dim": 32})({heads: 4})
    4
    """

    text: str
    lengths: Mapping[Dim, Extent | int]
    numbers: Mapping[str, int]

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The sizes that have an influence, each once, in order."""
        extents = (e for e in self.lengths.values() if isinstance(e, Extent))
        return tuple(dict.fromkeys(size for extent in extents for size in extent.sizes))

    def __call__(self, values: Values) -> Any:
        """Return the value of the attribute where the sizes have ``values``."""

        def length(dim: Dim) -> int:
            known = self.lengths[dim]
            return known.at(values) if isinstance(known, Extent) else known

        return parse(self.text).evaluate(length, self.numbers.__getitem__)


class Followed(NamedTuple):
    """An attribute of a module that an adapter says follows from lengths."""

    module: str
    attribute: str
    parsed: Parsed
    adapter: str


@dataclass(frozen=True, slots=True)
class Adapters:
    """What the adapters of one model say, with the names of that model; nothing is changed.

    Args:
        found: the adapters, outer ones first.
    """

    found: tuple[Found, ...]

    def __bool__(self) -> bool:
        return bool(self.found)

    def followed(self, model: nn.Module) -> list[Followed]:
        """Return the attributes that follow sizes, each once, outer adapters first.

        An attribute that a module does not have is left out.

        Raises:
            PluginError: an expression has not the value of the attribute in the model as it is.
        """
        tensors = tensors_of(model)
        modules = dict(model.named_modules(remove_duplicate=False))
        known: dict[tuple[str, str], Followed] = {}
        for path, adapter, name in self.found:
            for pattern, said in adapter.follows.items():
                for module in matching(modules, joined(path, pattern)):
                    for attribute, texts in said.items():
                        if (module, attribute) in known or not hasattr(modules[module], attribute):
                            continue
                        parsed = _first(texts, module, tensors)
                        if parsed is not None:
                            one = Followed(module, attribute, parsed, name)
                            _require_present_value(one, model, modules[module], tensors)
                            known[module, attribute] = one
        return list(known.values())

    def run_time_attributes(
        self, model: nn.Module, extents: Extents
    ) -> dict[str, dict[str, Following]]:
        """Return module path -> attribute -> what it is at run time, for ``make_elastic``.

        Args:
            model: as it was when the adapters were looked up.
            extents: which dimensions follow sizes; attributes that depend on none are left out.

        Raises:
            PluginError: an expression has not the value of the attribute in the model as it is.
        """
        tensors = tensors_of(model)
        table: dict[str, dict[str, Following]] = {}
        for module, attribute, parsed, _ in self.followed(model):
            lengths: dict[Dim, Extent | int] = {}
            for dim in parsed.dims:
                name = joined(module, dim.tensor)
                full = tensors[name].shape[dim.dim]
                lengths[dim] = extents.get(name, {}).get(dim.dim, full)
            numbers = {n: number_of(model, module, n) for n in _names(parsed)}
            following = Following(parsed.text, lengths, numbers)
            if following.sizes:
                table.setdefault(module, {})[attribute] = following
        return table

    def traced_attributes(self, model: nn.Module) -> dict[str, dict[str, Follow]]:
        """Return module path -> attribute -> the length that it follows, for the tracer.

        Attributes that are no whole numbers, such as a square root, are left out: they have no
        influence on shapes.

        Raises:
            PluginError: an expression has not the value of the attribute in the model as it is, or
                divides by more than one dimension.
        """
        table: dict[str, dict[str, Follow]] = {}
        units = self._units(model)
        for one in self.followed(model):
            if one.parsed.power == 1 and one.parsed.dims:
                table.setdefault(one.module, {})[one.attribute] = _follow(one, model, units)
        return table

    def _units(self, model: nn.Module) -> dict[tuple[str, int], int]:
        """Return (tensor, dimension) -> so many of it are one head, as the seeds of roles say."""
        tensors = tensors_of(model)
        units: dict[tuple[str, int], int] = {}
        for path, adapter, _ in self.found:
            for role in ROLES:
                for parsed in map(parse, adapter.seeds(role)):
                    (dim,) = parsed.dims
                    for name in matching(tensors, joined(path, dim.tensor)):
                        number = partial(number_of, model, name)
                        full = tensors[name].shape[dim.dim]
                        count = parsed.evaluate({dim: full}.__getitem__, number)
                        units.setdefault((name, dim.dim), full // count)
        return units

    def roles(self, model: nn.Module, extents: Extents) -> dict[Size, str]:
        """Return which size has which role, as far as the adapters know.

        A dimension of the queries may be ``groups * queries * head_dim``. The groups are the
        size of the keys, so they have the role ``"kv"``, and what is left has the role
        ``"queries"``: so many for each group. Without groups it has the role ``"heads"``.

        Args:
            model: whose tensors ``extents`` names.
            extents: what the tracer found.
        """
        tensors = tensors_of(model)
        known: dict[Size, str] = {}
        for role in sorted(ROLES, key=lambda role: role == "heads"):  # last: see above
            for path, adapter, _ in self.found:
                for dim in adapter.dims(role):
                    for name in matching(tensors, joined(path, dim.tensor)):
                        extent = extents.get(name, {}).get(dim.dim)
                        if extent is not None:
                            known |= _roles_in(extent, role, known)
        return known

    def completed(self, model: nn.Module, extents: Extents) -> dict[str, dict[int, Extent]]:
        """Return ``extents`` with the hidden size where the forward pass does not go.

        A token for masks, or a head that the example does not use, is as wide as the hidden size,
        for otherwise no config could say it.

        Args:
            model: whose tensors ``extents`` names.
            extents: what the tracer found; it stays as it is.
        """
        tensors = tensors_of(model)
        found = {name: dict(dims) for name, dims in extents.items()}
        for path, adapter, _ in self.found:
            places = [
                (name, dim.dim)
                for dim in adapter.dims("hidden")
                for name in matching(tensors, joined(path, dim.tensor))
            ]
            known = [found[n][d] for n, d in places if d in found.get(n, {})]
            for name, dim in places:
                if known and known[0].full == tensors[name].shape[dim]:
                    found.setdefault(name, {}).setdefault(dim, known[0])
        return found

    def stacks(self, model: nn.Module) -> list[Stack]:
        """Return the stacks of blocks that can be skipped, as they are in ``model``."""
        found: list[Stack] = []
        modules = dict(model.named_modules(remove_duplicate=False))
        for path, adapter, name in self.found:
            for said in adapter.blocks:
                groups: dict[str, list[str]] = {}
                for block in matching(modules, joined(path, said.path)):
                    groups.setdefault(block.rpartition(".")[0], []).append(block)
                for holder, blocks in groups.items():
                    if any(set(blocks) & set(known.blocks) for known in found):
                        continue  # an outer adapter has said it
                    optional = tuple(_optional(blocks, said, modules))
                    if not optional:
                        continue
                    give = None if said.give == 0 else Give(said.give)
                    index = _index(model, said, blocks)
                    stack = (holder, tuple(blocks), optional, give, index, said.lists, name)
                    found.append(Stack(*stack))
        return found


def find_adapters(
    model: nn.Module, *, adapter: Adapter | None = None, registry: Registry | None = None
) -> Adapters:
    """Return the adapters of a model: of its own class, and of its submodules' classes.

    Args:
        model: a module; nothing about it is changed.
        adapter: takes the place of the one that would be found for ``model`` itself.
        registry: where components are looked up; None takes the default.

    Raises:
        PluginError: a component of the kind ``adapter`` is none.
        PluginLoadError: one that is needed cannot be loaded.
    """
    registry = default_registry() if registry is None else registry
    records = registry.ordered("adapter")
    nearest: dict[type, Record | None] = {}
    found: list[Found] = []
    for path, module in model.named_modules():
        if not path and adapter is not None:
            found.append(Found(path, adapter, "adapter="))
            continue
        cls = type(module)
        if cls not in nearest:
            nearest[cls] = _nearest(cls, records)
        record = nearest[cls]
        if record is not None:
            found.append(Found(path, _loaded(registry, record), record.id))
    return Adapters(tuple(found))


def joined(path: str, below: str) -> str:
    """Return the dotted path of what is at ``below`` in the module at ``path``."""
    return f"{path}.{below}".strip(".")


def _nearest(cls: type, records: Sequence[Record]) -> Record | None:
    for base in cls.__mro__:
        if base is nn.Module:
            return None
        for record in records:
            if record.names(base):
                return record
    return None


def _loaded(registry: Registry, record: Record) -> Adapter:
    loaded = registry.load(record.id)
    if not isinstance(loaded, Adapter):
        raise PluginError(
            f"{record.id} of {record.source} is a {type(loaded).__name__}",
            expected="an oneshot_plugins.pretrained.adapter.Adapter",
            fix=f"let the target {record.component.target!r} name one",
        )
    return loaded


def _first(texts: str | tuple[str, ...], module: str, tensors: Mapping[str, Any]) -> Parsed | None:
    """Return the first expression of which all tensors exist; counts of modules are not asked."""
    for text in texts if isinstance(texts, tuple) else (texts,):
        if not text.startswith("#"):
            parsed = parse(text)
            if all(joined(module, dim.tensor) in tensors for dim in parsed.dims):
                return parsed
    return None


def _follow(one: Followed, model: nn.Module, units: Mapping[tuple[str, int], int]) -> Follow:
    """Return an expression in the form that the tracer takes."""
    times, over = 1, 1
    dims: list[tuple[str, int]] = []
    per: list[tuple[str, int]] = []
    for value, divides in ((f.value, f.divides) for f in one.parsed.factors):
        if isinstance(value, Dim):
            place = joined(one.module, value.tensor), value.dim
            (per if divides else dims).append(place)
        else:
            number = value if isinstance(value, int) else number_of(model, one.module, value)
            times, over = (times, over * number) if divides else (times * number, over)
    if len(dims) != 1 or len(per) > 1:
        raise PluginError(
            f"{one.adapter} says that {one.attribute} of {one.module!r} is {one.parsed.text!r}",
            expected="one dimension, divided by at most one other, times and over numbers",
            fix="name the dimension that is as long as the product, if there is one",
        )
    if not per:
        return Follow(*dims[0], times, over)
    unit = gcd(units.get(dims[0], 1), units.get(per[0], 1))
    return Follow(*dims[0], times, over, per[0], unit)


def _roles_in(extent: Extent, role: Role, known: Mapping[Size, str]) -> dict[Size, str]:
    """Return what a dimension says about its sizes, if it is the seed of a role."""
    free = [size for size in extent.sizes if size not in known]
    if role not in ("heads", "kv"):
        # In heads * 32, the size counts heads, also where the product is the hidden size.
        return {size: role for size in free if extent.full == size.full}
    if role == "heads" and len(free) < len(extent.sizes):
        return dict.fromkeys(free, "queries")
    return dict.fromkeys(free[:1], role)


def _names(parsed: Parsed) -> Iterator[str]:
    yield from (f.value for f in parsed.factors if isinstance(f.value, str))


def _require_present_value(
    one: Followed, model: nn.Module, module: nn.Module, tensors: Mapping[str, Any]
) -> None:
    said = one.parsed.evaluate(
        lambda dim: tensors[joined(one.module, dim.tensor)].shape[dim.dim],
        lambda name: number_of(model, one.module, name),
    )
    present = getattr(module, one.attribute)
    if isinstance(present, Tensor):  # a buffer without dimensions
        said, present = present.new_full((), said).item(), present.item()
    if present != said:
        raise PluginError(
            f"{one.adapter} says that {one.attribute} of the {type(module).__name__} at "
            f"{one.module!r} is {one.parsed.text!r}, which is {said}, and it is {present!r}",
            expected="an expression with the value of the attribute in the model as it is",
            fix="correct the adapter"
            + f", or switch it off: oneshot_core.registry.disable({one.adapter!r})"
            * one.adapter.startswith("adapter:"),
        )


def _index(model: nn.Module, said: Blocks, blocks: Sequence[str]) -> tuple[str, ...]:
    """Return the attributes that every block has, and that are its position in the model as it is.

    A ``*`` stands for what the first block has.
    """
    first = model.get_submodule(blocks[0])
    inside = [path for path, _ in first.named_modules(remove_duplicate=False)]
    found = []
    for pattern in said.index:
        parts = pattern.rpartition(".")
        for place in matching(inside, parts[0]):
            attribute = joined(place, parts[2])
            held = [_attribute(model, f"{block}.{attribute}") for block in blocks]
            if held == list(range(len(blocks))):
                found.append(attribute)
    return tuple(dict.fromkeys(found))


def _attribute(model: nn.Module, path: str) -> Any:
    value: Any = model
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def _optional(
    blocks: Sequence[str], said: Blocks, modules: Mapping[str, nn.Module]
) -> Iterator[str]:
    kept = {blocks[n] for n in said.keep if -len(blocks) <= n < len(blocks)}
    attribute = said.where.removeprefix("not ")
    for block in blocks:
        if block in kept:
            continue
        if said.where:
            value = getattr(modules[block], attribute, None)
            # A module that has children or none: its truth says nothing, that it is there does.
            true = value is not None and value is not False
            if true == said.where.startswith("not "):
                continue
        yield block
