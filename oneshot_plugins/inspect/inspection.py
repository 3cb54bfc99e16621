"""``oneshot.inspect``: what a search would find out the hard way, before any training.

Everything is tried on copies, most of them on torch's meta device: they have the shapes of the
model but no data, so they take no memory and hardly any time.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from oneshot_core.architecture import Search
from oneshot_core.discovery import Registry, default_registry
from oneshot_core.errors import UnsupportedModuleError
from oneshot_core.hooks import MutationHook
from oneshot_core.lightning.kit import isolated_rng, plugin_hooks
from oneshot_core.model_space import ModelSpace
from oneshot_core.space import MutableModule
from oneshot_core.supernet import BaseSuperNetModule
from oneshot_plugins.costs.measured import batch_of

from .agreement import disagreements
from .capability import Trial
from .choices import Places, describe
from .combinations import combinations
from .copies import META, already_mutated, copy_of, device_of
from .feed import Feed, feeds_for
from .memory import activation_bytes, gradient_bytes, weight_bytes
from .networks import Networks
from .probe import AllAtOnce, AsDeclared, Probe, condensed, located
from .report import (
    SCHEMA,
    Capability,
    ChoiceInfo,
    Finding,
    Inspection,
    Memory,
    Network,
    Refusal,
    Sizes,
)
from .shapes import ShapeCheck
from .surprises import surprises

__all__ = [
    "SCHEMA",
    "Capability",
    "ChoiceInfo",
    "Finding",
    "Inspection",
    "Memory",
    "Network",
    "Refusal",
    "Sizes",
    "inspect",
]


def inspect(
    model: nn.Module | Search,
    sample_batch: Any = None,
    *,
    strategies: Sequence[str] | None = None,
    registry: Registry | None = None,
) -> Inspection:
    """Report what can be chosen in ``model``, how large it is, and what does not fit.

    Nothing in ``model`` is changed: neither tensors nor modes, hooks or random states. Copies are
    mutated and run, on the meta device where that is possible. What fails there is confirmed on
    the model's own device, with a copy of its weights, before it is called a problem. Your hooks
    on modules and your ``forward`` do run, on those copies.

    Args:
        model: a model with choices, before or after mutation, or a search.
        sample_batch: what ``forward`` is called with: a tensor, a tuple of arguments, a dict of
            arguments by name, or a batch whose first element is the input. None takes
            ``example_input_array`` of a LightningModule; without that nothing is run, and shapes
            are not checked. A LightningModule without ``forward`` gets it in ``training_step``.
        strategies: names to report on; None for all that are installed. It is a problem if one
            that is named here cannot handle the model.
        registry: where plugins are looked up. None takes the default.

    Raises:
        UnsupportedModuleError: the model is itself a choice.
        InspectionError: ``forward`` does not accept the sample batch, a module cannot be copied,
            or has no shape before its first batch.
        LabelError: one label names two different choices.
        SpaceError: nothing keeps the constraints.
        UnknownComponentError: a strategy has another name.
    """
    root = model.model if isinstance(model, Search) else model
    if isinstance(root, (MutableModule, BaseSuperNetModule)):
        raise UnsupportedModuleError(
            f"the model is itself a choice: {type(root).__name__}",
            expected="a module that holds its choices as submodules",
            fix="wrap it, for example in nn.Sequential",
        )
    known = default_registry() if registry is None else registry
    names = [strategies] if isinstance(strategies, str) else strategies
    with isolated_rng(root), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what running copies warns about is said by the real run
        return _Inspector(root, known, names).inspect(feeds_for(root, sample_batch))


class _Inspector:
    """Collects what the parts of an inspection find."""

    def __init__(
        self, root: nn.Module, registry: Registry, strategies: Sequence[str] | None
    ) -> None:
        self.root = root
        self.registry = registry
        self.strategies = strategies
        self.problems: list[Finding] = []
        self.warnings: list[Finding] = []
        self.hooks = self._installed_hooks()
        self.device = device_of(root)
        self.runs_on = META
        self.original_feed: Feed | None = None
        self.with_data: Feed | None = None
        self.activations: int | None = None
        self.output: Any = None
        self.bare = copy_of(root, data=False)
        self.space = ModelSpace(self.bare)

    def _installed_hooks(self) -> list[MutationHook]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            hooks = list(plugin_hooks(self.registry))
        self.warnings += [Finding("plugin", condensed(Warning(w.message))) for w in caught]
        return hooks

    def inspect(self, feeds: Sequence[Feed]) -> Inspection:
        places = Places(self.bare)
        choices = describe(self.space, places)
        probe = self._running(feeds)
        feed = None if probe is None else probe.feed
        if probe is None and not feeds:
            self.warnings.append(
                Finding(
                    "no-sample",
                    "there is no sample batch, so nothing was run: shapes, costs that run the "
                    "network, and activations are not known",
                    fix="pass what forward is called with",
                )
            )
        networks = Networks(self.root, self.space, self.registry, feed, self.with_data, self.bare)
        sizes = networks.sizes()
        self.problems += networks.problems
        memory = self._memory(sizes, probe)
        if probe is not None:
            confirm = self._confirming()
            check = ShapeCheck(self.space, probe, confirm, self._superposed)
            check.run(self.output)
            self.problems += check.problems
            self.warnings += check.warnings
            known = [{p.labels[0]: p.choice} for p in check.problems]
            first = [sizes.smallest.architecture, sizes.largest.architecture]
            self.problems += combinations(self.space, probe, confirm, known, first)
            if self.with_data is not None:
                self.problems += disagreements(
                    self.root, self.space, self.with_data, self.hooks, first[0]
                )
        capabilities = self._capabilities(probe)
        self.warnings += [*networks.warnings, *surprises(self.bare, self.space, places)]
        return Inspection(
            model=type(self.root).__name__,
            choices=choices,
            architectures=None if self.space.size == math.inf else self.space.size,
            constraints=tuple(map(repr, self.space.constraints)),
            sizes=sizes,
            memory=memory,
            fed="" if feed is None else str(feed),
            device="" if probe is None else str(self.runs_on),
            capabilities=capabilities,
            problems=tuple(self.problems),
            warnings=tuple(self.warnings),
            batch=None if feed is None else batch_of([*feed.args, *feed.kwargs.values()]),
        )

    # --- running copies -----------------------------------------------------------------------

    def _probe(self, feed: Feed, *, data: bool, decision: Any = AsDeclared) -> Probe:
        root = copy_of(self.root, data=data)
        return Probe(root, feed.to(self.device if data else META), self.hooks, decision)

    def _running(self, feeds: Sequence[Feed]) -> Probe | None:
        """Return a probe that runs the default architecture; note a problem if none does."""
        default = self.space.default()
        why: tuple[str, Exception] | None = None
        feed = Feed()
        probe = None
        for feed in feeds:
            failed: Exception | None = None
            for data in (False, True) if self.device != META else (False,):
                probe = self._probe(feed, data=data)
                probe.pin(default)
                try:
                    self.activations, self.output = activation_bytes(probe)
                except Exception as error:
                    failed = failed or error
                    why = located(probe.root, probe.run) or ("", error)
                    continue
                if data:
                    self.runs_on = self.device
                    self._say_that_data_was_needed(failed)
                self.original_feed = feed
                self.with_data = probe.feed if data else None
                if not data and self.device != META:
                    self.with_data = feed.to(self.device)
                self._note_unhandled(probe)
                return probe
        self._note_unhandled(probe or self._probe(feed, data=False))
        if why is not None:
            at, cause = why
            self.problems.append(
                Finding(
                    "default-fails",
                    f"the default network cannot be run with {feed}; it fails at "
                    f"{at or 'the model itself'!r}: {condensed(cause)}",
                    at=at,
                    fix="correct the model, or pass what forward is called with",
                )
            )
        return None

    def _note_unhandled(self, probe: Probe) -> None:
        self.problems += [
            Finding(
                "unhandled",
                condensed(refused.error),
                refused.labels,
                refused.path,
                fix="install the plugin that handles it (oneshot plugins list --kind supernet)",
            )
            for refused in probe.refused
        ]

    def _say_that_data_was_needed(self, error: Exception | None) -> None:
        why = "" if error is None else f": {condensed(error)}"
        self.warnings.append(
            Finding(
                "real-device",
                f"the model cannot be run on the meta device, so copies of it were run on "
                f"{self.device}{why}",
            )
        )

    def _confirming(self) -> Callable[[], Probe | None]:
        made: list[Probe] = []

        def confirm() -> Probe | None:
            if self.runs_on != META or self.device == META:
                return None
            if not made:
                assert self.original_feed is not None
                made.append(self._probe(self.original_feed, data=True))
            return made[0]

        return confirm

    def _superposed(self) -> Probe:
        if not hasattr(self, "_all_at_once"):
            assert self.original_feed is not None
            data = self.runs_on != META
            self._all_at_once = self._probe(self.original_feed, data=data, decision=AllAtOnce)
        return self._all_at_once

    # --- parts of the report --------------------------------------------------------------------

    def _memory(self, sizes: Sizes, probe: Probe | None) -> Memory:
        memory = Memory(
            weight_bytes(self.bare), gradient_bytes(self.bare), sizes.largest.weight_bytes
        )
        if probe is None:
            return replace(memory, note="nothing was run")
        memory = replace(memory, default_activations=self.activations)
        if already_mutated(self.bare):
            return replace(memory, note="the model is mutated already")
        superposed = self._superposed()
        if superposed.refused:
            first = superposed.refused[0]
            return replace(
                memory, note=f"not superposed: {first.path!r} refuses: {condensed(first.error)}"
            )
        try:
            return replace(memory, superposed_activations=activation_bytes(superposed)[0])
        except Exception as error:
            return replace(memory, note=f"not superposed: {condensed(error)}")

    def _capabilities(self, probe: Probe | None) -> tuple[Capability, ...]:
        def copies(feed: Feed | None, data: bool) -> Callable[[], tuple[nn.Module, Feed]]:
            device = self.device if data else META
            moved = Feed() if feed is None else feed.to(device)
            return lambda: (copy_of(self.root, data=data), moved)

        sides = [False, True] if self.runs_on == META and self.device != META else [False]
        if self.runs_on != META:
            sides = [True]
        trial = Trial(
            [copies(self.original_feed, data) for data in sides],
            self.space.default(),
            self.hooks,
            self.registry,
            runs=probe is not None,
        )
        names = self.registry.names("strategy") if self.strategies is None else self.strategies
        found = [trial.of(name) for name in names]
        self._judge(found)
        return tuple(map(self._with_failing_candidates, found))

    def _judge(self, found: Sequence[Capability]) -> None:
        for capability in found:
            named = self.strategies is not None
            reasons = "; ".join(r.reason for r in capability.refusals)
            if capability.able is None:
                self.warnings.append(
                    Finding("strategy-not-tried", f"{capability.strategy!r} {reasons}")
                )
            elif not capability.able and named:
                first = capability.refusals[0]
                self.problems.append(
                    Finding(
                        "strategy",
                        f"the strategy {capability.strategy!r} cannot handle the model: {reasons}",
                        first.labels,
                        first.path,
                        at=first.at,
                        fix=f"use a strategy that can, or change {first.path or 'the model'!r}",
                    )
                )
        tried = [capability for capability in found if capability.able is not None]
        if tried and not any(c.able for c in tried) and not self.problems:
            self.problems.append(
                Finding(
                    "no-strategy",
                    "no installed strategy can handle the model: "
                    + "; ".join(f"{c.strategy}: {c.refusals[0].reason}" for c in tried),
                    fix="change what they refuse, or install another strategy",
                )
            )

    def _with_failing_candidates(self, capability: Capability) -> Capability:
        """Add what no strategy can train to what this one refuses."""
        if capability.able is None:
            return capability
        known = {refusal.path for refusal in capability.refusals}
        more = tuple(
            Refusal(problem.message, problem.path, problem.labels, problem.at)
            for problem in self.problems
            if problem.kind.endswith("-fails") and (not problem.path or problem.path not in known)
        )
        return replace(
            capability, able=capability.able and not more, refusals=(*capability.refusals, *more)
        )
