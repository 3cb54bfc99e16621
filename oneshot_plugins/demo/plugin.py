"""Offer the demo to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, hookimpl


@hookimpl
def oneshot_components() -> list[Component]:
    return [
        Component(
            "command",
            "demo",
            "oneshot_plugins.demo.command:demo",
            summary="search, export, freeze and retrain a network on MNIST-1D",
        )
    ]
