"""The state of a search in a checkpoint: one entry of plain data and tensors beside the user's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ..architecture import SpaceRecord
from ..errors import StrategyError

if TYPE_CHECKING:
    from .module import BaseOneShotLightningModule

CHECKPOINT_KEY: Final = "oneshot"
CHECKPOINT_SCHEMA: Final = "oneshot.search/1"


def search_state(search: BaseOneShotLightningModule) -> dict[str, Any]:
    """Return what a resumed search needs to go on as if it had not stopped."""
    batches = search.architecture_batches
    return {
        "schema": CHECKPOINT_SCHEMA,
        "strategy": type(search).__name__,
        "seed": search.seed,
        "space": {"fingerprint": search.space.fingerprint, "parameters": search.space.describe()},
        "decisions": {d.spec.label: d.state_dict() for d in search.decisions},
        "architecture_batches": batches.drawn if batches else 0,
        "state": search.strategy_state(),
    }


def load_search_state(search: BaseOneShotLightningModule, saved: Mapping[str, Any]) -> None:
    """Take back what :func:`search_state` returned.

    Raises:
        StrategyError: it was saved by another strategy or schema.
        ArchitectureError: it was saved by a search over another model space.
    """
    expected = (CHECKPOINT_SCHEMA, type(search).__name__)
    if (saved.get("schema"), saved.get("strategy")) != expected:
        raise StrategyError(
            f"the checkpoint holds a search of {saved.get('strategy')!r}, "
            f"schema {saved.get('schema')!r}.\n"
            f"  expected: {expected[1]!r}, schema {expected[0]!r}\n"
            "  fix: go on with the strategy and version that wrote it, or load its "
            "state_dict alone"
        )
    space = saved["space"]
    SpaceRecord(space["fingerprint"], space["parameters"]).require(
        search.space, what="the checkpoint"
    )
    search.seed = saved["seed"]
    for decision in search.decisions:
        decision.load_state_dict(saved["decisions"][decision.spec.label])
    if search.architecture_batches is not None:
        search.architecture_batches.seed = search.seed
        search.architecture_batches.rewind(saved["architecture_batches"])
    search.load_strategy_state(saved["state"])
