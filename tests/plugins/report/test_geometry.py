"""Where things are drawn: scales, lines, names, fronts, chains and cells."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from torch import nn

import oneshot_core as oneshot
from oneshot_core import Architecture, ModelSpace
from oneshot_core.decision import Decision
from oneshot_core.space import Diagram, Link, Node, ParameterSpec, diagrams_in
from oneshot_plugins.report import text
from oneshot_plugins.report.cells import cells
from oneshot_plugins.report.chain import WIDTH, columns, rows
from oneshot_plugins.report.clouds import clouds, difference, names
from oneshot_plugins.report.curves import svg
from oneshot_plugins.report.folder import Baseline, Beside, Point, Scores, read_run
from oneshot_plugins.report.movement import (
    entropies,
    entropy_panel,
    metric_panels,
    panels,
    preferred,
)
from oneshot_plugins.report.plots import Scale, apart, staircase, thinned
from oneshot_plugins.report.tracks import tracks
from oneshot_plugins.spaces.nasbench101 import write_module


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


def test_a_scale_over_less_than_two_powers_of_ten_has_steps_that_multiply() -> None:
    scale = Scale(20e3, 1.2e6, log=True)
    assert [label for _, label in scale.ticks()] == ["20k", "50k", "100k", "500k", "1M"]
    assert [label for _, label in Scale(30.0, 600.0, log=True).ticks()] == [
        "50", "100", "200", "500",
    ]  # fmt: skip


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
    assert [(m.text, m.kind) for m in cloud.marks] == [("b", "baseline"), ("best", "chosen")]
    assert cloud.marks[0].x < 100


def test_what_is_beside_scores_is_marked_if_it_is_one_architecture_of_its_own() -> None:
    scores = ranked([(1.0, 1.0), (2.0, 0.5)])
    best = replace(scores.points[0], best=True)
    rows = [
        Baseline("best found", best.values, None, best.architecture),
        Baseline("mean of 2 random", {"x": 1.5, "y": 0.5}, None, None),
        Baseline("largest", {"x": 9.0, "y": 0.9}, None, {"a": 7}),
    ]
    beside = Beside(rows, [{"x": 5.0, "y": 0.7}, {"y": 0.7}], [])
    points = [best, *scores.points[1:]]
    (cloud,) = clouds(replace(scores, points=points, beside=beside), None)
    assert [m.text for m in cloud.marks] == ["largest", "best"]
    ((x, y),) = cloud.random
    assert cloud.places[0][0] < x < cloud.marks[0].x
    assert cloud.places[1][1] < y < cloud.marks[0].y


def test_names_in_a_plot_do_not_cover_each_other() -> None:
    rng = random.Random(1)
    for _ in range(100):
        beside = [
            Baseline("n" * rng.randrange(1, 30), {"x": rng.random(), "y": rng.random()}, None, None)
            for _ in range(rng.randrange(1, 8))
        ]
        (cloud,) = clouds(ranked([(0.2, 0.4), (0.9, 0.1)]), None, beside)
        assert len(cloud.marks) == len(beside) + 1
        boxes = []
        for mark in cloud.marks:
            width = 1.7 * len(mark.text)
            boxes.append((mark.x - width if mark.left else mark.x, width, mark.at))
        for (a, wide, at), (b, wider, other) in itertools.combinations(boxes, 2):
            assert abs(at - other) >= 6.49 or a + wide <= b or b + wider <= a


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


@cache
def built(name: str) -> tuple[nn.Module, ModelSpace]:
    model = oneshot.registry.load("space", name)()
    return model, ModelSpace(model)


def space_of(name: str, seed: int = 3) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ``space`` of a record as far as cells are concerned, and an architecture."""
    model, space = built(name)
    drawn = Architecture(space.sample(random.Random(seed)), space)
    # As folder.py reads it: lists where several are taken.
    return {
        "parameters": space.describe(),
        "diagrams": [diagram.to_dict() for _, diagram in diagrams_in(model)],
    }, {label: list(c) if space.specs[label].n_chosen != 1 else c for label, c in drawn.items()}


@pytest.mark.parametrize("name", ["darts", "nas-bench-201", "enas"])
def test_every_operation_of_a_cell_is_an_arc(name: str) -> None:
    space, chosen = space_of(name)
    found = cells(space, chosen)
    assert frozenset().union(*(cell.labels for cell in found)) == space["parameters"].keys()
    drawn = sorted(text for cell in found for arc in cell.arcs for text, _, _ in arc.texts)
    operations = [c for label, c in chosen.items() if "/input" not in label]
    assert drawn == sorted(map(str, operations))
    for cell in found:
        places = [(arc.curve[0][0], arc.curve[3][0]) for arc in cell.arcs]
        assert all(start < end for start, end in places)
        assert len(set(places)) == len(places)
        assert all(0 <= y <= cell.height for arc in cell.arcs for _, _, y in arc.texts)


