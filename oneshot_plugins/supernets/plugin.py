"""Offer the supernet modules to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, hookimpl


@hookimpl
def oneshot_components() -> list[Component]:
    return [
        _supernet("layer-choice", "MixedLayer", "LayerChoice", "run the active layers"),
        _supernet("input-choice", "MixedInput", "InputChoice", "reduce the active inputs"),
        _supernet("repeat", "MixedRepeat", "Repeat", "run blocks up to the active depths"),
    ]


def _supernet(name: str, cls: str, handles: str, summary: str) -> Component:
    return Component(
        "supernet",
        name,
        f"oneshot_plugins.supernets.modules:{cls}",
        summary=f"{handles}: {summary}",
        handles=(f"oneshot_core.space:{handles}",),
    )
