"""Progressive shrinking: what is open in which phase, and that nothing else is drawn."""

from __future__ import annotations

from typing import Any

import pytest

from oneshot_core.errors import StrategyError
from oneshot_plugins.strategies.shrinking import Phase, ProgressiveShrinking

ORDER: Any = {"first": ["skip", "b", "a"], "second": ["skip", "a", "b"]}


class Watched(ProgressiveShrinking):
    """Notes the paths that are trained, by epoch."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.seen: list[tuple[int, Any]] = []

    def draw_paths(self) -> Any:
        paths = super().draw_paths()
        self.seen += [(self.current_epoch, path) for path in paths]
        return paths


def drawn(search: Watched, label: str, epochs: range) -> set[Any]:
    return {path[label] for epoch, path in search.seen if epoch in epochs}


@pytest.mark.verifies("what each phase opens", "shrinking")
def test_phases_open_the_largest_choices_first(net: Any, fit: Any) -> None:
    """Section 3.3: from large sub-networks to small ones, one dimension after another."""
    phases = [Phase(2), Phase(3, {"first": 2}), Phase(9, {"*": None})]
    search = Watched(net(), phases=phases, n_paths=6, order=ORDER, seed=0)
    fit(search, max_epochs=8)
    assert drawn(search, "first", range(2)) == {"a"}
    assert drawn(search, "second", range(5)) == {"b"}
    assert drawn(search, "first", range(2, 5)) == {"a", "b"}
    assert drawn(search, "first", range(5, 8)) == {"a", "b", "skip"}
    assert drawn(search, "second", range(5, 8)) == {"a", "b", "skip"}


def test_without_phases_one_more_choice_opens_in_equal_parts(net: Any) -> None:
    search = ProgressiveShrinking(net(), order=ORDER)
    sizes = [len(search.open_choices(epoch, 9)["first"]) for epoch in range(9)]
    assert sizes == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert search.open_choices(0, 9) == {"first": ["a"], "second": ["b"]}


@pytest.mark.verifies("weights of what is closed", "shrinking")
def test_what_is_closed_is_not_trained(net: Any, fit: Any) -> None:
    phases = [Phase(1), Phase(1, {"*": None})]
    search = ProgressiveShrinking(net(), phases=phases, n_paths=5, order=ORDER, seed=0)
    ran: list[int] = []
    closed = search.model.first.candidates["b"]
    closed.register_forward_hook(lambda *_: ran.append(search.current_epoch))
    fit(search, max_epochs=2)
    assert set(ran) == {1}


@pytest.mark.parametrize(
    "options",
    [
        {"phases": [Phase(2), Phase(2, {"first": None})]},  # second stays closed
        {"phases": [Phase(2), Phase(2, {"*": None, "third": 2})]},  # no such label
        {"phases": [Phase(3), Phase(2, {"*": None})]},  # the last is not reached
        {"order": {"first": ["a"] * 2}},
    ],
)
def test_phases_that_do_not_fit_are_refused_before_training(
    options: Any, net: Any, fit: Any
) -> None:
    with pytest.raises(StrategyError, match="expected"):
        fit(ProgressiveShrinking(net(), **options), max_epochs=3)


def test_too_few_epochs_are_refused(net: Any, fit: Any) -> None:
    with pytest.raises(StrategyError, match="3 phases need as many epochs"):
        fit(ProgressiveShrinking(net()), max_epochs=2)


@pytest.mark.parametrize("options", [{"n_paths": 0}, {"phases": []}, {"phases": [Phase(0)]}])
def test_senseless_options_are_refused(options: Any, net: Any) -> None:
    with pytest.raises(StrategyError, match="n_paths"):
        ProgressiveShrinking(net(), **options)
