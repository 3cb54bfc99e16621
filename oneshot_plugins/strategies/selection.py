"""Ways to select an architecture other than label by label.

``search.export()`` takes what each label prefers by itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Literal

from pytorch_lightning import Trainer

from oneshot_core import Architecture, BaseOneShotLightningModule
from oneshot_core.errors import StrategyError
from oneshot_core.space import Candidate, Choice
from oneshot_plugins.ranking.top_k import most_probable

from .darts import SoftmaxDecision


def select_by_product(search: BaseOneShotLightningModule) -> Architecture:
    """Return the architecture with the largest product of the probabilities of all its choices.

    In a cell of distinct inputs, the strength of an edge is then the probability of its state
    times that of its best operation, and each node takes its strongest edges.

    Args:
        search: any, best of a strategy that learns probabilities.

    Source: Xu et al., "PC-DARTS", arXiv:1907.05737, section 3.3, last paragraph.
    """
    return Architecture(most_probable(search.space, search.decisions, 1)[0], search.space)


def select_by_perturbation(
    search: BaseOneShotLightningModule,
    dataloaders: Any,
    *,
    metric: str,
    mode: Literal["max", "min"] = "max",
    tune: Callable[[BaseOneShotLightningModule], object] | None = None,
    trainer: Trainer | None = None,
    seed: int = 0,
) -> Architecture:
    """Return the architecture of the candidates that the trained supernet misses most.

    One label after another, in random order (what lies inside a candidate after that candidate):
    each of its candidates in turn is given the weight 0, the others keep theirs, and the
    supernet is validated. The one without which it does worst is taken from then on.

    Args:
        search: trained by ``darts``.
        dataloaders: as for ``Trainer.validate``.
        metric: what the user's ``validation_step`` logs.
        mode: whether ``metric`` is better if large (``"max"``) or small.
        tune: trains the supernet further after each label, such as
            ``lambda search: Trainer(max_epochs=5).fit(search, train)``. While it runs, decided
            labels are pinned.
        trainer: validates. None makes one on the search's device that prints nothing.
        seed: of the order of labels.

    Raises:
        StrategyError: a decision is not that of ``darts``, more than one candidate is taken, or
            ``metric`` is not logged.

    Source: Wang et al., "Rethinking Architecture Selection in Differentiable NAS",
    arXiv:2108.04392, section 4 and algorithm 1.
    """
    for decision in search.decisions:
        if type(decision) is not SoftmaxDecision or decision.spec.n_chosen != 1:
            raise StrategyError(
                f"{decision.spec.label!r} cannot be selected by perturbation: "
                f"{type(decision).__name__}, n_chosen={decision.spec.n_chosen}",
                expected="one candidate, weighted by a softmax",
                fix="use the strategy 'darts' and choices of one candidate",
            )
    if trainer is None:
        trainer = Trainer(
            accelerator="auto" if search.device.type != "cpu" else "cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    rng, chosen = random.Random(seed), dict[str, Choice]()
    pinned = {decision: decision.pinned for decision in search.decisions}
    with ExitStack() as stack:
        for decision, before in pinned.items():
            stack.callback(decision.pin, before)
        while True:
            open_ = [spec.label for spec in search.space.active(chosen) if spec.label not in chosen]
            if not open_:
                break
            label = open_[int(rng.random() * len(open_))]
            chosen[label] = _most_missed(search, label, dataloaders, metric, mode, trainer)
            search.decisions[label].pin(chosen[label])
            if tune is not None:
                tune(search)
    return Architecture(search.space.reduce(chosen), search.space)


def _most_missed(
    search: BaseOneShotLightningModule,
    label: str,
    dataloaders: Any,
    metric: str,
    mode: str,
    trainer: Trainer,
) -> Candidate:
    decision = search.decisions[label]
    assert isinstance(decision, SoftmaxDecision)
    candidates = decision.spec.candidates
    if len(candidates) == 1:
        return candidates[0]
    scores: dict[Candidate, float] = {}
    try:
        for candidate in candidates:
            decision.removed = candidate
            scores[candidate] = _validate(search, dataloaders, metric, trainer)
    finally:
        decision.removed = None
    return min(candidates, key=lambda c: scores[c] if mode == "max" else -scores[c])


def _validate(
    search: BaseOneShotLightningModule, dataloaders: Any, metric: str, trainer: Trainer
) -> float:
    found: dict[str, float] = {}
    for logged in trainer.validate(search, dataloaders, verbose=False):
        found |= _plain(logged)
    if metric not in found:
        raise StrategyError(
            f"the validation logged no {metric!r}",
            expected=f"one of {sorted(found)}",
            fix="log it in validation_step",
        )
    return found[metric]


def _plain(logged: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in logged.items()}


__all__ = ["select_by_perturbation", "select_by_product"]
