"""What `oneshot search` can be told beside model, data, Trainer and the options of a strategy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class RankSettings:
    """How architectures are scored with the weights of a trained supernet.

    Args:
        metric: what `validation_step` logs and architectures are compared by. None: no ranking.
        mode: whether a larger or a smaller metric is better.
        method: `all` architectures, a number of random ones, or the name of a searcher, such as
            `evolution`.
        budget: how many architectures a searcher may score.
        options: of the searcher.
        costs: names of installed costs, to be reported for each architecture.
        inputs: shapes of what costs call the network with, such as 1x3x32x32 or 2x8:int64; the
            model's example_input_array if left out.
        calibration_batches: how many training batches give each architecture its own BatchNorm
            statistics; 0 for those of the whole supernet.
    """

    metric: str | None = None
    mode: Literal["max", "min"] = "max"
    method: str = "all"
    budget: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    costs: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    calibration_batches: int = 16
