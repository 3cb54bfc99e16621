"""Offer ``oneshot plugins new`` to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, hookimpl


@hookimpl
def oneshot_components() -> list[Component]:
    return [
        Component(
            "command",
            "plugins.new",
            "oneshot_plugins.scaffold.command:command",
            summary="write a new plugin package",
        )
    ]
