"""Which Lightning a module belongs to: ``pytorch_lightning``, or its twin ``lightning.pytorch``.

Both packages hold the same sources, but their classes are different ones, and a Trainer of one
refuses modules of the other. This package is written against ``pytorch_lightning``.
:meth:`Tree.own` gives the same thing of the tree that a user's module comes from, and
:meth:`Tree.rebased` one of our classes on that tree's bases. ``lightning`` is imported by the
user's module or not at all.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final, TypeVar

from pytorch_lightning import LightningModule, Trainer
from torch import nn

from ..errors import StrategyError

T = TypeVar("T")
C = TypeVar("C", bound=type)

_HOME_ROOTS: Final = frozenset({"pytorch_lightning", "lightning_fabric"})


@dataclass(frozen=True)
class Tree:
    """One of the two packages that Lightning is published as.

    Attributes:
        prefix: its name in imports.
    """

    prefix: str

    def own(self, thing: T) -> T:
        """Return this tree's class or function of the place of ``thing`` in ``pytorch_lightning``."""
        if self is HOME:
            return thing
        there: Any = thing
        path = self.prefix + there.__module__.removeprefix(HOME.prefix)
        found: T = getattr(import_module(path), there.__name__)
        return found

    def rebased(self, cls: C) -> C:
        """Return ``cls``, written on ``pytorch_lightning``, as it is on this tree's classes.

        For ``pytorch_lightning`` that is ``cls`` itself. Else it is a subclass of the same name,
        the same in every call, whose method resolution order holds this tree's classes in the
        place of the others: ``super()`` leads to them, ``isinstance`` sees them, and a Trainer of
        this tree takes it for its own. Instances can be copied and pickled.
        """
        return cls if self is HOME else _rebased(cls, self)


HOME: Final = Tree("pytorch_lightning")
TREES: Final = (HOME, Tree("lightning.pytorch"))


def tree_of(thing: object) -> Tree | None:
    """Return the tree that the class of ``thing`` derives from; None if from neither."""
    return next(_trees_in(type(thing)), None)


def tree_of_module(thing: object) -> Tree | None:
    """Return the tree whose LightningModule ``thing`` is; None if it is none."""
    tree = tree_of(thing)
    return tree if tree is not None and isinstance(thing, tree.own(LightningModule)) else None


def _trees_in(cls: type) -> Iterator[Tree]:
    for base in cls.__mro__:
        for tree in TREES:
            if f"{base.__module__}.".startswith(f"{tree.prefix}."):
                yield tree


class _Rebased(type):
    """Takes ``pytorch_lightning`` and its parts out of a class's method resolution order."""

    def mro(cls) -> list[type]:
        return [b for b in super().mro() if b.__module__.partition(".")[0] not in _HOME_ROOTS]


@cache
def _rebased(cls: Any, tree: Tree) -> Any:
    base = next(base for base in cls.__mro__ if HOME in _trees_in(base))
    meta: Any = type(cls.__name__, (_Rebased, type(cls)), {})

    def reduce(self: Any, protocol: Any) -> Any:
        # The class cannot be found by its name: rather than it, pickle how it is made.
        how, arguments, *state = super(made, self).__reduce_ex__(max(int(protocol), 2))
        if how is copyreg.__newobj__:  # type: ignore[attr-defined]
            how, arguments = _new, (cls, tree.prefix)
        return how, arguments, *state

    made = meta(
        cls.__name__,
        (cls, tree.own(base)),
        {
            "__doc__": cls.__doc__,
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__reduce_ex__": reduce,
        },
    )
    return made


def _new(cls: type, prefix: str) -> Any:
    made: Any = Tree(prefix).rebased(cls)
    return made.__new__(made)
