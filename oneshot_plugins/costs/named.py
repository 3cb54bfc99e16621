"""A cost by its name, for searches: its table is built when it is known what is searched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import CellType, FunctionType, MethodType

from torch import Tensor, nn

from oneshot_core import BaseOneShotLightningModule, ModelSpace, registry
from oneshot_core.errors import StrategyError

from .build import cost_table
from .sample import arguments_of, sample_tensor
from .table import CostTable, Decisions
from .verify import verify


@dataclass(frozen=True)
class NamedCost:
    """What an architecture is expected to cost, by the name of the cost.

    In a penalty or in the loss of FBNet. A table of the cost is built for the model of a search
    when that prepares to fit; costs of one search that are equal share it.

    Args:
        cost: name of an installed cost, or the file of a table, which ends in ``.json``.
        inputs: shapes of what the model is called with, such as ``["1x3x32x32"]`` or
            ``["2x8:int64"]``; its ``example_input_array`` if left out.
        device: where parts are measured; see :func:`~oneshot_plugins.costs.build.cost_table`.

    Raises:
        UnknownComponentError: no installed cost has that name.
        InspectionError: an input is no shape.
    """

    cost: str
    inputs: Sequence[str] = ()
    device: str | None = None
    _table: CostTable | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(self.inputs))
        for shape in self.inputs:
            sample_tensor(shape)
        if not self.is_file:
            registry.load("cost", self.cost)

    @property
    def is_file(self) -> bool:
        """Whether it is the file of a table."""
        return self.cost.endswith(".json")

    @property
    def key(self) -> str:
        """Its name among the tables of a search; fit for a file."""
        kind = ("file",) if self.is_file else ()
        parts = (*kind, self.cost.removesuffix(".json"), *self.inputs, self.device or "")
        return re.sub(r"[^\w.+-]", "-", "_".join(filter(None, parts)))

    def prepare(self, search: BaseOneShotLightningModule) -> None:
        """Read the table, or build it for the model of ``search``.

        Raises:
            StrategyError: it is not known what the model is called with.
            CostError: the model does not take the inputs, or there is no such file.
        """
        tables = tables_of(search)
        if self.key not in tables:
            tables[self.key] = self._read(search) if self.is_file else self._built(search)
        object.__setattr__(self, "_table", tables[self.key])

    def _read(self, search: BaseOneShotLightningModule) -> CostTable:
        table = CostTable.load(self.cost)
        verify_once(table, search)
        return table

    def _built(self, search: BaseOneShotLightningModule) -> CostTable:
        inputs = arguments_of(search, [sample_tensor(shape) for shape in self.inputs] or None)
        name = type(search.model).__name__
        if inputs is None:
            raise StrategyError(
                f"the cost {self.cost!r} is measured on inputs, and {name} does not say what it "
                "is called with",
                expected=f"example_input_array of {name}, or the shapes of its inputs",
                fix=f"self.example_input_array = torch.zeros(1, 3, 32, 32) in {name}, or {{cost: "
                f"{self.cost}, inputs: [1x3x32x32]}} in the place of {self.cost}",
            )
        table = cost_table(
            search, self.cost, inputs=inputs, device=self.device, registry=search.registry
        )
        _verified(search).append(table)  # it was compared when it was built
        return table

    def check(self, space: ModelSpace) -> None:
        """Refuse a model space other than the table's.

        Raises:
            StrategyError: the table was built for another one.
        """
        self.table.check(space)

    @property
    def table(self) -> CostTable:
        """The table of the last search that was prepared.

        Raises:
            StrategyError: none was.
        """
        if self._table is None:
            raise StrategyError(
                f"there is no table of the cost {self.cost!r} yet",
                expected="a search that calls prepare(search) before training",
                fix="prepare_costs(penalties, self) in check_fit of the strategy",
            )
        return self._table

    def __call__(self, decisions: Decisions) -> Tensor:
        """Return :meth:`CostTable.expected <oneshot_plugins.costs.table.CostTable.expected>`."""
        return self.table.expected(decisions)

    def sampled(self, decisions: Decisions) -> Tensor:
        """Return :meth:`CostTable.sampled <oneshot_plugins.costs.table.CostTable.sampled>`."""
        return self.table.sampled(decisions)


def tables_of(search: BaseOneShotLightningModule) -> dict[str, CostTable]:
    """Return the tables of a search by :attr:`NamedCost.key`; one that is there is not built.

    They go with the search into the processes that it is sent to, and into copies of it.
    """
    tables: dict[str, CostTable] = search.__dict__.setdefault("_cost_tables", {})
    return tables


def prepare_costs(things: Iterable[object], search: BaseOneShotLightningModule) -> None:
    """Prepare the costs that are among ``things``, or held by them.

    Tables of named costs are built; tables that are there are compared with the model.

    Args:
        things: such as the penalties of a strategy.
        search: that is about to train.

    Raises:
        OneShotError: one cannot be used with the model of the search.
    """
    for cost in _named(things, set()):
        if isinstance(cost, NamedCost):
            cost.prepare(search)
        else:
            verify_once(cost, search)


def verify_once(table: CostTable, search: BaseOneShotLightningModule) -> None:
    """Compare a table with the model of a search, unless that was done.

    Raises:
        StrategyError: it is about another model; see :func:`~oneshot_plugins.costs.verify.verify`.
    """
    done = _verified(search)
    if not any(table is known for known in done):
        verify(table, search, search.registry)
        done.append(table)


def _verified(search: BaseOneShotLightningModule) -> list[CostTable]:
    found: list[CostTable] = search.__dict__.setdefault("_verified_costs", [])
    return found


def _named(thing: object, seen: set[int]) -> Iterator[NamedCost | CostTable]:
    if id(thing) in seen or isinstance(thing, (str, type, nn.Module, Tensor)):
        return
    seen.add(id(thing))
    if isinstance(thing, (NamedCost, CostTable)):
        yield thing
    elif isinstance(thing, partial):
        yield from _named([thing.func, thing.args, thing.keywords], seen)
    elif isinstance(thing, FunctionType):
        yield from _named([cell.cell_contents for cell in _filled(thing)], seen)
    elif isinstance(thing, Mapping):
        for value in thing.values():
            yield from _named(value, seen)
    elif isinstance(thing, Iterable):
        for value in thing:
            yield from _named(value, seen)
    elif isinstance(thing, MethodType):
        yield from _named(thing.__self__, seen)
    else:
        yield from _named(getattr(thing, "__dict__", {}), seen)


def _filled(function: FunctionType) -> Iterator[CellType]:
    """Yield the variables that a function has from around it."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # not assigned yet
            cell.cell_contents  # noqa: B018
            yield cell


__all__ = ["NamedCost", "prepare_costs", "tables_of", "verify_once"]
