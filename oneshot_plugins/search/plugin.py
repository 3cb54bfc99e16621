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
        ),
        Component(
            "searcher",
            "nsga2",
            "oneshot_plugins.search.with_optuna:nsga2",
            summary="genetic search for several objectives, sorted by dominance (optuna)",
        ),
        Component(
            "searcher",
            "tpe",
            "oneshot_plugins.search.with_optuna:tpe",
            summary="densities of the good and of the rest, one or more objectives (optuna)",
        ),
    ]
