"""Offer the costs to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, hookimpl


@hookimpl
def oneshot_components() -> list[Component]:
    return [
        Component(
            "cost",
            "parameters",
            "oneshot_plugins.costs.counts:parameters",
            summary="trainable numbers in the network",
        ),
        Component(
            "cost",
            "macs",
            "oneshot_plugins.costs.counts:macs",
            summary="multiply-accumulate operations of one forward pass",
        ),
    ]
