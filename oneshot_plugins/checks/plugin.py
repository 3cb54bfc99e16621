"""Offer ``oneshot plugins check`` and the checks of every kind to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, hookimpl

_CHECKS = {
    "packaging": ("packaging", "how a plugin is packaged"),
    "component": ("components", "any component"),
    "mutation-hook": ("mutation_hooks", "mutation hooks"),
    "supernet": ("supernets", "supernet modules"),
    "elastic": ("elastics", "rules for elastic layers"),
    "adapter": ("adapters", "adapters of pretrained models"),
    "strategy": ("strategies", "strategies"),
    "cost": ("costs", "costs"),
    "space": ("spaces", "model spaces"),
    "searcher": ("searchers", "searchers"),
    "command": ("commands", "commands"),
    "search-method": ("search_methods", "methods of a search"),
    "check": ("own_kind", "checks"),
    "cross": ("pairs", "pairs of a supernet module and a strategy"),
}
"""Scope -> the file of its checks and what they are about, in the order in which they run."""


@hookimpl
def oneshot_components() -> list[Component]:
    return [
        Component(
            "command",
            "plugins.check",
            "oneshot_plugins.checks.command:command",
            summary="import components and check what they promise",
        ),
        *(
            Component(
                "check",
                scope,
                f"oneshot_plugins.checks.kinds.{file}:CHECKS",
                summary=f"what the conformance kit checks of {about}",
                priority=len(_CHECKS) - place,
            )
            for place, (scope, (file, about)) in enumerate(_CHECKS.items())
        ),
    ]
