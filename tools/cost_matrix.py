"""What strategies do with costs and penalties: small searches that watch their gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import BaseOneShotLightningModule, DecisionTable, LayerChoice, freeze
from oneshot_core.errors import StrategyError
from oneshot_plugins.checks.capabilities import subject_of
from oneshot_plugins.checks.choices import batch, linear
from oneshot_plugins.checks.isolation import isolated
from oneshot_plugins.checks.trial import Trial, completed, fit, loader
from oneshot_plugins.costs.build import cost_table
from oneshot_plugins.costs.table import CostTable
from oneshot_plugins.strategies.penalties import FORMS, AdditiveCost, CostPenalty, Penalty

TABLE: Final[Any] = {
    "first": {"deep": 9.0, "thin": 4.0, "skip": 2.0},
    "second": {"deep": 8.0, "thin": 3.0, "skip": 2.0},
}
"""Costs that add up, in no unit; greater than 1 in sum, for logarithms."""

TARGET: Final = 1.0
"""Below what any architecture costs, so that every form has a slope."""
STRONG: Final = 1e3
"""Scale of a penalty beside which the loss does not count."""
STEP: Final = 1e-6
TOLERANCE: Final = 1e-4
SCALES: Final = (torch.ones(2),)
"""What :func:`small` is called with."""


def small() -> Trial:
    """Return a model of nine architectures, of different costs."""

    def position(label: str, seed: int) -> nn.Module:
        deep = nn.Sequential(linear(seed), nn.Tanh(), linear(seed + 1))
        layers = {"deep": deep, "thin": linear(seed + 2), "skip": nn.Identity()}
        return LayerChoice(layers, label=label)

    body = nn.Sequential(position("first", 0), position("second", 3))
    return Trial(body, lambda: (batch(),))


class Watched:
    """A penalty that compares its gradient with finite differences each time it is asked.

    Args:
        penalty: of decisions.
    """

    def __init__(self, penalty: Penalty) -> None:
        self.penalty = penalty
        self.found: set[str] = set()

    def __call__(self, decisions: DecisionTable) -> Tensor:
        value = self.penalty(decisions)
        scores = [p for p in decisions.parameters() if p.requires_grad]
        if not value.requires_grad or not scores:
            self.found.add("none")
            return value
        gradients = torch.autograd.grad(value, scores, retain_graph=True, allow_unused=True)
        pairs = list(zip(scores, gradients, strict=True))
        if any(g is not None and bool(g.any()) for _, g in pairs):
            exact = all(self._is_slope(decisions, p, g) for p, g in pairs)
            self.found.add("exact" if exact else "estimated")
        return value

    def _is_slope(self, decisions: DecisionTable, p: nn.Parameter, g: Tensor | None) -> bool:
        slopes = torch.zeros_like(p)
        flat = p.data.view(-1)  # data: the graph of the loss must not notice
        for place in range(len(flat)):
            before, sides = flat[place].item(), []
            for sign in (1, -1):
                flat[place] = before + sign * STEP
                sides.append(self.penalty(decisions).detach())
            flat[place] = before
            slopes.view(-1)[place] = (sides[0] - sides[1]) / (2 * STEP)
        found = slopes.new_zeros(slopes.shape) if g is None else g
        largest = float(slopes.abs().max())
        return torch.allclose(found, slopes, rtol=TOLERANCE, atol=TOLERANCE * largest)

    def check(self, space: Any) -> None:
        """Ask the penalty whether it fits."""
        check = getattr(self.penalty, "check", None)
        if check is not None:
            check(space)


def with_cost(strategy: str, cost: str) -> str:
    """Say whether a strategy learns from a cost, or can only rank by it.

    Returns:
        ``"learned"``: a table of the cost is a penalty, whose gradient is that of finite
        differences in every step of a fit, after which the expected cost is lower. Else
        ``"ranked"``. Either way a ranking reports what the frozen networks cost.
    """
    options = dict(subject_of(oneshot.registry, f"cost:{cost}").options()[0])
    with isolated():
        table = table_of(cost)
        watched = Watched(CostPenalty(table, target=TARGET, scale=STRONG))
        try:
            search = _search(strategy, penalties=[watched])
            learned = True
        except StrategyError:
            search = _search(strategy)
            learned = False
        before = float(table.expected(search.decisions).detach())
        fit(search, epochs=2)
        if learned:
            assert watched.found == {"exact"}, (strategy, cost, watched.found)
            assert float(table.expected(search.decisions).detach()) < before, (strategy, cost)
        _require_honest_costs(search, cost, options)
    return "learned" if learned else "ranked"


def with_penalty(strategy: str, of: str) -> str:
    """Say what the gradient of a penalty is in the steps of a fit, in each of its forms.

    Args:
        strategy: its name.
        of: ``"probabilities"`` or ``"sample"``: see :class:`AdditiveCost`.

    Returns:
        ``"exact"``: that of finite differences; ``"estimated"``: another, as straight-through
        ones are; or ``"refused: "`` and the first line of what was raised.
    """
    found: set[str] = set()
    for form in FORMS:
        cost = AdditiveCost(TABLE, of=cast(Any, of))
        watched = Watched(CostPenalty(cost, target=TARGET, scale=STRONG, form=cast(Any, form)))
        found.add(_watched_fit(strategy, watched, penalties=[watched]))
    assert len(found) == 1, (strategy, of, found)
    return found.pop()


def with_factor(strategy: str) -> str:
    """Say the same of a cost that multiplies the loss, given as ``cost=``."""
    watched = Watched(AdditiveCost(TABLE, of="sample"))
    return _watched_fit(strategy, watched, cost=watched)


@cache
def table_of(cost: str) -> CostTable:
    """Return the table of an installed cost for the small model."""
    options = dict(subject_of(oneshot.registry, f"cost:{cost}").options()[0])
    return cost_table(small(), cost, inputs=SCALES, **options)


def _search(strategy: str, **more: Any) -> BaseOneShotLightningModule:
    subject = subject_of(oneshot.registry, f"strategy:{strategy}")
    options: Mapping[str, Any] = {**subject.options()[0], **more}
    search = oneshot.search(small(), strategy, **completed(subject.load(), options))
    search.decisions.double()  # for the differences
    return search


def _watched_fit(strategy: str, watched: Watched, **options: Any) -> str:
    with isolated():
        try:
            search = _search(strategy, **options)
        except StrategyError as error:
            return f"refused: {_general(error, strategy)}"
        fit(search, epochs=2)
    assert watched.found, strategy
    return "estimated" if "estimated" in watched.found else watched.found.pop()


def _general(error: StrategyError, strategy: str) -> str:
    """Return the first line of what was raised, in words for every strategy."""
    return str(error).splitlines()[0].replace(f"strategy {strategy!r}", "strategy")


def _require_honest_costs(
    search: BaseOneShotLightningModule, cost: str, options: Mapping[str, Any]
) -> None:
    function: Callable[..., float] = oneshot.registry.load("cost", cost)
    ranking = search.rank(
        "all", loader(2.0), metric="loss", mode="min", progress=False, costs=[cost], inputs=SCALES
    )
    for entry in ranking:
        alone = function(freeze(search, entry.architecture), *SCALES, **options)
        told = entry.costs[cost]
        assert told > 0 or told == alone, (cost, entry)
        assert told == alone or _varies(cost), (cost, entry)


def _varies(cost: str) -> bool:
    """Whether a plugin declares that equal networks have different numbers: time is measured."""
    declared = subject_of(oneshot.registry, f"cost:{cost}").declared.expected_failures
    return (f"cost:{cost}", "cost.same-network-same-number") in declared
