"""Offer the commands to the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oneshot_core.hookspecs import Component, hookimpl

if TYPE_CHECKING:
    from oneshot_core import BaseOneShotLightningModule

SUMMARIES = {
    "search": "train a supernet from a configuration file and choose an architecture",
    "rank": "score the architectures of a run with the weights of its supernet",
    "freeze": "write the plain network that a run chose, as a state dict",
    "cost": "build and show tables of what architectures cost",
    "export": "write the plain network that a run chose, as ONNX or for torch.export",
}


@hookimpl
def oneshot_components() -> list[Component]:
    return [
        Component("command", name, f"oneshot_plugins.run.{name}:command", summary=summary)
        for name, summary in SUMMARIES.items()
    ]


@hookimpl
def oneshot_fit_started(search: BaseOneShotLightningModule) -> None:
    from .progress import enter_bar  # imports Lightning, which runs already

    enter_bar(search.trainer, search)


@hookimpl
def oneshot_fit_ended(search: BaseOneShotLightningModule) -> None:
    from .progress import leave_bar

    leave_bar(search.trainer)
