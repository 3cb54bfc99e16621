"""Offer the command to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, hookimpl


@hookimpl
def oneshot_components() -> list[Component]:
    return [
        Component(
            "command",
            "report",
            "oneshot_plugins.report.command:report",
            summary="one HTML page about a run: probabilities, architecture, ranking, baselines",
        )
    ]
