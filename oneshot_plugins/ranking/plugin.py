"""Offer the methods of a search that score and compare architectures to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, hookimpl


@hookimpl
def oneshot_components() -> list[Component]:
    return [
        Component(
            "search_method",
            "rank",
            "oneshot_plugins.ranking.evaluation:rank",
            summary="score architectures with the weights of the supernet, best first",
        ),
        Component(
            "search_method",
            "pareto",
            "oneshot_plugins.ranking.pareto:pareto",
            summary="look for the architectures that no other one beats in all objectives",
        ),
        Component(
            "search_method",
            "evaluate",
            "oneshot_plugins.ranking.evaluation:evaluate",
            summary="score one architecture by what validation_step logs",
        ),
        Component(
            "search_method",
            "top_k",
            "oneshot_plugins.ranking.top_k:top_k",
            summary="find the most probable architectures, those that keep the constraints",
        ),
    ]
