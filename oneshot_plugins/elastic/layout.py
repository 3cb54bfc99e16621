"""What of one module follows sizes, and with what it computes at present.

A *layout* lies in the ``__dict__`` of an elastic module. It says what the dimensions of the
module's tensors are, which attributes follow, and which candidates each size has. For each setting
of sizes a *plan* is made once: how long each dimension is, and what each attribute is worth.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor, nn

from oneshot_core.decision import Decision
from oneshot_core.space import ParameterSpec

from .extent import Extent, Size, Values
from .skipping import KEY, Counted, Depth

Extents: TypeAlias = "tuple[Extent | None, ...]"
"""What each dimension of a tensor is; None for those of which nothing can be chosen."""
Setting: TypeAlias = "tuple[int, ...]"
"""A value for each label of a layout's sizes, in their order."""


class Asked(Mapping[Size, int]):
    """Values that remember which sizes somebody asked for.

    Args:
        values: size -> its value; what is missing has its full value.
    """

    def __init__(self, values: Values) -> None:
        self.values_of = values
        self.sizes: dict[Size, None] = {}

    def __getitem__(self, size: Size) -> int:
        self.sizes[size] = None
        return self.values_of.get(size, size.full)

    def __contains__(self, size: object) -> bool:
        if isinstance(size, Size):
            self.sizes[size] = None
        return size in self.values_of

    def __iter__(self) -> Iterator[Size]:
        self.sizes.update(dict.fromkeys(self.values_of))
        return iter(self.values_of)

    def __len__(self) -> int:
        return len(self.values_of)


@dataclass(frozen=True)
class Follows:
    """An attribute that follows sizes.

    Args:
        function: values -> the attribute.
        sizes: what the function asks for.
        wrapped: whether the attribute is a tuple of what the function returns.
    """

    function: Callable[[Values], Any]
    sizes: tuple[Size, ...]
    wrapped: bool = False

    def at(self, values: Values) -> Any:
        """Return the attribute where the sizes have ``values``.

        Raises:
            ValueError: the function asks for a size that it did not ask for when it was declared.
        """
        asked = Asked(values)
        value = self.function(asked)
        if unknown := [size for size in asked.sizes if size not in self.sizes]:
            raise ValueError(f"the attribute depends on {unknown}, too; at full size it did not")
        return (value,) if self.wrapped else value


@dataclass(frozen=True)
class Tensors:
    """An attribute that is a list of a module's own tensors, as in ``nn.LSTM``."""

    names: tuple[str, ...]


class Plan:
    """What a module is where its sizes have given values.

    Args:
        layout: of the module.
        setting: of the layout.

    Attributes:
        values: size -> value.
        whole: whether every size has its full value.
        cuts: tensor -> dimension and length of each prefix to be taken; None where a part is no
            prefix.
        attributes: name -> value.
    """

    def __init__(self, layout: Layout, setting: Setting) -> None:
        by_label = dict(zip((spec.label for spec in layout.specs), setting, strict=True))
        self.values: dict[Size, int] = {size: by_label[size.name] for size in layout.sizes}
        self.whole = all(value == size.full for size, value in self.values.items())
        self.cuts = {name: cuts_of(e, self.values) for name, e in layout.tensors.items()}
        self.attributes = {
            name: follows.at(self.values)
            for name, follows in layout.attributes.items()
            if isinstance(follows, Follows)
        }


class Pending(NamedTuple):
    """A part of a buffer that is a copy."""

    full: Tensor
    part: Tensor
    version: int
    plan: Plan


def cuts_of(extents: Extents, values: Values) -> list[tuple[int, int]] | None:
    """Return the prefixes of a tensor's dimensions; None if its part is not made of prefixes."""
    cuts = []
    for dim, extent in enumerate(extents):
        if extent is None:
            continue
        length = extent.at(values)
        if length == extent.full:
            continue
        if len(extent.terms) > 1:
            return None
        (term,) = extent.terms
        if any(values.get(f, f.full) != f.full for f in term[1:] if isinstance(f, Size)):
            return None
        # A number before a size repeats what the size counts: packed queries, keys and values.
        cuts.append((dim, length))
    return cuts


