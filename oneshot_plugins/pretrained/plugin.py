"""Offer what makes pretrained models elastic to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, hookimpl


@hookimpl
def oneshot_components() -> list[Component]:
    return []
