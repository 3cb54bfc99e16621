"""Offer the searchers to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, hookimpl


@hookimpl
def oneshot_components() -> list[Component]:
    return [
        Component(
            "searcher",
            "evolution",
            "oneshot_plugins.search.evolution:evolution",
            summary="regularised evolution: mutate winners of tournaments, forget the oldest",
        )
    ]
