"""Whether strategies can handle a model: by letting each mutate and run a copy of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from oneshot_core.discovery import Registry, import_target
from oneshot_core.errors import PluginLoadError, UnknownComponentError
from oneshot_core.hooks import MutationHook
from oneshot_core.lightning import BaseOneShotLightningModule, search
from oneshot_core.lightning.kit import hooks_in_order, options_of_hooks, takes
from oneshot_core.space import Choice
from oneshot_core.supernet import BaseSuperNetModule

from .copies import already_mutated
from .feed import Feed
from .probe import condensed, located, mutate_what_can_be, run
from .report import Capability, Refusal
from .wrapped import as_lightning_module

MAX_REFUSALS = 10
"""So many failures of a forward pass are looked for."""


@dataclass(frozen=True)
class Trial:
    """What strategies are tried on.

    Args:
        copies: make a copy of the model, each with what it is called with; the first without
            data, if that can be run, and one with data to confirm what fails there.
        default: an architecture that works.
        hooks: the installed mutation hooks.
        registry: where strategies are looked up.
        runs: whether there is anything to run the model with.
    """

    copies: Sequence[Callable[[], tuple[nn.Module, Feed]]]
    default: Mapping[str, Choice]
    hooks: Sequence[MutationHook]
    registry: Registry
    runs: bool

    def of(self, name: str) -> Capability:
        """Return whether the strategy called ``name`` can handle the model.

        Raises:
            UnknownComponentError: there is none.
        """
        try:
            cls = self.registry.load("strategy", name)
            root, _ = self.copies[0]()
            for path, module in already_mutated(root).items():
                why = f"the {type(module).__name__} at {path!r} does not say what it replaced"
                return Capability(name, None, refusals=(Refusal(f"cannot be tried: {why}", path),))
            # On nothing at all: what is wrong here is not the model's fault.
            idle = self._search(cls, nn.Module())
            return self._tried(name, cls, idle)
        except UnknownComponentError:
            raise
        except PluginLoadError as error:
            return Capability(name, None, refusals=(Refusal(condensed(error)),))
        except _NotBuiltError as error:
            return Capability(name, None, refusals=(Refusal(f"cannot be tried: {error}"),))

    def _search(self, cls: Any, model: nn.Module) -> BaseOneShotLightningModule:
        options = declared_options(self.registry, cls)
        try:
            if takes(cls, "arch_dataloader"):
                options.setdefault("arch_dataloader", [None])  # nothing is trained
            options.setdefault("seed", 0)
            return search(as_lightning_module(model), cls, registry=self.registry, **options)
        except Exception as error:
            raise _NotBuiltError(condensed(error)) from error

    def _tried(self, name: str, cls: Any, idle: BaseOneShotLightningModule) -> Capability:
        try:
            built = self._built(cls, 0)
            superposes = any(decision.superposes for decision in built.search.decisions)
            refusals = self._failures(cls, built) if self.runs else []
            return Capability(name, not refusals, superposes, self.runs, tuple(refusals))
        except _NotBuiltError as error:
            # Once more, to find out about every choice and not only the first.
            root, _ = self.copies[0]()
            hooks = hooks_in_order(idle, self.hooks)
            refused = mutate_what_can_be(root, hooks, options_of_hooks(idle))
            superposes = any(decision.superposes for decision in idle.decisions)
            refusals = [Refusal(condensed(r.error), r.path, r.labels) for r in refused]
            return Capability(
                name, False, superposes, refusals=tuple(refusals or [Refusal(str(error))])
            )

    def _failures(self, cls: Any, built: _Built) -> list[Refusal]:
        """Run the strategy's supernet; set what fails to the default and run it again."""
        tries = [built]
        found: list[Refusal] = []
        while len(found) < MAX_REFUSALS:
            if any(self._runs(each) for each in tries):
                return found
            if len(tries) < len(self.copies):  # what fails without data may run with data
                tries.append(self._built(cls, 1))
                continue
            where = located(tries[-1].root, tries[-1].run)
            if where is None:
                return found
            at, error = where
            path, labels = self._set_to_default([each.root for each in tries], at)
            found.append(Refusal(condensed(error), path, labels, at))
            if not labels:
                return found
        return found

    def _runs(self, built: _Built) -> bool:
        try:
            built.run()
        except Exception:
            return False
        return True

    def _built(self, cls: Any, index: int) -> _Built:
        root, feed = self.copies[index]()
        return _Built(root, feed, self._search(cls, root))

    def _set_to_default(self, roots: Sequence[nn.Module], at: str) -> tuple[str, tuple[str, ...]]:
        """Pin the innermost choice around ``at`` that is not pinned; return where it is."""
        parts = at.split(".") if at else []
        for end in range(len(parts), 0, -1):
            path = ".".join(parts[:end])
            labels: tuple[str, ...] = ()
            for root in roots:
                module = root.get_submodule(path)
                if isinstance(module, BaseSuperNetModule):
                    labels += tuple(self._pin(module))
            if labels:
                return path, tuple(dict.fromkeys(labels))
        return "", ()

    def _pin(self, module: BaseSuperNetModule) -> list[str]:
        pinned = []
        for decision in module.decisions:
            if not decision.is_pinned:
                decision.pin(self.default.get(decision.spec.label, decision.spec.default))
                pinned.append(decision.spec.label)
        return pinned


def declared_options(registry: Registry, cls: type) -> dict[str, Any]:
    """Return what a plugin declares to try its strategy with, if it cannot do without options.

    The first options that its hook ``oneshot_conformance`` gives; none if it declares nothing.
    """
    parameters = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
    required = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if not required:
        return {}
    names = [r.id for r in registry.find("strategy") if r.usable and registry.load(r.id) is cls]
    for declared in registry.hook.oneshot_conformance():
        for name in names:
            if name in declared.samples:
                return dict(import_target(declared.samples[name])()[0])  # type: ignore[operator]
    return {}


@dataclass(frozen=True)
class _Built:
    """A search of a strategy on a copy of the model."""

    root: nn.Module
    feed: Feed
    search: BaseOneShotLightningModule

    def run(self) -> object:
        return run(self.root, self.feed)


class _NotBuiltError(Exception):
    """A strategy could not be constructed; the message says why."""
