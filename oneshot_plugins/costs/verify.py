"""Refuse a table that was built for another model, before anything is trained with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from oneshot_core import Registry, freeze
from oneshot_core.errors import OneShotError, StrategyError
from oneshot_core.space import Choice

from .identity import ELSEWHERE, identity
from .placing import META, placed, without_data
from .supernet import Supernet, where
from .table import TOLERANCE, CostTable
from .told import inputs_of, name_of


def verify(table: CostTable, source: nn.Module, registry: Registry) -> None:
    """Compare a table with a model: with its choices, its layers, and two frozen networks.

    Networks are measured only where the cost is counted, so that a number that is off means
    another model, and only with the inputs that the table was built with.

    Args:
        table: as built or read.
        source: a search, a mutated model, or a model with choices; stays as it is.
        registry: where the cost is looked up.

    Raises:
        StrategyError: the table is about another model. It names where they differ, or an
            architecture, what the table says of it and what the network has.
    """
    model = Supernet(source, registry, without_data)
    table.check(model.space)
    known = table.origin.get("identity")
    here = identity(model.model)
    differing = sorted(
        label for label in here.keys() | known.keys() if here.get(label) != known.get(label)
    ) if isinstance(known, Mapping) else []  # fmt: skip
    for architecture, expected, found in _counted(table, source, registry, differing):
        if abs(expected - found) > _allowed(table) * max(abs(expected), abs(found)):
            raise _another(
                table,
                f"for {_said(architecture)} it says {expected:,.6g}, and the network has "
                f"{found:,.6g}",
                f"{found:,.6g} for {type(model.model).__name__}{_inputs(table)}",
            )
    if differing:
        where_to_look = [repr(label) for label in differing if label != ELSEWHERE]
        if ELSEWHERE in differing:
            where_to_look.append("the layers that no choice changes")
        raise _another(
            table,
            f"it was measured for other layers at {' and '.join(where_to_look)}",
            "the layers that the table was built for",
        )


def _counted(
    table: CostTable, source: nn.Module, registry: Registry, differing: list[str]
) -> Iterator[tuple[Mapping[str, Choice], float, float]]:
    """Yield architectures, what the table says of them, and what their networks have."""
    if f"cost:{table.cost}" not in registry or table.origin.get("options"):
        return
    cost: Any = registry.load("cost", table.cost)
    function = table.origin.get("function")
    if not getattr(cost, "counts", False) or function not in (None, name_of(cost)):
        return
    inputs: tuple[Any, ...] | None = ()
    if getattr(cost, "per_input", True):
        inputs = inputs_of(table)
    if inputs is None or "torch" not in table.origin:  # written by hand
        return
    copied, place, given = where(source, registry, cost, inputs, None if inputs else META)
    space = copied.space
    default = space.default()
    last = copied.nearest(
        {
            label: spec.candidates[-1]
            for label, spec in space.specs.items()
            if spec.interval is None and spec.n_chosen == 1
        }
    )
    further = [
        copied.completed({label: candidate})
        for label in differing
        if label in space.specs and space.specs[label].n_chosen == 1
        for candidate in space.specs[label].candidates
    ]
    for architecture in (default, last, *further):
        if architecture is None:
            continue
        try:
            found = float(cost(placed(freeze(copied.model, architecture), place), *given))
        except OneShotError:
            raise
        except Exception as error:
            raise _another(
                table,
                f"the network {_said(architecture)} cannot be run{_inputs(table)}: "
                f"{type(error).__name__}: {' '.join(str(error).split())}",
                "inputs that the model takes",
            ) from error
        yield architecture, table.of(architecture), found


def _allowed(table: CostTable) -> float:
    """Return by which share a network of the right model may differ."""
    if table.exact:
        return TOLERANCE
    return max(TOLERANCE, 2 * table.deviation.relative) if table.deviation.checked else 1.0


def _inputs(table: CostTable) -> str:
    said = table.origin.get("inputs")
    return f" with inputs {', '.join(map(str, said))}" if isinstance(said, list) and said else ""


def _said(architecture: Mapping[str, Choice]) -> str:
    return "{" + ", ".join(f"{k!r}: {v!r}" for k, v in architecture.items()) + "}"


def _another(table: CostTable, what: str, expected: str) -> StrategyError:
    built = [str(table.origin[key]) for key in ("model", "target") if key in table.origin]
    of = f", which was built for {' of '.join(built)}," if built else ""
    return StrategyError(
        f"the table of {table.cost!r}{of} does not fit this model: {what}",
        expected=expected,
        fix=f"build a table for this model: oneshot cost build RUN --cost {table.cost}, or "
        f"cost_table(model, {table.cost!r})",
    )


__all__ = ["verify"]
