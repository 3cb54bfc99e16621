"""The manifest: what this package offers. Imports neither torch nor Lightning."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, Conformance, hookimpl

CHOICE = "oneshot_plugin_example.choice:ActivationChoice"


@hookimpl
def oneshot_components() -> list[Component]:
    # The hook choose_activations is no component: those take part in every search, and nobody's
    # model should change because a package was installed. The supernet module is one, since it
    # acts on nothing but the ActivationChoices that somebody put into a model.
    return [
        Component(
            "supernet",
            "example.activation",
            "oneshot_plugin_example.supernet:MixedActivation",
            summary="ActivationChoice: run the active activation functions",
            handles=(CHOICE,),
        )
    ]


@hookimpl
def oneshot_conformance() -> Conformance:
    return Conformance(samples={CHOICE: "oneshot_plugin_example.samples:activation_choices"})
