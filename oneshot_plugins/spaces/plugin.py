"""Offer the model spaces to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, Conformance, hookimpl


@hookimpl
def oneshot_components() -> list[Component]:
    return [
        Component(
            "space",
            "mnist1d-chain",
            "oneshot_plugins.spaces.chain:Chain1d",
            summary="four positions, five one-dimensional operations each: 625 networks",
        ),
        _cells("darts", "Darts", "DARTS: four nodes of two distinct inputs, seven operations"),
        _cells("enas", "Enas", "ENAS micro: five nodes, five operations, loose ends"),
        _cells("nasnet", "NasNet", "NASNet: five nodes, thirteen operations, loose ends"),
        _cells("amoebanet", "AmoebaNet", "AmoebaNet: five nodes, eight operations, loose ends"),
        _cells("pnas", "Pnas", "PNAS: one cell of five nodes, eight operations"),
    ]


@hookimpl
def oneshot_conformance() -> Conformance:
    return Conformance(
        samples={
            "space:mnist1d-chain": "oneshot_plugins.spaces.samples:chains",
            "space:darts": "oneshot_plugins.spaces.samples:darts",
            "space:enas": "oneshot_plugins.spaces.samples:enas",
            "space:nasnet": "oneshot_plugins.spaces.samples:nasnet",
            "space:amoebanet": "oneshot_plugins.spaces.samples:amoebanet",
            "space:pnas": "oneshot_plugins.spaces.samples:pnas",
        }
    )


def _cells(name: str, cls: str, summary: str) -> Component:
    return Component("space", name, f"oneshot_plugins.spaces.cell_spaces:{cls}", summary=summary)