@dataclass
class Layout:
    """What of one module follows sizes.

    Args:
        tensors: name -> what each dimension is.
        attributes: name -> what it follows.
        choices: size -> its candidates, for all sizes that this module depends on.
        linear: whether the module's output is linear in its tensors, each by itself.
    """

    tensors: dict[str, Extents] = field(default_factory=dict)
    attributes: dict[str, Follows | Tensors | Counted] = field(default_factory=dict)
    choices: dict[Size, tuple[int, ...]] = field(default_factory=dict)
    linear: bool = False
    more: dict[str, Any] = field(default_factory=dict)
    """What else the module is -> what the members need that its class has for that; see
    :mod:`.skipping`."""
    plans: dict[Setting, Plan] = field(default_factory=dict, repr=False)
    override: Setting | None = None
    """The setting that is computed with, whatever was decided: of one of several that are mixed."""
    pending: dict[str, Pending] = field(default_factory=dict, repr=False)
    """Parts of buffers that are copies, while the module runs: what is written to them is kept."""
    gathers: bool = False
    """Whether rows are being gathered: then a part need not lie in one piece."""

    def __post_init__(self) -> None:
        self.sizes = tuple(self.choices)
        specs = {
            size.name: ParameterSpec(size.name, values, default=size.full)
            for size, values in self.choices.items()
        }
        self.specs = tuple(specs.values())  # two sizes may have one label, and one value

    def __deepcopy__(self, memo: dict[int, Any]) -> Layout:
        # Copies of a module mean the same sizes, but blocks of their own.
        counted = {
            name: copy.deepcopy(follows, memo)
            for name, follows in self.attributes.items()
            if isinstance(follows, Counted)
        }
        return replace(
            self,
            attributes={**self.attributes, **counted},
            more=copy.deepcopy(self.more, memo),
            plans={},
            pending={},
            override=None,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "plans": {}, "pending": {}, "override": None}

    @property
    def kinds(self) -> tuple[str, ...]:
        """What else the module is, beside elastic."""
        return tuple(sorted(self.more, reverse=True))  # "block" last

    @property
    def depth(self) -> Depth | None:
        """Which of the blocks are present that this module holds; None where all are."""
        found: Depth | None = self.more.get("list") or self.more.get("dict")
        return found

    def specs_at(self, path: str) -> tuple[ParameterSpec, ...]:
        """Describe the choices of a module at ``path``: of its sizes, then of its blocks."""
        return self.specs + (() if self.depth is None else self.depth.specs_at(path))

    def plan(self, setting: Setting) -> Plan:
        """Return what the module is under ``setting``; made once."""
        found = self.plans.get(setting)
        if found is None:
            found = self.plans[setting] = Plan(self, setting)
        return found

    def setting(self, decisions: tuple[Decision, ...]) -> Setting | None:
        """Return what was decided; None if candidates are weighted."""
        if self.override is not None:
            return self.override
        taken = []
        for _, decision in zip(self.specs, decisions, strict=False):
            active = decision.active()
            if len(active) != 1 or active[0].weight is not None:
                return None
            taken.append(active[0].candidate)
        return tuple(taken)  # type: ignore[arg-type]


def layout_of(module: nn.Module) -> Layout | None:
    """Return the layout of an elastic module; None of others."""
    layout: Layout | None = module.__dict__.get(KEY)
    return layout


def held(module: nn.Module, name: str) -> Tensor | None:
    """Return all of a tensor that a module holds under ``name``; None if it holds none."""
    own = module.__dict__
    found: Any = own["_parameters"].get(name)
    if found is None:
        found = own["_buffers"].get(name)
    return found if isinstance(found, Tensor) else None
