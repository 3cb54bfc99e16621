"""Which Lightning a module belongs to: ``pytorch_lightning``, or its twin ``lightning.pytorch``.

Both packages hold the same sources, but their classes are different ones, and a Trainer of one
refuses modules of the other. This package is written against ``pytorch_lightning``.
:meth:`Tree.own` gives the same thing of the tree that a user's module comes from, and
:meth:`Tree.rebased` one of our classes on that tree's bases. ``lightning`` is imported by the
user's module or not at all.
"""

from __future__ import annotations

import copyreg
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final, TypeVar

from pytorch_lightning import LightningModule

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

    def holds(self, cls: type) -> bool:
        """Say whether ``cls`` is defined in this tree."""
        return f"{cls.__module__}.".startswith(f"{self}.")

    def own(self, thing: T) -> T:
        """Return this tree's twin of a class or function of ``pytorch_lightning``."""
        if self == HOME:
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
        return cls if self == HOME or self in _trees_in(cls) else _rebased(cls, self)

    def require(self, thing: object, name: str) -> None:
        """Check that ``thing``, called ``name`` in the message, is not of the other tree.

        Raises:
            StrategyError: it is.
        """
        theirs = next((tree for tree in _trees_in(type(thing)) if tree != self), None)
        if theirs is not None:
            raise StrategyError(
                f"{name} is of {theirs}, the search of {self}",
                expected=f"one Lightning everywhere, here {self}",
                fix=f"take {type(thing).__name__}, or what it derives from, from {self}",
            )

    def __str__(self) -> str:
        return self.prefix


HOME: Final = Tree("pytorch_lightning")
TREES: Final = (HOME, Tree("lightning.pytorch"))


def tree_of(thing: object) -> Tree:
    """Return the tree that the class of ``thing`` derives from; ``pytorch_lightning`` if none."""
    return tree_in(type(thing)) or HOME


def tree_in(cls: type) -> Tree | None:
    """Return the tree that a class derives from; None if from none."""
    return next(_trees_in(cls), None)


def is_lightning_module(thing: object) -> bool:
    """Say whether ``thing`` is a LightningModule, of whichever tree."""
    return isinstance(thing, tree_of(thing).own(LightningModule))


def _trees_in(cls: type) -> Iterator[Tree]:
    return (tree for base in cls.__mro__ for tree in TREES if tree.holds(base))


class _Rebased(type):
    """Takes ``pytorch_lightning`` and its parts out of a class's method resolution order."""

    def mro(cls) -> list[type]:
        return [b for b in super().mro() if b.__module__.partition(".")[0] not in _HOME_ROOTS]


@cache
def _rebased(cls: Any, tree: Tree) -> Any:
    base = next(base for base in cls.__mro__ if HOME.holds(base))
    meta: Any = type(_Rebased.__name__, (_Rebased, type(cls)), {})

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
