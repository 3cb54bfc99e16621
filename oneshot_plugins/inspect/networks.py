"""Freeze some networks of a model space and ask every installed cost what they take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from oneshot_core.architecture import freeze
from oneshot_core.discovery import Registry
from oneshot_core.errors import OneShotError, PluginLoadError
from oneshot_core.model_space import ModelSpace
from oneshot_core.space import Choice
from oneshot_plugins.costs.sizes import Counter, extremes

from .copies import copy_of
from .feed import Fed, Feed
from .memory import weight_bytes
from .probe import condensed, on
from .report import Finding, Network, Sizes


@dataclass
class Networks:
    """Measures networks of ``model``.

    Args:
        model: stays as it is.
        space: of the model.
        registry: where costs are looked up.
        feed: what networks are called with, on its device; None for nothing.
        with_data: the same on the model's device, for what does not run without.
        bare: a copy without data, which is not changed.

    Attributes:
        problems: networks that cannot be frozen.
        warnings: costs that are left out.
    """

    model: nn.Module
    space: ModelSpace
    registry: Registry
    feed: Feed | None
    with_data: Feed | None
    bare: nn.Module
    problems: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    def sizes(self) -> Sizes:
        """Return the smallest, the default and the largest network, with their costs."""
        self.copies = {False: self.bare}
        self.frozen: dict[object, nn.Module] = {}
        self.known: dict[object, float] = {}
        count = Counter(self.bare)
        default = self.space.default()
        smallest, largest, method = extremes(self.space, count)
        networks = [Network(a, count(a), None) for a in (smallest, default, largest)]
        try:
            bytes_of = [weight_bytes(self._frozen(n.architecture, data=False)) for n in networks]
        except OneShotError as error:
            self._cannot_freeze(error)
            return Sizes(networks[0], networks[1], networks[2], method)
        costs = self._costs(default)
        measured = [
            replace(network, weight_bytes=size, costs=self._measured(costs, network.architecture))
            for network, size in zip(networks, bytes_of, strict=True)
        ]
        return Sizes(measured[0], measured[1], measured[2], method)

    def _measured(
        self, costs: Mapping[str, Any], architecture: Mapping[str, Choice]
    ) -> dict[str, float]:
        """Return name -> cost of one network; without those that cannot run it."""
        found = {}
        for name, cost in costs.items():
            with suppress(Exception):  # a network that fails is reported where shapes are checked
                found[name] = self._cost(name, cost, architecture)
        return found

    def _cannot_freeze(self, error: OneShotError) -> None:
        self.problems.append(
            Finding(
                "cannot-freeze",
                f"a network cannot be frozen: {condensed(error)}",
                fix="see the message of oneshot.freeze",
            )
        )

    def _frozen(self, architecture: Mapping[str, Choice], *, data: bool) -> nn.Module:
        key = (data, *architecture.items())
        if key not in self.frozen:
            if data not in self.copies:
                self.copies[data] = copy_of(self.model, data=data)
            self.frozen[key] = freeze(self.copies[data], architecture).eval()
        return self.frozen[key]

    def _costs(self, default: Mapping[str, Choice]) -> dict[str, Any]:
        """Return the costs that can be asked by name.

        A cost with the attribute ``counts = False`` says that it measures; it is not asked.
        """
        usable: dict[str, Any] = {}
        for record in self.registry.ordered("cost"):
            try:
                cost = self.registry.load(record.id)
            except PluginLoadError as error:
                self._left_out(record.name, condensed(error))
                continue
            if getattr(cost, "counts", None) is False:
                continue  # it measures, with data: no matter of an instant
            try:
                value, again = (self._ask(cost, default) for _ in range(2))
            except Exception as error:
                why = condensed(error)
                if self.feed is None:
                    why = "networks were not run"
                self._left_out(record.name, why)
                continue
            if value != again or not math.isfinite(value):
                self._left_out(record.name, f"it is not repeatable: {value}, then {again}")
                continue
            usable[record.name] = cost
            key = (record.name, *default.items())
            self.known[key] = value
        return usable

    def _cost(self, name: str, cost: Any, architecture: Mapping[str, Choice]) -> float:
        key = (name, *architecture.items())
        if key not in self.known:
            self.known[key] = self._ask(cost, architecture)
        return self.known[key]

    def _left_out(self, name: str, why: str) -> None:
        self.warnings.append(Finding("cost-left-out", f"the cost {name!r} is left out: {why}"))

    def _ask(self, cost: Any, architecture: Mapping[str, Choice]) -> float:
        try:
            data = self.feed is not None and self.feed is self.with_data
            return self._called(cost, architecture, self.feed, data=data)
        except Exception:
            if self.with_data is None or self.feed is self.with_data:
                raise
            return self._called(cost, architecture, self.with_data, data=True)

    def _called(
        self, cost: Any, architecture: Mapping[str, Choice], feed: Feed | None, *, data: bool
    ) -> float:
        network = self._frozen(architecture, data=data)
        if feed is None:
            return float(cost(network))
        with on(feed):
            return float(cost(network if feed.plain else Fed(network, feed), *feed.args))
