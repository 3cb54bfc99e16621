"""Offer the command to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, hookimpl


@hookimpl
def oneshot_components() -> list[Component]:
    return [
        Component(
            "command",
            "inspect",
            "oneshot_plugins.inspect.command:inspect",
            summary="show choices, sizes and problems of a model before training",
        )
    ]
