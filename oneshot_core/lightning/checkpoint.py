"""The state of a search in a checkpoint: one entry of plain data and tensors beside the user's."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final

from ..architecture import SpaceRecord
from ..discovery.registry import Registry
from ..errors import CheckpointError, OneShotError, StrategyError
from ..terminal import printable
from .host import Host

CHECKPOINT_KEY: Final = "oneshot"
CHECKPOINT_SCHEMA: Final = "oneshot.search/1"


def search_state(search: Host) -> dict[str, Any]:
    """Return what a resumed search needs to go on as if it had not stopped."""
    batches = search.architecture_batches
    return {
        "schema": CHECKPOINT_SCHEMA,
        "strategy": type(search).__name__,
        "seed": search.seed,
        "space": {"fingerprint": search.space.fingerprint, "parameters": search.space.describe()},
        "decisions": {d.spec.label: d.state_dict() for d in search.decisions},
        "architecture_batches": batches.drawn if batches else 0,
        "plugins": _plugins(search.registry),
        "state": search.strategy_state(),
    }


def require_search(saved: Mapping[str, Any], path: object, model: object, cls: type) -> None:
    """Raise StrategyError unless the checkpoint from ``path`` holds the state of a search."""
    if CHECKPOINT_KEY not in saved:
        raise StrategyError(
            f"{path!r} holds no search",
            expected=f"a checkpoint of {cls.__name__}",
            fix=f"load it with {type(model).__name__}.load_from_checkpoint",
        )


def load_search_state(search: Host, saved: Mapping[str, Any]) -> None:
    """Take back what :func:`search_state` returned.

    Raises:
        CheckpointError: it is not what :func:`search_state` returned.
        StrategyError: it was saved by another strategy or schema.
        ArchitectureError: it was saved by a search over another model space.

    Warns:
        RuntimeWarning: other plugins, or other versions of them, are in use now.
    """
    try:
        _load(search, saved)
    except OneShotError:
        raise
    except Exception as error:  # whatever the file holds in the place of what belongs there
        raise CheckpointError(
            f"the search in the checkpoint is damaged: {error!r}",
            expected="what a search of this strategy and model space wrote",
            fix="go on from another checkpoint, or load its state_dict alone",
        ) from error
    plugins = {str(name): printable(str(said)) for name, said in saved.get("plugins", {}).items()}
    _compare_plugins(plugins, _plugins(search.registry))


def _load(search: Host, saved: Mapping[str, Any]) -> None:
    expected = (CHECKPOINT_SCHEMA, type(search).__name__)
    if (saved.get("schema"), saved.get("strategy")) != expected:
        raise StrategyError(
            f"the checkpoint holds a search of {saved.get('strategy')!r}, schema "
            f"{saved.get('schema')!r}",
            expected=f"{expected[1]!r}, schema {expected[0]!r}",
            fix="go on with the strategy and version that wrote it, or load its state_dict alone",
        )
    kinds = {"seed": int, "decisions": Mapping, "plugins": Mapping, "state": Mapping}
    for name, kind in kinds.items():
        if not isinstance(saved.get(name, {}), kind):
            raise TypeError(f"{name!r} is a {type(saved.get(name)).__name__}")
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


def _plugins(registry: Registry) -> dict[str, str]:
    """Return component -> distribution and version, for all that can influence a search."""
    return {
        record.id: f"{record.provider} {record.version}".strip()
        for record in registry.ordered()
        if record.kind != "command"
    }


def _compare_plugins(then: Mapping[str, str], now: Mapping[str, str]) -> None:
    if not then or then == now:
        return
    none = "not installed"
    lines = [
        f"    {name}: {then.get(name, none)} then, {now.get(name, none)} now\n"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
    warnings.warn(
        "the checkpoint was written with other plugins; the search may go on differently:\n"
        + "".join(lines)
        + "  fix: install the same versions, or switch plugins off with ONESHOT_DISABLE_PLUGINS",
        RuntimeWarning,
        stacklevel=2,
    )