def test_two_operations_on_one_edge_are_written_below_each_other() -> None:
    links = [Link(0, 1, f"c/op_1_{k}", f"c/input_1_{k}") for k in (0, 1)]
    diagram = Diagram("c", [Node("in"), Node("1")], links)
    chosen = {"c/input_1_0": 0, "c/input_1_1": 0, "c/op_1_0": "x", "c/op_1_1": "y"}
    ((arc,),) = [cell.arcs for cell in cells({"diagrams": [diagram.to_dict()]}, chosen)]
    (x, _, above), (y, _, below) = arc.texts
    assert (x, y) == ("x", "y")
    assert below - above == 13


@pytest.mark.parametrize("seed", range(20))
def test_a_cell_of_nas_bench_101_is_drawn_as_its_matrix(seed: int) -> None:
    space, chosen = space_of("nas-bench-101", seed)
    (cell,) = cells(space, chosen)
    matrix, operations = write_module(chosen)
    assert [state.full for state in cell.states] == operations
    assert [state.is_hollow for state in cell.states] == [
        name in ("input", "output") for name in operations
    ]
    edges = {(i, j) for i, row in enumerate(matrix) for j, there in enumerate(row) if there}

    def at(x: float) -> int:
        return next(i for i, s in enumerate(cell.states) if abs(s.x - x) <= s.width / 2 + 0.1)

    drawn = [(at(arc.curve[0][0]), at(arc.curve[3][0])) for arc in cell.arcs]
    assert len(drawn) == len(edges)
    assert set(drawn) == edges
    places = [(s.x - s.width / 2, s.x + s.width / 2) for s in cell.states]
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(places))
    assert places[-1][1] < cell.width
    assert all(0 <= y <= cell.height for arc in cell.arcs for _, y in arc.curve[::3])


def test_a_cell_that_decides_nothing_is_not_drawn() -> None:
    space, _ = space_of("nas-bench-201")
    unused, _ = space_of("darts")
    assert [cell.name for cell in cells(unused, {"normal/input_2": [0, 1]})] == ["normal"]
    assert cells({"parameters": space["parameters"]}, {"cell/0_1": "none"}) == []


# --- tracks ---------------------------------------------------------------------------------


def test_dots_lie_between_the_smallest_and_the_largest_of_their_column() -> None:
    rows = [
        Baseline("a", {"acc": 0.5, "size": 7.0}, None, {"x": 1}),
        Baseline("b", {"acc": 0.75}, 3, {"x": 2}),
        Baseline("c", {"acc": 1.0, "size": 7.0}, None, None),
    ]
    found = tracks(rows, {"x": 2})
    assert found.quantities == ["acc", "size"]
    assert [[d and (d.share, d.text) for d in row.dots] for row in found.rows] == [
        [(0.0, "0.5"), (50.0, "7")], [(50.0, "0.75"), None], [(100.0, "1"), (50.0, "7")],
    ]  # fmt: skip
    assert [(row.is_chosen, row.notes) for row in found.rows] == [
        (False, []), (True, ["the chosen architecture", "seed 3"]), (False, []),
    ]  # fmt: skip


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


def test_long_names_keep_what_differs() -> None:
    names_ = [
        f"inverted_residual_expand{e}_kernel{k}_squeeze_excite" for e in (3, 6) for k in (3, 5)
    ]
    assert text.shortened([*names_, "skip"], 20) == [
        "…expand3_kernel3_sq…", "…expand3_kernel5_sq…", "…expand6_kernel3_sq…",
        "…expand6_kernel5_sq…", "skip",
    ]  # fmt: skip
    assert text.shortened(["x" * 30, "short"], 10) == ["xxxxxxxxx…", "short"]
    assert len(set(text.shortened(["same_name_twice"] * 2, 10))) == 1
    assert text.shortened([], 10) == []


def test_shortened_names_fit_and_stay_different_if_there_is_room() -> None:
    rng = random.Random(0)
    for _ in range(500):
        head, tail = ("".join(rng.choices("abc_", k=rng.randrange(40))) for _ in range(2))
        cores = {"".join(rng.choices("xyz", k=rng.randrange(1, 8))) for _ in range(4)}
        texts = [f"{head}{core}{tail}" for core in sorted(cores)]
        short = text.shortened(texts, 20)
        assert all(len(one) <= 20 for one in short)
        assert len(set(short)) == len(texts)


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
    assert [text.of(n, "architecture") for n in (0, 1, 1000)] == [
        "0 architectures", "1 architecture", "1,000 architectures",
    ]  # fmt: skip
    assert text.choice([(1, 3), "a", 0.5]) == "(1, 3)+a+0.5"
