"""Offer the strategies to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, Conformance, hookimpl


@hookimpl
def oneshot_components() -> list[Component]:
    return [
        Component(
            "strategy",
            "random",
            "oneshot_plugins.strategies.uniform:UniformSampling",
            summary="one uniformly drawn path for each batch, then ranking (SPOS)",
        ),
        Component(
            "strategy",
            "darts",
            "oneshot_plugins.strategies.darts:Darts",
            summary="all paths weighted by a softmax that is learned (DARTS, both orders)",
        ),
    ]


@hookimpl
def oneshot_conformance() -> Conformance:
    samples = "oneshot_plugins.strategies.samples:"
    return Conformance(samples={"strategy:darts": samples + "darts"})
