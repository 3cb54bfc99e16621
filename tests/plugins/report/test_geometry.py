"""Where things are drawn: scales, lines, names, fronts, chains and cells."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest

import oneshot_core as oneshot
from oneshot_core import Architecture, ModelSpace
from oneshot_core.decision import Decision
from oneshot_core.space import ParameterSpec
from oneshot_plugins.report import text
from oneshot_plugins.report.cells import cells
from oneshot_plugins.report.chain import WIDTH, columns, rows
from oneshot_plugins.report.clouds import clouds, difference, names
from oneshot_plugins.report.curves import svg
from oneshot_plugins.report.folder import Baseline, Point, Scores, read_run
from oneshot_plugins.report.movement import (
    entropies,
    entropy_panel,
    metric_panels,
    panels,
    preferred,
)
from oneshot_plugins.report.plots import Scale, apart, staircase, thinned


@pytest.mark.parametrize(
    ("values", "log"),
    [([0.1, 0.9], False), ([3.0, 3.0], False), ([0.0, 0.0], False), ([1.0, 5e6], True)],
)
def test_a_scale_holds_its_values_and_has_round_ticks(values: list[float], log: bool) -> None:
    scale = Scale.around(values)
    assert scale.log == log
    assert all(0 < scale(value) < 100 for value in values)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 8
    assert all(0 <= place <= 100 for place, _ in ticks)
    assert [place for place, _ in ticks] == sorted(place for place, _ in ticks)
    assert len({label for _, label in ticks}) == len(ticks)


def test_a_scale_that_multiplies_has_powers_of_ten() -> None:
    scale = Scale(1.0, 1e4, log=True)
    assert scale.ticks() == [(0, "1"), (25, "10"), (50, "100"), (75, "1,000"), (100, "10k")]


def test_names_beside_lines_do_not_cover_each_other() -> None:
    rng = random.Random(0)
    for _ in range(300):
        wanted = sorted((rng.uniform(0, 100) for _ in range(rng.randrange(1, 5))), reverse=True)
        placed = apart(wanted, 15.0)
        assert all(a - b >= 15.0 - 0.02 for a, b in itertools.pairwise(placed))
        assert min(placed) >= 0
    assert apart([90.0, 50.0], 15.0) == [90.0, 50.0]


def test_long_lines_are_thinned_and_keep_their_ends() -> None:
    assert thinned(5, 60) == [0, 1, 2, 3, 4]
    kept = thinned(1000, 60)
    assert len(kept) == 60
    assert (kept[0], kept[-1]) == (0, 999)


def test_a_staircase_goes_across_and_up_then() -> None:
    assert staircase([(5, 2), (1, 1)]) == [(1, 1), (5, 1), (5, 2)]
    assert staircase([(5, 1), (1, 2)], leftwards=True) == [(5, 1), (1, 1), (1, 2)]


# --- how the probabilities moved ------------------------------------------------------------


def test_a_panel_draws_the_winner_before_the_others(folder: Any) -> None:
    run = read_run(folder().record().history().path)
    found = {panel.title: panel for panel in panels(run.history)}
    assert "p" not in found  # an interval
    kernel = found["kernel"]
    assert kernel.winner == [(0, 50), (33.3, 63.3), (66.7, 76.7), (100, 90)]
    assert kernel.others == [[(0, 50), (33.3, 36.7), (66.7, 23.3), (100, 10)]]
    assert [(n.text, n.value, n.wins) for n in kernel.names] == [
        ("(1)", "90%", True),
        ("(3)", "10%", False),
    ]
    assert kernel.moved == pytest.approx(0.4)
    assert {panel.high for panel in found.values()} == {"1"}


def test_entropy_is_that_of_a_decision(folder: Any) -> None:
    class Known(Decision):
        def __init__(self, spec: ParameterSpec, p: list[float]) -> None:
            super().__init__(spec)
            self.p = p

        def mixture(self) -> Any:
            raise NotImplementedError

        def probabilities(self) -> Any:
            import torch

            return torch.tensor(self.p, dtype=torch.float64)

    made = folder().record().history()
    run = read_run(made.path)
    means = entropies(run.history, run.record["space"]["parameters"])
    for epoch, mean in zip(run.history.epochs, means, strict=True):
        each = [
            Known(made.space.specs[label], list(p)).entropy()
            for label, p in epoch.probabilities.items()
        ]
        assert mean == pytest.approx(sum(each) / len(each))
    panel = entropy_panel(run.history, run.record["space"]["parameters"])
    assert (panel.low, panel.high) == ("0", "1")
    assert panel.winner[0] == (0, 100)


def test_metrics_are_drawn_without_what_is_not_finite(folder: Any) -> None:
    (panel,) = metric_panels(read_run(folder().record().history().path).history)
    assert (panel.title, panel.ends) == ("val_acc", ("epoch 1", "3"))
    assert panel.names[0].value == "0.6"


def test_what_is_preferred_is_the_most_probable_if_anything_moved(folder: Any) -> None:
    run = read_run(folder().record().history().path)
    found = preferred(run.history, run.record["space"]["parameters"])
    assert found["kernel"] == (1,)
    assert found["pair"] == [0, 1]
    still = read_run(folder(name="still").record().history(moves=False).path)
    assert preferred(still.history, still.record["space"]["parameters"]) == {}


# --- scored architectures -------------------------------------------------------------------


Pairs = list[tuple[float, float]]


def some_pairs(seed: int) -> Pairs:
    rng = random.Random(seed)
    return [(rng.randrange(6) + 1.0, rng.randrange(6) + 1.0) for _ in range(12)]


def unbeaten(pairs: Pairs, right: int, up: int) -> set[tuple[float, float]]:
    return {
        (x, y)
        for x, y in pairs
        if not any(
            right * a >= right * x and up * b >= up * y and (a, b) != (x, y) for a, b in pairs
        )
    }


def ranked(pairs: Pairs, mode: str = "max") -> Scores:
    points = [Point({"a": i}, {"y": y, "x": x}, False) for i, (x, y) in enumerate(pairs)]
    return Scores({"y": mode}, ["x"], points, 0)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_ranking_shows_what_no_other_beats_in_score_and_cost(mode: str) -> None:
    for seed in range(100):
        pairs = some_pairs(seed)
        (cloud,) = clouds(ranked(pairs, mode), None)
        best = unbeaten(pairs, -1, 1 if mode == "max" else -1)
        assert set(cloud.front) == {
            place for place, pair in zip(cloud.places, pairs, strict=True) if pair in best
        }
        assert set(cloud.front) <= set(cloud.stairs)


@pytest.mark.parametrize("x_mode", ["min", "max"])
@pytest.mark.parametrize("y_mode", ["min", "max"])
def test_the_line_along_a_front_parts_what_is_dominated_from_the_rest(
    x_mode: str, y_mode: str
) -> None:
    right, up = (1 if mode == "max" else -1 for mode in (x_mode, y_mode))
    for seed in range(50):
        pairs = some_pairs(seed)
        best = unbeaten(pairs, right, up)
        points = [Point({}, {"y": y, "x": x}, (x, y) in best) for x, y in pairs]
        (cloud,) = clouds(Scores({"y": y_mode, "x": x_mode}, ["x"], points, 0), None)
        assert set(cloud.front) <= set(cloud.stairs)
        for a, b in cloud.stairs:  # no point lies beyond a corner in both directions
            assert not any(right * x > right * a and up * y > up * b for x, y in cloud.places)


def test_a_front_is_taken_as_it_is_and_has_a_line_for_two_objectives_only() -> None:
    points = [
        Point({}, {"y": 3.0, "x": 1.0, "z": 1.0}, False),  # breaks a constraint
        Point({}, {"y": 2.0, "x": 2.0, "z": 1.0}, True),
        Point({}, {"y": 1.0, "x": 3.0, "z": 0.5}, True),
    ]
    three = Scores({"y": "max", "x": "min", "z": "min"}, ["x", "z"], points, 0)
    for cloud in clouds(three, None):
        assert cloud.front == cloud.places[1:]
        assert cloud.stairs == []
    constrained = Scores({"y": "max", "x": "min"}, ["x", "z"], points, 0)
    over_x, over_z = clouds(constrained, None)
    assert over_x.stairs[0] == over_x.places[1]
    assert over_z.front == over_z.places[1:]
    assert over_z.stairs == []


def test_without_costs_scores_are_drawn_over_places() -> None:
    points = [Point({"a": i}, {"y": 1.0 - i / 10}, False) for i in range(5)]
    (cloud,) = clouds(Scores({"y": "max"}, [], points, 0), {"a": 3})
    assert cloud.x == "place in the ranking"
    assert not cloud.front
    assert [(m.text, (m.x, m.y)) for m in cloud.marks] == [("chosen", cloud.places[3])]


def test_baselines_are_marked_where_they_have_both_numbers() -> None:
    beside = [Baseline("b", {"x": 30.0, "y": 9.0}, None, None), Baseline("c", {"y": 1.0}, None, {})]
    (cloud,) = clouds(ranked([(1.0, 1.0), (2.0, 2.0)]), None, beside)
    assert [(m.text, m.kind) for m in cloud.marks] == [("best", "chosen"), ("b", "baseline")]
    assert cloud.marks[1].x < 100


def test_names_of_points_are_kept_once() -> None:
    points = [
        Point({"a": "conv", "b": [0, 2]}, {"y": 1.0}, False),
        Point({"a": "skip"}, {"y": 0.5}, False),
    ]
    assert names(Scores({"y": "max"}, [], points, 0)) == {
        "labels": ["a", "b"],
        "texts": [["conv", "skip"], ["0+2"]],
        "points": [[0, 0], [1, -1]],
        "quantities": ["y"],
        "values": [["1"], ["0.5"]],
    }
    assert difference(points[0].architecture, points[1].architecture) == "a skip, b not asked"


# --- chains and cells -----------------------------------------------------------------------


def test_a_chain_leads_through_what_is_chosen(folder: Any) -> None:
    made = folder()
    chosen = {"<script>alert(1)</script>odd": "b", "pair": [0, 2], "p": 0.25, "kernel": (3,)}
    run = read_run(made.record().path)
    found = rows(run.record["space"], chosen, {"kernel": [0.25, 0.75]})
    by_label = {row.label: row for row in found}
    assert not by_label["inner"].active
    assert [o.chosen for o in by_label["pair"].options] == [True, False, True]
    assert [o.text for o in by_label["p"].options] == ["0.25 of 0 to 0.5"]
    assert [(o.text, o.chosen, o.probability) for o in by_label["kernel"].options] == [
        ("(1)", False, 0.25),
        ("(3)", True, 0.75),
    ]
    (column,) = columns(found)
    middles = {
        line.row.label: [b.x + b.width / 2 for b in line.boxes if b.option.chosen]
        for line in column.lines
    }
    active = [line.row.label for line in column.lines if line.row.active]
    expected = [
        (one, other)
        for above, below in itertools.pairwise(active)
        for one in middles[above]
        for other in middles[below]
    ]
    assert [(c[0][0], c[3][0]) for c in column.links] == [
        (pytest.approx(a, abs=0.1), pytest.approx(b, abs=0.1)) for a, b in expected
    ]
    assert svg(column.links[0]).startswith(f"M{column.links[0][0][0]:g} ")


def test_a_row_that_is_too_wide_keeps_what_is_chosen() -> None:
    names_ = [f"operation-{i}" for i in range(40)]
    space = {"parameters": {"a": {"candidates": names_, "n_chosen": 1}}, "places": []}
    (column,) = columns(rows(space, {"a": "operation-37"}, {}))
    (line,) = column.lines
    assert [b.option.text for b in line.boxes if b.option.chosen] == ["operation-37"]
    assert line.boxes[-1].option.text == f"+{40 - (len(line.boxes) - 1)}"
    assert "operation-36" in line.boxes[-1].option.full
    assert sum(b.width for b in line.boxes) <= WIDTH


def space_of(name: str) -> tuple[ModelSpace, dict[str, Any]]:
    space = ModelSpace(oneshot.registry.load("space", name)())
    drawn = Architecture(space.sample(random.Random(3)), space)
    # As folder.py reads it: lists where several are taken.
    return space, {
        label: list(c) if space.specs[label].n_chosen != 1 else c for label, c in drawn.items()
    }


@pytest.mark.parametrize("name", ["darts", "nas-bench-201", "enas"])
def test_every_operation_of_a_cell_is_an_arc(name: str) -> None:
    space, chosen = space_of(name)
    parameters = space.describe()
    found = cells(parameters, chosen)
    assert frozenset().union(*(cell.labels for cell in found)) == parameters.keys()
    drawn = sorted(text for cell in found for arc in cell.arcs for text, _, _ in arc.texts)
    operations = [c for label, c in chosen.items() if "/input" not in label]
    assert drawn == sorted(map(str, operations))
    for cell in found:
        places = [(arc.curve[0][0], arc.curve[3][0]) for arc in cell.arcs]
        assert all(start < end for start, end in places)
        assert len(set(places)) == len(places)
        assert all(0 <= y <= cell.height for arc in cell.arcs for _, _, y in arc.texts)


def test_two_operations_on_one_edge_are_written_below_each_other() -> None:
    parameters = {
        f"c/{kind}_1_{k}": {"candidates": [0] if kind == "input" else ["x", "y"], "n_chosen": 1}
        for kind in ("input", "op")
        for k in (0, 1)
    }
    chosen = {"c/input_1_0": 0, "c/input_1_1": 0, "c/op_1_0": "x", "c/op_1_1": "y"}
    ((arc,),) = [cell.arcs for cell in cells(parameters, chosen)]
    (x, _, above), (y, _, below) = arc.texts
    assert (x, y) == ("x", "y")
    assert below - above == 13


def test_labels_that_only_look_like_a_cell_are_a_chain() -> None:
    parameters = {
        "block/1_0": {"candidates": ["a"], "n_chosen": 1},  # from 1 back to 0
        "stage/op_1_0": {"candidates": ["a"], "n_chosen": 1},  # without inputs
    }
    assert cells(parameters, {"block/1_0": "a", "stage/op_1_0": "a"}) == []


# --- text -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.91234, "0.9123"), (5210.0, "5,210"), (28800.0, "28.8k"), (1234567.0, "1.23M"),
        (2.5e9, "2.5G"), (0.0, "0"), (1e-5, "1.00e-05"), (None, "n/a"), (math.nan, "n/a"),
        (-3.0, "-3"), (1e20, "1.00e+20"), (123.456, "123.5"), (999999.0, "1M"),
    ],
)  # fmt: skip
def test_numbers_are_short(value: float | None, shown: str) -> None:
    assert text.number(value) == shown


def test_counts_times_and_choices_are_for_people() -> None:
    assert text.count("625") == "625"
    assert text.count("41" + "0" * 179) == "4.1\u00a0×\u00a010¹⁸⁰"
    assert text.count(None) == "infinitely many"
    assert [text.duration(s) for s in (None, 1.25, 75.0, 3661.0)] == [
        "unknown", "1.2 s", "1 min 15 s", "1 h 1 min",
    ]  # fmt: skip
    assert text.moment("2026-01-02T03:04:05+00:00") == "02 Jan 2026, 03:04 UTC"
    assert text.moment(None) == "not yet"
    assert text.moment("soon") == "soon"
    assert text.choice([(1, 3), "a", 0.5]) == "(1, 3)+a+0.5"
