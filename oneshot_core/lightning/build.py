"""``oneshot.search``: from a model and the name of a strategy to a search."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.model_helpers import is_overridden

from ..discovery.registry import Registry, default_registry
from ..errors import StrategyError
from ..hooks import MutationHook
from .module import BaseOneShotLightningModule
from .trees import tree_of

_LOG = logging.getLogger(__name__)
_FIRST = ("self", "model")


def search(
    model: LightningModule,
    strategy: str | type[BaseOneShotLightningModule] = "random",
    *,
    arch_dataloader: Iterable[Any] | None = None,
    mutation_hooks: Sequence[MutationHook] | None = None,
    seed: int | None = None,
    registry: Registry | None = None,
    **options: Any,
) -> BaseOneShotLightningModule:
    """Return a search over the choices in ``model``: what to give to ``Trainer.fit``.

    Args:
        model: a LightningModule with choices; mutated in place.
        strategy: name of an installed strategy (``oneshot plugins list --kind strategy``), or
            a class.
        arch_dataloader: batches for strategies that learn architecture parameters.
        mutation_hooks: asked before the installed ones.
        seed: of everything the search draws. None takes the seed of ``seed_everything``, else 0.
        registry: where plugins are looked up. None takes the default.
        **options: of the strategy; see its class.

    Raises:
        UnknownComponentError: no strategy has that name.
        StrategyError: the strategy does not take one of the options.
        UnsupportedModuleError: no hook handles one of the choices.
        LabelError: one label names two different choices.
    """
    registry = default_registry() if registry is None else registry
    cls = registry.load("strategy", strategy) if isinstance(strategy, str) else strategy
    if not (isinstance(cls, type) and issubclass(cls, BaseOneShotLightningModule)):
        raise StrategyError(
            f"strategy={strategy!r} is {cls!r}",
            expected="a subclass of BaseOneShotLightningModule",
            fix=f"use one of {registry.names('strategy')}",
        )
    given = {"mutation_hooks": mutation_hooks, "seed": seed, "registry": registry, **options}
    if arch_dataloader is not None:
        given["arch_dataloader"] = arch_dataloader
    _check_options(cls, strategy, given)
    made = cls(model, **given)
    overridden = tree_of(model).own(is_overridden)
    later = any(overridden(hook, model) for hook in ("setup", "configure_model"))
    if made.needs_choices and not made.nas_modules and not later:
        # Not raised: needs_choices may still be switched off.
        _LOG.warning(
            "there is no choice in %s: fit, rank, pareto and export will refuse it unless "
            "search.needs_choices = False",
            type(model).__name__,
        )
    return made


def _check_options(cls: type, strategy: object, given: dict[str, Any]) -> None:
    known = _options(cls)
    if known is None:
        return
    unknown = sorted(given.keys() - set(known))
    if unknown:
        raise StrategyError(
            f"the strategy {strategy!r} takes no {', '.join(unknown)}",
            expected=f"{', '.join(known)}",
            fix="leave it out, or choose a strategy that uses it",
        )


def _options(cls: type) -> list[str] | None:
    """Return the names of a constructor's arguments; None if it takes any name."""
    found = list(_parameters(cls))
    rest = [p for p in found if p.kind is p.VAR_KEYWORD]
    if any("Unpack" not in str(p.annotation) for p in rest):
        return None
    return list(dict.fromkeys(p.name for p in found if p not in rest and p.name not in _FIRST))


def takes(cls: type, name: str) -> bool:
    """Say whether a constructor takes an argument, or hands on to one that does."""
    return any(p.name == name for p in _parameters(cls) if p.kind is not p.VAR_KEYWORD)


def _parameters(cls: type) -> Iterator[inspect.Parameter]:
    """Yield a constructor's parameters; where it hands ``**options`` on, also those of the next."""
    for base in cls.__mro__:
        if "__init__" in base.__dict__:
            found = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]
            yield from found
            if not any(p.kind is p.VAR_KEYWORD for p in found):
                return
