"""The tables of strategies are what running them gives, and what they name exists."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

import oneshot_core as oneshot
from oneshot_core import DecisionTable, ParameterSpec
from oneshot_plugins.strategies.darts import SoftmaxDecision
from tools.claims import claims, linked, paragraph
from tools.cost_matrix import Watched
from tools.strategies_page import (
    DATA,
    PAGE,
    PENALTIES,
    choice_cell,
    choices,
    cost_cell,
    costs,
    measured,
    page,
    strategies,
)

AGAIN = "run: python -m tools.strategies_page"
FOUND: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
CHOICES = list(FOUND["choices"])

REFUSED = [
    (table, row, column)
    for table in ("choices", "costs")
    for row, cells in FOUND[table].items()
    for column, word in cells.items()
    if word.startswith("refused")
]
SAMPLED = [
    *(("choices", CHOICES[2 * i % len(CHOICES)], name) for i, name in enumerate(strategies())),
    ("costs", "darts", "macs"),
    ("costs", "gdas", "cost of the draw"),
]
"""One choice for each strategy, another for each, and two costs."""


def every(table: str, apart: int) -> list[tuple[str, str, str]]:
    """Return every so many cells of each row, and so of each column, but for those above."""
    found = [
        (table, row, column)
        for i, (row, cells) in enumerate(FOUND[table].items())
        for j, column in enumerate(cells)
        if (i + j) % apart == 0
    ]
    return [cell for cell in found if cell not in {*SAMPLED, *REFUSED}]


LATTICE = [*every("choices", 4), *every("costs", 4)]
"""A strategy does not know which layer asks it, nor a cost which strategy: each row with a quarter
of the columns and each column with a quarter of the rows finds whoever answers otherwise now."""


def run(table: str, row: str, column: str) -> str:
    return choice_cell(row, column) if table == "choices" else cost_cell(row, column)


def test_the_page_is_written_from_the_data() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text, FOUND), AGAIN + " --render"


def test_every_strategy_choice_and_cost_that_is_installed_has_a_row_or_column() -> None:
    assert list(choices()) == CHOICES, AGAIN
    assert list(FOUND["costs"]) == strategies(), AGAIN
    for cells in FOUND["choices"].values():
        assert list(cells) == strategies(), AGAIN
    for cells in FOUND["costs"].values():
        assert list(cells) == [*costs(), *PENALTIES], AGAIN


def test_whatever_is_told_to_be_refused_raises_before_training() -> None:
    assert len(REFUSED) > 20
    assert {cell: run(*cell) for cell in REFUSED} == {
        (table, row, column): FOUND[table][row][column] for table, row, column in REFUSED
    }, AGAIN


@pytest.mark.parametrize(("table", "row", "column"), SAMPLED)
def test_some_cells_are_found_again(table: str, row: str, column: str) -> None:
    assert run(table, row, column) == FOUND[table][row][column], AGAIN


@pytest.mark.slow
@pytest.mark.parametrize(("table", "row", "column"), LATTICE)
def test_a_quarter_of_the_cells_is_found_again(table: str, row: str, column: str) -> None:
    assert run(table, row, column) == FOUND[table][row][column], AGAIN


@pytest.mark.nightly
def test_all_cells_are_found_again() -> None:
    assert measured() == FOUND, AGAIN


def test_every_strategy_has_a_paper_says_what_is_exact_and_is_verified_by_a_test() -> None:
    verified = {name for claim in claims() for name in claim.strategies}
    assert verified == set(strategies()), "name them in @pytest.mark.verifies(what, *strategies)"
    for name in strategies():
        cls = oneshot.registry.load("strategy", name)
        assert "arxiv.org/abs/" in linked(paragraph(cls, "Source")), f"{name}: no paper in Source:"
        assert paragraph(cls, "Exact"), f"{name}: no paragraph 'Exact:' in the docstring"


def test_watched_penalties_tell_slopes_from_other_gradients() -> None:
    table = DecisionTable(SoftmaxDecision)
    table.decide(ParameterSpec("x", ("a", "b")), path="x")
    table.double()

    def cost(decisions: Any) -> torch.Tensor:
        return decisions["x"].probabilities()[0] * 3

    def stopped(decisions: Any) -> torch.Tensor:
        p = decisions["x"].probabilities()
        return p[0] * p[0].detach()  # half of the slope

    for penalty, word in ((cost, "exact"), (stopped, "estimated")):
        watched = Watched(penalty)
        before = [p.clone() for p in table.parameters()]
        assert torch.equal(watched(table), penalty(table))
        assert watched.found == {word}
        assert all(map(torch.equal, before, table.parameters()))
