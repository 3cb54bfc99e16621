"""Run some architectures as supernet and as frozen network: they must compute the same."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial

from torch import nn

from oneshot_core.architecture import Architecture, freeze
from oneshot_core.decision import DecisionTable
from oneshot_core.hooks import MutationHook, no_default_hook
from oneshot_core.model_space import ModelSpace
from oneshot_core.space import Choice
from oneshot_plugins.ranking.guard import difference

from .copies import copy_of
from .feed import Feed
from .probe import AsDeclared, mutate_what_can_be, run
from .report import Finding


def disagreements(
    model: nn.Module,
    space: ModelSpace,
    feed: Feed,
    hooks: Sequence[MutationHook],
    smallest: Mapping[str, Choice],
) -> list[Finding]:
    """Return the first difference between the supernet of a model and a frozen network.

    Two architectures are tried: the smallest, and a random one. Nothing is said about a network
    that cannot be run; that is found elsewhere.

    Args:
        model: stays as it is; copied with its data.
        space: of the model.
        feed: what it is called with, on its device.
        hooks: the installed mutation hooks.
        smallest: an architecture.
    """
    # Not a probe: that hooks every choice, and torch's fused paths are not taken with hooks.
    root = copy_of(model, data=True)
    table = DecisionTable(AsDeclared)
    if mutate_what_can_be(root, [*hooks, no_default_hook], {"decisions": table}):
        return []
    for architecture in (smallest, space.sample(random.Random(0))):
        for decision in table:
            decision.pin(architecture.get(decision.spec.label))
        try:
            found = difference(
                root,
                partial(freeze, root, architecture),
                lambda network: run(network, feed),
            )
        except Exception:
            continue
        if found is not None:
            return [
                Finding(
                    "not-frozen",
                    "the supernet computes something else than the frozen network of "
                    f"{Architecture(architecture)}: {found}",
                    tuple(architecture),
                    at=found.at or "",
                    fix="call layers with choices instead of using their tensors or attributes, "
                    "and keep no state beside parameters and buffers",
                )
            ]
    return []
