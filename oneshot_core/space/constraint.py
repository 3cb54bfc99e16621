"""Conditions between choices that every architecture keeps."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from ..errors import SpaceError
from .patch import Patch
from .value import Value

ATTRIBUTE = "_oneshot_constraints"


class Constraints(Patch):
    """The conditions that are attached to a module."""

    def __init__(self, conditions: tuple[Value, ...]) -> None:
        self.conditions = conditions


def constrain(module: nn.Module, *conditions: Value) -> None:
    """Allow only architectures in which the conditions hold, such as ``w2 >= w1``.

    They belong to the model space of every model that ``module`` is a part of, and are honoured
    by every draw, ranking and export. A condition is asked once all its choices are active; a
    choice in a branch that is not taken makes it hold. A strategy that superposes candidates
    weights all of them during training; what it exports keeps the conditions.

    Args:
        module: usually the model itself, in its constructor, after ``super().__init__()``.
        *conditions: values that must be true.

    Raises:
        SpaceError: a condition is no value; comparing numbers gives none.
    """
    for condition in conditions:
        if not isinstance(condition, Value) or not condition.specs:
            raise SpaceError(
                f"a constraint is {condition!r}",
                expected="a condition between choices, such as w2 >= w1",
                fix="compare values of oneshot.choice",
            )
    # Not setattr: a frozen or slotted user class may have an opinion on unknown names.
    module.__dict__[ATTRIBUTE] = Constraints((*_attached_to(module), *conditions))


def constraints_of(root: nn.Module) -> Iterator[Value]:
    """Yield the conditions attached to ``root`` and the modules in it."""
    for module in root.modules():
        yield from _attached_to(module)


def pass_on_constraints(replaced: nn.Module, replacement: nn.Module) -> None:
    """Attach to ``replacement`` what was attached to the module in whose place it stands."""
    conditions = _attached_to(replaced)
    if conditions:
        replacement.__dict__[ATTRIBUTE] = Constraints(conditions)


def _attached_to(module: nn.Module) -> tuple[Value, ...]:
    attached = module.__dict__.get(ATTRIBUTE)
    return attached.conditions if isinstance(attached, Constraints) else ()
