"""Offer the costs to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, Conformance, hookimpl


@hookimpl
def oneshot_components() -> list[Component]:
    return [
        Component(
            "cost",
            "parameters",
            "oneshot_plugins.costs.counts:parameters",
            summary="trainable numbers in the network",
        ),
        Component(
            "cost",
            "macs",
            "oneshot_plugins.costs.counts:macs",
            summary="multiply-accumulate operations of one forward pass",
        ),
        Component(
            "cost",
            "peak-memory",
            "oneshot_plugins.costs.counts:peak_memory",
            summary="bytes of activations that one forward pass holds at one time",
        ),
        Component(
            "cost",
            "latency",
            "oneshot_plugins.costs.latency:latency",
            summary="microseconds of one forward pass on this machine, the median",
        ),
    ]


@hookimpl
def oneshot_conformance() -> Conformance:
    return Conformance(
        samples={"cost:latency": "oneshot_plugins.costs.samples:latency"},
        expected_failures={
            ("cost:latency", "cost.same-network-same-number"): "time is measured, not counted"
        },
    )
