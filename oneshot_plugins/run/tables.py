"""Tables of the costs that the options of a strategy name: built before training, and kept."""

from __future__ import annotations

from collections.abc import Mapping

from oneshot_core import BaseOneShotLightningModule
from oneshot_plugins.costs.measured import per_batch

from ..costs.named import prepare_costs, tables_of, verify_once
from ..costs.table import CostTable
from .folder import RunFolder
from .words import explained


def cost_tables(
    search: BaseOneShotLightningModule, options: Mapping[str, object], resumed: RunFolder | None
) -> dict[str, CostTable]:
    """Return the tables that a search is made with, by their name.

    Args:
        search: not trained yet.
        options: that its strategy was made with.
        resumed: folder with tables to go on with: what was measured once is not measured again.

    Raises:
        OneShotError: a cost cannot be measured for the model, or a table cannot be read.
    """
    tables = tables_of(search)
    if resumed is not None:
        tables |= {file.stem: CostTable.load(file) for file in resumed.costs.glob("*.json")}
    with explained("building a table of costs", "search"):
        prepare_costs([options], search)
        own = getattr(type(search), "prepare_costs", None)
        if own is not None:  # a strategy that makes something of its options
            own(search)
        for table in tables.values():  # those of the folder, too
            verify_once(table, search)
    return tables


def keep(tables: Mapping[str, CostTable], folder: RunFolder) -> None:
    """Write the tables into the folder of the run, and say how good they are.

    Raises:
        OutputError: a file cannot be written.
    """
    if tables:
        folder.costs.mkdir(exist_ok=True)
    for name, table in tables.items():
        table.save(folder.costs / f"{name}.json")
        exact = "exact" if table.exact else "an estimate"
        about = per_batch(table.batch)
        print(f"table of {table.cost}: {exact}, {table.deviation}{f'; {about}' if about else ''}")
