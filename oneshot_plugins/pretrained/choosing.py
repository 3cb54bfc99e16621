"""From what the user asked for to candidates: which sizes can be chosen, and which stay and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from oneshot_core.errors import SpaceError

from ..elastic.extent import Size
from .naming import Extents, Group, Place, Use, groups_of, names_of
from .plan import Chosen, plain_class, starred
from .sizes import OPTIONS, ROLES, Rules, Wanted, check_wanted
from .trace import Fixed, Trace

__all__ = ["Request", "Selection", "choose", "without"]


@dataclass(frozen=True)
class Request:
    """What the user asked for, checked as far as it can be without a model.

    Args:
        rules: how ratios become values.
        wanted: option, such as ``"hidden"`` or ``"other"`` -> ratios, values, None or False.
        only: pattern of labels, roles or dimensions -> ratios or values; then nothing else can be
            chosen. None: everything that the options do not exclude.
        per_layer: whether each layer's size has a label of its own.

    Raises:
        SpaceError: an argument has not the form described.
    """

    rules: Rules
    wanted: Mapping[str, Wanted] = field(default_factory=dict)
    only: Mapping[str, Wanted] | None = None
    per_layer: bool = False

    def __post_init__(self) -> None:
        known = dict.fromkeys(OPTIONS.values())
        for option, wanted in self.wanted.items():
            if option not in known:
                raise SpaceError(
                    f"oneshot.elastic got an unknown argument {option}=",
                    expected=f"one of {', '.join(f'{name}=' for name in known)}",
                    fix=_close(option, known) or "correct the name",
                )
            check_wanted(option, wanted)
        for pattern, wanted in (self.only or {}).items():
            check_wanted(f"the entry {pattern!r}", wanted)
            if isinstance(wanted, bool):
                check_wanted(f"the entry {pattern!r}", ())
        if self.only and (given := [o for o, wanted in self.wanted.items() if wanted is not None]):
            raise SpaceError(
                f"{given[0]}= was given beside a dict of labels and values",
                expected="one of them, for what is not in the dict cannot be chosen",
                fix=f"move {given[0]} into the dict: {{{given[0]!r}: ...}}",
            )
        if self.only is not None and not self.only:
            raise SpaceError(
                "the dict of labels and values is empty",
                expected="at least one label, role or dimension, such as {'ffn': [0.5, 1.0]}",
                fix="leave the dict out, then everything can be chosen",
            )

    def of(self, role: str) -> Wanted:
        """Return what the user wants of sizes of ``role``."""
        return self.wanted.get(OPTIONS[role])


@dataclass(frozen=True)
class Selection:
    """The sizes that can be chosen, and those that cannot.

    Args:
        chosen: what each label stands for, in the order in which a plan lists them.
        new: size of the trace -> the size whose label it shares.
        fixed: dimensions that keep their lengths, because of what was asked for or what they are.
    """

    chosen: tuple[Chosen, ...]
    new: Mapping[Size, Size]
    fixed: tuple[Fixed, ...]


def choose(model: nn.Module, traced: Trace, uses: Sequence[Use], request: Request) -> Selection:
    """Decide which sizes can be chosen, give them labels and candidates.

    Args:
        model: the model, for messages.
        traced: what a forward pass said about it.
        uses: what its sizes are for.
        request: what the user asked for.

    Raises:
        SpaceError: what was asked for does not exist, or makes no sense for the model.
    """
    stays = {use.size: why for use in uses if (why := _stays(use, traced))}
    named = {use.size for use in uses if use.role in ROLES}
    uses = [use if use.size in named else replace(use, role="size") for use in uses]
    free = [use for use in uses if use.size not in stays]
    # Names do not depend on what was asked for: what is named by hand is named as it was printed.
    names = names_of([use for use in uses if use.size in named])
    known, names = names, {**names_of(uses), **names}
    wanted: dict[Size, Wanted] = {}
    apart: dict[Size, object] = {}
    if request.only is None:
        _require_roles(model, free, request)
        for use in free:
            wanted[use.size] = request.of(use.role)
            if wanted[use.size] is False:
                stays[use.size] = f"{OPTIONS[use.role]}=False was asked for"
    else:
        for pattern, values in request.only.items():
            for use in _matched(model, traced, uses, known, pattern):
                if use.size in apart:
                    raise SpaceError(
                        f"{apart[use.size]!r} and {pattern!r} both name {names[use.size]}",
                        expected="each size under one entry of the dict",
                        fix="make one of the patterns longer",
                    )
                wanted[use.size], apart[use.size] = values, pattern
                stays.pop(use.size, None)
        for use in free:
            if use.size not in apart:
                stays[use.size] = "it was not asked for"
    asked = [use for use in uses if use.size in wanted and use.size not in stays]
    groups = groups_of(asked, names, per_layer=request.per_layer, apart=apart)
    chosen: list[Chosen] = []
    new: dict[Size, Size] = {}
    for group in groups:
        values = request.rules.candidates(
            group.uses[0].size, group.role, wanted[group.uses[0].size], group.label
        )
        if len(values) == 1:
            stays |= {use.size: _too_small(group, request) for use in group.uses}
            continue
        size = Size(group.label, group.full, group.uses[0].size.unit)
        new |= {use.size: size for use in group.uses}
        chosen.append(Chosen(size, group.role, values, group.places, group.names))
    order = list(ROLES)
    chosen.sort(key=lambda one: order.index(one.role))
    return Selection(tuple(chosen), new, tuple(_fixed(traced, uses, stays, new)))


def without(selection: Selection, extents: Extents, reasons: Mapping[str, str]) -> Selection:
    """Return ``selection`` without some labels, whose dimensions are fixed for a reason.

    Args:
        selection: of :func:`choose`.
        extents: of the trace.
        reasons: label -> why its dimensions keep their lengths.
    """
    gone = [one for one in selection.chosen if one.label in reasons]
    fixed = [
        Fixed(p.tensor, p.dim, extents[p.tensor][p.dim].full, str(reasons[one.label]), "")
        for one in gone
        for p in one.places
    ]
    sizes = {one.size for one in gone}
    return Selection(
        tuple(one for one in selection.chosen if one not in gone),
        {old: new for old, new in selection.new.items() if new not in sizes},
        (*selection.fixed, *fixed),
    )


def _stays(use: Use, traced: Trace) -> str:
    """Return why a size cannot be chosen unless it is named; empty if it can."""
    if use.role == "table":
        return "it counts the rows of a table, such as the words of an embedding"
    if use.size in traced.outputs and use.role != "hidden":
        return "it is a length of what the model returns"
    if use.role == "unread":
        return "no layer reads it in the forward pass of the example"
    return ""


def _too_small(group: Group, request: Request) -> str:
    if group.full == 1:
        return "it is 1"
    step = request.rules.step(group.role, group.uses[0].size)
    return (
        f"no smaller multiple of {step} was asked for"
        if step > 1
        else "no smaller value was asked for"
    )


def _require_roles(model: nn.Module, free: Sequence[Use], request: Request) -> None:
    """Refuse values for a role that no size of the model has."""
    there = dict.fromkeys(OPTIONS[use.role] for use in free)
    for option, wanted in request.wanted.items():
        if wanted is None or isinstance(wanted, bool) or option in there:
            continue
        raise SpaceError(
            f"{option}= was given, but the trace of {plain_class(model)} found no such size",
            expected=f"one of {', '.join(f'{name}=' for name in there) or 'none: all is fixed'}",
            fix=f"leave {option}= out; print(oneshot.elastic(net, example_inputs)) shows what can "
            "be chosen, and what is fixed by which line",
        )


def _matched(
    model: nn.Module, traced: Trace, uses: Sequence[Use], names: Mapping[Size, str], pattern: str
) -> list[Use]:
    """Return the sizes that a pattern names: by role, by name, or by a dimension of a tensor."""
    found = [
        use
        for use in uses
        if use.size in names and (use.role == pattern or fnmatchcase(names[use.size], pattern))
    ]
    if found:
        return found
    by_place: dict[Place, list[Use]] = {}
    for use in uses:
        for place in use.places:
            if fnmatchcase(str(place), pattern):
                by_place.setdefault(place, []).append(use)
    for place, several in by_place.items():
        if len(several) > 1:
            extent = traced.extents[place.tensor][place.dim]
            shown = [names.get(use.size, use.size.name) for use in several]
            raise SpaceError(
                f"{pattern!r} names {place}, which is made of several sizes: {extent!r}",
                expected="one of their names",
                fix=f"write one of {', '.join(map(repr, shown))}",
            )
    if by_place:
        return list(dict.fromkeys(use for several in by_place.values() for use in several))
    raise _nothing_matches(model, traced, uses, names, pattern)


def _nothing_matches(
    model: nn.Module, traced: Trace, uses: Sequence[Use], names: Mapping[Size, str], pattern: str
) -> SpaceError:
    for fixed in traced.fixed:
        place = Place(fixed.tensor, fixed.dim)
        if fnmatchcase(str(place), pattern):
            return SpaceError(
                f"{pattern!r} names {fixed}",
                expected="a dimension that the code of the model leaves open",
                fix="use or write an adapter for this model, or leave this entry out",
            )
    known = list(dict.fromkeys([*(use.role for use in uses if use.size in names), *names.values()]))
    shown = list(dict.fromkeys(p.tensor for p in map(_as_place, known)))
    return SpaceError(
        f"{pattern!r} names no size of {plain_class(model)}",
        expected=f"one of {', '.join(_patterns(shown))}, or a dimension such as "
        f"{str(uses[0].places[0]) if uses else 'layer.weight:0'!r}",
        fix=_close(pattern, known) or "write a name that exists; * stands for any text",
    )


def _patterns(names: Sequence[str]) -> list[str]:
    return [text.removesuffix(":0") for text in starred(Place(name, 0) for name in names)]


def _as_place(name: str) -> Place:
    return Place(name, 0)


def _close(word: str, known: Any) -> str:
    near = get_close_matches(word, list(known), 1)
    return f"write {near[0]!r}" if near else ""


def _fixed(
    traced: Trace, uses: Sequence[Use], stays: Mapping[Size, str], new: Mapping[Size, Size]
) -> list[Fixed]:
    """Return the dimensions that no choice changes."""
    fixed = list(traced.fixed)
    seen: set[Place] = set()
    for use in uses:
        for place in use.places:
            extent = traced.extents[place.tensor][place.dim]
            if place in seen or any(size in new for size in extent.sizes):
                continue
            seen.add(place)
            if reason := stays.get(use.size):
                fixed.append(Fixed(place.tensor, place.dim, extent.full, reason, ""))
    return fixed
