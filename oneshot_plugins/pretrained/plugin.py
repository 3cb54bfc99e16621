"""Offer what makes pretrained models elastic to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, hookimpl


@hookimpl
def oneshot_components() -> list[Component]:
    return [
        Component(
            "importance",
            "activation",
            "oneshot_plugins.pretrained.importance:activation",
            summary="norm of the activations times norm of the weights that they go into",
        ),
        Component(
            "importance",
            "head-output",
            "oneshot_plugins.pretrained.importance:head_output",
            summary="norm of what an item, such as a head, adds to the outputs of its weights",
        ),
        Component(
            "importance",
            "taylor",
            "oneshot_plugins.pretrained.importance:taylor",
            summary="sum of |gradient * weight|: the change of the loss, to first order",
        ),
        Component(
            "importance",
            "magnitude",
            "oneshot_plugins.pretrained.importance:magnitude",
            summary="norm of the weights alone; needs no batches",
        ),
    ]
