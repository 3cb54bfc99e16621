"""The rows of the table. Options were set before any result was seen, and not changed after."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from oneshot_plugins.costs.counts import macs
from oneshot_plugins.spaces.chain import OPERATIONS
from oneshot_plugins.strategies.schedules import Schedule

from .networks import TRAINING, WIDTH
from .searches import Configuration, exported, perturbed, ranked, split_in_five

# One step of the architecture and one of the weights: all five candidates, forward and backward.
_MIXED = 2 * TRAINING * len(OPERATIONS)
# The step to the virtual weights is one more, and the second derivative costs two.
_ORDER_2 = 5 * TRAINING * len(OPERATIONS)
# As the demo's: the papers' rates are for 10 to 100 times as many steps.
_LEARNED: dict[str, Any] = {"arc_learning_rate": 1e-2, "weight_decay": 0.0}


def _logits(model: Any, batch: Any) -> Tensor:
    logits: Tensor = model(batch[0])
    return logits


def _accuracy(model: Any, batch: Any) -> Tensor:
    correct: Tensor = model(batch[0]).argmax(1) == batch[1]
    return correct.float().mean()


def _kilo_macs() -> dict[str, dict[str, float]]:
    """Return what each operation costs at each position, plus 1: FBNet takes the logarithm."""
    return {
        f"op{position}": {
            name: 1 + macs(make(WIDTH), torch.zeros(1, WIDTH, length)) / 1000
            for name, make in OPERATIONS.items()
        }
        for position, length in ((1, 20), (2, 20), (3, 10), (4, 10))
    }


def _learned(
    strategy: str, epochs: int, passes: float = _MIXED, halves: bool = True, **options: Any
) -> Configuration:
    return Configuration(strategy, epochs, passes, exported, halves, {**_LEARNED, **options})


CONFIGURATIONS = {
    "random": Configuration("random", 400, TRAINING, ranked),
    "fair": Configuration("fair", 48, len(OPERATIONS) * TRAINING, ranked),
    "sandwich": Configuration(  # four paths, and the teacher's logits
        "sandwich", 56, 4 * TRAINING + 1, ranked, options={"distill": _logits}
    ),
    "shrinking": Configuration("shrinking", 240, TRAINING, ranked),
    "few-shot": Configuration("random", 160, TRAINING, split_in_five),
    "darts": _learned("darts", 60),
    "darts-order-2": _learned("darts", 30, _ORDER_2, order=2),
    "gumbel": _learned("gumbel", 60, temperature=Schedule(1.0, 0.1, "exponential")),
    "snas": _learned("snas", 30, halves=False, temperature=Schedule(1.0, 0.1, "exponential")),
    "gdas": _learned("gdas", 100, 2 * TRAINING, temperature=Schedule(10.0, 0.1)),
    "proxyless": _learned("proxyless", 100, 3 * TRAINING),
    "fbnet": _learned(
        "fbnet", 60, cost=_kilo_macs(), temperature=Schedule(5.0, 0.1, "exponential")
    ),
    "drnas": _learned("drnas", 60),
    "enas": Configuration(
        "enas",
        160,
        TRAINING + 1,
        exported,
        halves=True,
        options={"arc_learning_rate": 3.5e-3, "reward": _accuracy},
    ),
    "darts-perturbed": _learned("darts", 60, perturbation=Schedule(0.03, 0.3)),
    "darts-auxiliary-skip": _learned("darts", 60, auxiliary_skip=Schedule(1.0, 0.0, "cosine")),
    "pc-darts": replace(_learned("darts", 60, warmup_epochs=15), partial_channels=4),
    "darts-pt": Configuration("darts", 60, _MIXED, perturbed, halves=True, options=_LEARNED),
}
"""Name of the row -> how it searches."""
