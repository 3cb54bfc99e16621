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
        )
    ]


@hookimpl
def oneshot_conformance() -> Conformance:
    return Conformance(samples={"space:mnist1d-chain": "oneshot_plugins.spaces.samples:chains"})
