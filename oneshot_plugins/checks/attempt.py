"""Let a strategy search in a sample: it works to the end, or is refused before training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from oneshot_core.discovery import Registry
from oneshot_core.errors import StrategyError
from oneshot_core.lightning import BaseOneShotLightningModule

from .case import Sample, require
from .tensors import trace_of
from .trial import Trial, differing, exported, fit, require_honest, searched, state

EPOCHS = 2


@dataclass(frozen=True)
class Attempt:
    """What came of it.

    Args:
        refused: what the strategy raised before training; None if it trained.
        unlearned: labels that have architecture parameters, none of which ever got a gradient.
        learns: whether there are architecture parameters, and all their optimizers got gradients.
    """

    refused: StrategyError | None = None
    unlearned: tuple[str, ...] = ()
    learns: bool = False


def attempt(
    sample: Sample, strategy: Any, registry: Registry, options: Mapping[str, Any], who: str
) -> Attempt:
    """Train a sample, export, freeze with the trained weights, and compare with the supernet.

    Args:
        sample: a choice, or a module with choices.
        strategy: its class.
        registry: where the supernet modules are looked up.
        options: of the strategy.
        who: names the strategy in messages.

    Raises:
        ConformanceError: weights are not trained, the result is not what the supernet computes,
            or a refusal has changed the model or names no fix.
    """
    model = Trial(sample.make(), sample.inputs)
    untouched = trace_of(model)
    try:
        search = searched(model, strategy, registry, options)
    except StrategyError as error:
        _require_clean(error, ["the module tree"] if trace_of(model) != untouched else [], who)
        return Attempt(error)
    before = state(search)
    try:
        with _gradients() as reached:
            fit(search, epochs=EPOCHS)
    except StrategyError as error:
        _require_clean(error, differing(before, state(search)), who)
        return Attempt(error)
    require(
        bool(differing(before, state(search))),
        f"{who} left a model with {type(sample.make()).__name__} untrained",
        "weights that change",
        "let the supernet's output depend on its inputs and weights",
    )
    require_honest(search, exported(search), who)
    for architecture in search.top_k(3):
        require_honest(search, architecture, who)
    return Attempt(unlearned=_unlearned(search, reached), learns=_learns(search, reached))


def _require_clean(error: StrategyError, changed: list[str], who: str) -> None:
    if changed:  # no refusal, but a failure in the middle of training
        raise error
    require(
        "\n  fix:" in str(error),
        f"{who} refuses with {str(error)!r}",
        "a message in three parts, of which the last says what to do",
        "raise StrategyError('what', expected='...', fix='...')",
    )


@contextmanager
def _gradients() -> Iterator[set[int]]:
    """Collect the ids of all parameters that an optimizer steps by a gradient other than 0."""
    reached: set[int] = set()

    def note(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        reached.update(
            id(p)
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None and bool(torch.any(p.grad != 0))
        )

    handle = register_optimizer_step_post_hook(note)
    try:
        yield reached
    finally:
        handle.remove()


def _unlearned(search: BaseOneShotLightningModule, reached: set[int]) -> tuple[str, ...]:
    return tuple(
        decision.spec.label
        for decision in search.decisions
        if decision.spec.size > 1
        and list(decision.parameters())
        and not any(id(p) in reached for p in decision.parameters())
    )


def _learns(search: BaseOneShotLightningModule, reached: set[int]) -> bool:
    ours = filter(search.is_architecture_optimizer, search.trainer.optimizers)
    held = [{id(p) for g in each.param_groups for p in g["params"]} for each in ours]
    return bool(held) and all(reached & each for each in held)
