"""What of a model can be chosen, which tensors belong together, and what is fixed by whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from oneshot_core.terminal import printable

from ..elastic.extent import Size
from .naming import Extents, Place
from .sizes import ROLES
from .trace import Fixed

if TYPE_CHECKING:
    from torch import nn

    from .sorting import Sorted

__all__ = ["Chosen", "Depth", "Plan"]

_WIDTH = 100
_SHOWN = 4
"""So many tensors are named for a size; ``plan.sizes`` has all of them."""
_HUGE = 10**9
_REASONS = 12
"""So many reasons why something is fixed are printed; ``plan.fixed`` has all of them."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """A size that can be chosen.

    Args:
        size: the size; its name is the label in architectures.
        role: what it is, one of :data:`~oneshot_plugins.pretrained.sizes.ROLES`.
        values: the candidates, ascending; the last one is the value of the model as it is.
        places: the dimensions of tensors that depend on it.
        layers: what the sizes that share this label would be called alone.
    """

    size: Size
    role: str
    values: tuple[int, ...]
    places: tuple[Place, ...]
    layers: tuple[str, ...]

    @property
    def label(self) -> str:
        """What architectures call it."""
        return self.size.name


@dataclass(frozen=True)
class Depth:
    """Blocks of one stack that can be skipped.

    Args:
        labels: of the choices, in architectures: one for all blocks, or one for each.
        blocks: paths of the blocks that can be skipped.
        kept: number of blocks of the stack that run -> paths of those among ``blocks`` that do.
            Empty where each block has a choice of its own, yes or no.
    """

    labels: tuple[str, ...]
    blocks: tuple[str, ...]
    kept: Mapping[int, tuple[str, ...]]

    @property
    def architectures(self) -> int:
        """How many selections of blocks there are."""
        return len(self.kept) or int(2 ** len(self.labels))

    @property
    def candidates(self) -> dict[str, tuple[int | bool, ...]]:
        """Label -> what can be chosen under it, ascending: all blocks last."""
        if self.kept:
            return {self.labels[0]: tuple(sorted(self.kept))}
        return dict.fromkeys(self.labels, (False, True))

    def runs(self, architecture: Mapping[str, Any]) -> set[str]:
        """Return the paths of the blocks that an architecture runs."""
        if self.kept:
            return set(self.kept[architecture[self.labels[0]]])
        pairs = zip(self.labels, self.blocks, strict=True)
        return {block for label, block in pairs if architecture[label]}


@dataclass(frozen=True, eq=False)
class Plan:
    """What :func:`oneshot_core.elastic` made of a model; printing it tells all of it.

    Attributes:
        model: the model, which is elastic now.
        sizes: label -> what can be chosen under it.
        depth: the blocks that can be skipped.
        extents: tensor -> dimension -> what its length depends on.
        fixed: the dimensions that keep their lengths, and why.
        seconds: how long the trace took.
        architectures: how many networks can be chosen.
        undo: makes the model plain again.
        importance: which items came first, where they were sorted by importance.
        notes: sentences about this model that the user should know.
    """

    model: nn.Module
    sizes: Mapping[str, Chosen]
    depth: tuple[Depth, ...]
    extents: Extents
    fixed: tuple[Fixed, ...]
    seconds: float
    architectures: int
    undo: Callable[[], object]
    importance: Sorted | None = None
    notes: tuple[str, ...] = ()

    def restore(self) -> nn.Module:
        """Make the model plain again, in place, and return it.

        All its modules have their own classes afterwards, and its tensors are those that it has
        now. If it was sorted by importance, it stays sorted.

        Raises:
            OneShotError: the model is in a search.
        """
        self.undo()
        return self.model

    def __repr__(self) -> str:
        labels = (*self.sizes, *(label for depth in self.depth for label in depth.labels))
        shown = ", ".join([*labels[:_SHOWN], *["..."] * (len(labels) > _SHOWN)])
        return f"Plan({plain_class(self.model)}: {shown})"

    def __str__(self) -> str:
        return printable("\n".join(_lines(self)))

    def _repr_pretty_(self, printer: object, cycle: bool) -> None:
        """Show the whole plan in a notebook."""
        printer.text(repr(self) if cycle else str(self))  # type: ignore[attr-defined]


def plain_class(model: nn.Module) -> str:
    """Return the name of the class that the user wrote."""
    return next(c.__name__ for c in type(model).__mro__ if not c.__module__.startswith("oneshot"))


def _lines(plan: Plan) -> Iterable[str]:
    sizes, blocks = len(plan.sizes), sum(len(depth.blocks) for depth in plan.depth)
    what = [f"{sizes} {_plural('size', sizes)} can be chosen"] if sizes or not blocks else []
    if blocks:
        what.append(f"{blocks} {_plural('block', blocks)} can be skipped")
    count = plan.architectures
    shown = f"{count:,}" if count < _HUGE else f"about {count:.1e}"
    took = f" The trace took {plan.seconds:.1f} seconds." if plan.seconds else ""
    yield from wrap(
        f"{plain_class(plan.model)}: {', '.join(what)}, which makes {shown} "
        f"{_plural('architecture', count)}.{took}",
        _WIDTH,
    )
    if plan.sizes or plan.depth:
        yield ""
        yield from _table(plan)
    for chosen in plan.sizes.values():
        yield ""
        yield from _tensors(chosen)
    yield from _fixed(plan.fixed)
    for note in plan.notes:
        yield ""
        yield from wrap(f"Note: {note}", _WIDTH, subsequent_indent="  ")


def _table(plan: Plan) -> Iterable[str]:
    rows = [("label", "values", "what it is", "layers", "dimensions")]
    for chosen in plan.sizes.values():
        rows.append(
            (
                chosen.label,
                _some([f"{value:,}" for value in chosen.values], 8),
                ROLES[chosen.role],
                str(len(chosen.layers)),
                str(len(chosen.places)),
            )
        )
    for depth in plan.depth:
        values = next(iter(depth.candidates.values()))
        shown = ", ".join(str(value) for value in values) if depth.kept else "no, yes"
        what = "blocks that run" if depth.kept else "whether a block runs"
        rows.append((starred_names(depth.labels), shown, what, str(len(depth.blocks)), "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if column > 2 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield f"  {'  '.join(cells)}".rstrip()


def _tensors(chosen: Chosen) -> Iterable[str]:
    """Yield which tensors belong to a size, abbreviated by patterns."""
    patterns = starred(chosen.places)
    text = _some([f"{pattern}" for pattern in patterns], _SHOWN)
    yield from wrap(
        f"{chosen.label} is in {text}", _WIDTH, subsequent_indent="    ", break_long_words=False
    )


def _fixed(fixed: Sequence[Fixed]) -> Iterable[str]:
    if not fixed:
        return
    yield ""
    yield f"{len(fixed)} {_plural('dimension', len(fixed))} keep their length:"

    def why(item: Fixed) -> tuple[str, str]:
        return item.reason, item.where

    order = {key: number for number, key in enumerate(dict.fromkeys(map(why, fixed)))}
    reasons = groupby(sorted(fixed, key=lambda item: order[why(item)]), why)
    for number, ((reason, where), several) in enumerate(reasons):
        if number == _REASONS:
            yield f"  ... {len(order) - _REASONS} more reasons, all of them in plan.fixed"
            return
        items = list(several)
        places = _some(starred(Place(item.tensor, item.dim) for item in items), 2)
        lengths = _some([str(n) for n in dict.fromkeys(item.length for item in items)], 3)
        yield from wrap(
            f"{places} (of length {lengths}), because {reason}",
            _WIDTH,
            initial_indent="  ",
            subsequent_indent="      ",
            break_long_words=False,
        )
        if where:
            yield f"      at {where}"


def starred(places: Iterable[Place]) -> list[str]:
    """Return ``places`` with ``*`` in the place of numbers of blocks, each pattern once.

    >>> starred([Place("layers.0.weight", 1), Place("layers.1.weight", 1)])
    ['layers.*.weight:1']
    """
    places = list(places)
    patterns: dict[str, list[Place]] = {}
    for place in places:
        parts = ["*" if part.isdigit() else part for part in place.tensor.split(".")]
        patterns.setdefault(f"{'.'.join(parts)}:{place.dim}", []).append(place)
    return [p if len(several) > 1 else str(several[0]) for p, several in patterns.items()]


def starred_names(labels: Sequence[str]) -> str:
    """Return one or two patterns for several labels."""
    return _some([text.removesuffix(":0") for text in starred(Place(n, 0) for n in labels)], 2)


def _some(items: Sequence[str], limit: int) -> str:
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown}, ... {len(items) - limit} more"


def _plural(word: str, number: int) -> str:
    return word if number == 1 else f"{word}s"
