"""The walk over the user's module, which replaces the choices in it by supernet modules."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import StrategyError
from ..model_space import ModelSpace
from ..supernet import BaseSuperNetModule, supernet_modules
from ..traversal import traverse_and_mutate_submodules
from .host import Host
from .plugin_hooks import hooks_in_order, options_of_hooks, plugin_hooks
from .trees import tree_of


class Walk:
    """What the walks over the user's module of one search have seen and put there.

    Args:
        search: of any strategy.

    Attributes:
        supernets: the supernet modules in the user's module, each once, parents first.
    """

    def __init__(self, search: Host) -> None:
        self.search = search
        self.supernets: list[BaseSuperNetModule] = []
        self._seen: set[nn.Module] = set()
        self._space: ModelSpace | None = None

    @property
    def space(self) -> ModelSpace:
        """The model space of what was walked over last."""
        if self._space is None:
            self._space = ModelSpace(self.search.model)
        return self._space

    def mutate(self) -> None:
        """Walk over the modules that no walk has seen, and replace the choices in place."""
        search, model = self.search, self.search.model
        if all(module in self._seen for module in model.modules()):
            return
        for path, part in model.named_modules():
            name = type(part).__name__
            tree_of(search).require(part, f"the module {path!r} ({name})" if path else name)
            self._require_own(part, path)
        search.registry.require()
        events = search.registry.hook
        options = options_of_hooks(search)
        events.oneshot_before_mutation(model=model, mutate_kwargs=options)
        traverse_and_mutate_submodules(
            model,
            [self._keep_known, *hooks_in_order(search, plugin_hooks(search.registry))],
            options,
            on_replace=lambda path, original, replacement: events.oneshot_module_replaced(
                path=path, original=original, replacement=replacement
            ),
        )
        self.supernets = list(supernet_modules(model))
        self._seen = set(model.modules())
        self._space = None
        events.oneshot_after_mutation(model=model, nas_modules=list(self.supernets))

    def mutate_early(self) -> None:
        """Walk inside the constructor of a strategy, which asks for the supernet modules."""
        if self._seen:  # a strategy that overrides mutate asks in the middle of it
            return
        try:
            self.search.mutate()
        except AttributeError as error:  # nn.Module would say that there are no nas_modules
            raise StrategyError(
                f"{type(self.search).__name__} asked for nas_modules before it was ready: {error}",
                expected="a constructor that first sets what make_decision and the mutation hooks "
                "read",
                fix="set it before, or ask later",
            ) from error

    def _require_own(self, module: nn.Module, path: str) -> None:
        """Refuse a supernet module of another search: its decisions are not of this one."""
        decisions = self.search.decisions
        if isinstance(module, BaseSuperNetModule) and not all(
            d.spec.label in decisions and decisions[d.spec.label] is d for d in module.decisions
        ):
            raise StrategyError(
                f"the {type(module).__name__} at {path!r} belongs to another search",
                expected="a model that no search has been made of",
                fix="build the model anew; a search replaces the choices in it for good",
            )

    def _keep_known(self, module: nn.Module, name: str, memo: Any, options: Any) -> bool | None:
        return True if module in self._seen else None
