"""Offer the supernet module of cells to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, Conformance, hookimpl

CELL = "oneshot_plugins.cells.cell:Cell"


@hookimpl
def oneshot_components() -> list[Component]:
    return [
        Component(
            "supernet",
            "cell",
            "oneshot_plugins.cells.supernet:MixedCell",
            summary="Cell: run the active operations on the active states",
            handles=(CELL,),
        )
    ]


@hookimpl
def oneshot_conformance() -> Conformance:
    return Conformance(samples={CELL: "oneshot_plugins.cells.samples:cells"})
