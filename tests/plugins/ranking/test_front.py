"""Dominance, hypervolume and the forms in which a front is read."""

from __future__ import annotations

import csv
import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from oneshot_core import Architecture, ParetoFront
from oneshot_core.errors import RankingError
from oneshot_plugins.ranking import front, show
from oneshot_plugins.ranking.baselines import Baseline, Baselines
from oneshot_plugins.ranking.front import Scored, non_dominated


def scored(name: str, **values: float) -> Scored:
    return Scored(Architecture({"a": name}), values, {"loss": math.nan})


def some() -> ParetoFront:
    """Accuracy up, size down; "d" is dominated, "e" equals "b", "n" has no accuracy."""
    entries = [
        scored("a", acc=0.9, size=10.0),
        scored("b", acc=0.8, size=5.0),
        scored("d", acc=0.7, size=6.0),
        scored("e", acc=0.8, size=5.0),
        scored("n", acc=math.nan, size=1.0),
        scored("c", acc=0.5, size=2.0),
    ]
    return ParetoFront(entries, {"acc": "max", "size": "min"})


def names(found: Any) -> list[str]:
    return [entry.architecture["a"] for entry in found]


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4])
def test_dominance_is_that_of_comparing_all_pairs(dimensions: int) -> None:
    """Numbers from a small grid, so that there are ties; some are NaN or infinite."""
    rng = random.Random(dimensions)
    odd = [math.nan, math.inf, -math.inf]
    for _ in range(200):
        points = [
            [
                rng.choice(odd) if rng.random() < 0.05 else rng.randrange(4)
                for _ in range(dimensions)
            ]
            for _ in range(rng.randrange(12))
        ]

        def beaten(p: list[float], points: Any = points) -> bool:
            return any(
                all(y >= x for x, y in zip(p, q, strict=True))
                and any(y > x for x, y in zip(p, q, strict=True))
                for q in points
                if not any(math.isnan(y) for y in q)
            )

        expected = [
            i for i, p in enumerate(points) if not any(math.isnan(x) for x in p) and not beaten(p)
        ]
        assert non_dominated(points) == expected


def test_the_front_is_in_the_order_of_the_first_objective_and_equals_in_that_of_scoring() -> None:
    assert names(some()) == ["a", "b", "e", "c"]
    assert len(some().scored) == 6


def test_constraints_take_out_what_breaks_them_before_dominance_is_decided() -> None:
    limited = ParetoFront(some().scored, {"acc": "max"}, {"size": (None, 6.0)})
    assert names(limited) == ["b", "e"]
    assert limited.names == ["acc", "size"]


def test_the_best_is_the_first_by_an_objective_within_limits() -> None:
    assert some().best() == {"a": "a"}
    assert some().best(size=(None, 6)) == {"a": "b"}
    assert some().best("size", acc=(0.6, None)) == {"a": "b"}
    assert some().best(size=(5.5, 6.5)) == {"a": "d"}  # dominated, but alone within


def test_a_limit_may_be_a_part_of_what_the_largest_network_has() -> None:
    largest = Baseline("largest", {"acc": 0.85, "size": 12.0}, Architecture({"a": "z"}))
    beside = Baselines([largest], {})
    known = ParetoFront(some().scored, some().objectives, baselines=beside)
    assert known.best(size="50%") == {"a": "b"}
    assert known.best(size="100%") == known.best(size=(None, 12.0)) == {"a": "a"}
    assert known.best("size", acc=(0.6, None), size="45.5%") == {"a": "b"}
    with pytest.raises(RankingError, match="none of 6 scored"):
        known.best(size="8%")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": "50%"}, "knows no largest network"),
        ({"size": "half"}, "size='half'"),
        ({"by": "speed"}, "by='speed'"),
        ({"speed": (None, 1)}, r"limits on \['speed'\]"),
        ({"size": (None, 1.5)}, "none of 6 scored"),
    ],
)
def test_a_best_that_does_not_exist_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(RankingError, match=message):
        some().best(**arguments)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4])
def test_the_hypervolume_is_the_number_of_unit_cells_below_the_front(dimensions: int) -> None:
    """Points on an integer grid; the reference point cuts into it."""
    rng = random.Random(dimensions)
    axes = [f"o{i}" for i in range(dimensions)]
    for _ in range(20):
        points = [tuple(rng.randrange(5) for _ in axes) for _ in range(6)]
        found = ParetoFront(
            [scored("x", **dict(zip(axes, map(float, p), strict=True))) for p in points],
            dict.fromkeys(axes, "max"),
        )
        cells = sum(
            any(all(c < x for c, x in zip(cell, p, strict=True)) for p in points)
            for cell in itertools.product(range(1, 5), repeat=dimensions)
        )
        assert found.hypervolume(dict.fromkeys(axes, 1.0)) == cells


def test_the_hypervolume_of_what_is_to_be_small_is_counted_downwards() -> None:
    """0.9 x (12 - 10), then 0.8 x (10 - 5), then 0.5 x (5 - 2)."""
    assert some().hypervolume({"acc": 0.0, "size": 12.0}) == pytest.approx(1.8 + 4 + 1.5)
    with pytest.raises(RankingError, match=r"about \['acc'\]"):
        some().hypervolume({"acc": 0.0})


def test_baselines_are_printed_below_the_front_and_written_with_it(tmp_path: Path) -> None:
    compared = Baselines([Baseline("found", {"acc": 0.9, "size": math.nan})], {})
    found = ParetoFront(some().scored, some().objectives, baselines=compared)
    assert str(found) == f"{some()}\n\n{compared}"
    assert "found" in str(compared)
    written = json.loads(found.to_json(tmp_path / "front.json").read_text())
    assert written["baselines"] == compared.to_dict()
    assert written["baselines"]["rows"][0]["values"] == {"acc": 0.9, "size": None}


def test_csv_holds_the_front_or_everything(tmp_path: Path) -> None:
    path = some().to_csv(tmp_path / "front.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [json.loads(row["architecture"])["a"] for row in rows] == ["a", "b", "e", "c"]
    assert [float(row["acc"]) for row in rows] == [0.9, 0.8, 0.8, 0.5]

    some().to_csv(path, everything=True)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["on_front"] for row in rows] == ["True", "True", "False", "True", "False", "True"]
    assert list(tmp_path.iterdir()) == [path]


def beside() -> Baselines:
    """The largest, a mean without an architecture, and two random ones of which "c" is scored."""
    rows = [
        Baseline("mean of 2 random", {"acc": 0.45, "size": math.nan, "parameters": 3.0}),
        Baseline(
            "largest", {"acc": 0.6, "size": 20.0, "parameters": 9.0}, Architecture({"a": "z"})
        ),
    ]
    sample = {
        Architecture({"a": "c"}): {"acc": 0.5, "size": 2.0, "parameters": 2.0},
        Architecture({"a": "y"}): {"acc": 0.4, "size": 4.0, "parameters": 4.0},
    }
    return Baselines(rows, sample)


def test_csv_ends_with_the_baselines(tmp_path: Path) -> None:
    found = ParetoFront(some().scored, some().objectives, baselines=beside())
    for everything, named in ((False, ["front"] * 4), (True, ["front", "front", "scored"])):
        path = found.to_csv(tmp_path / "front.csv", everything=everything)
        rows = list(csv.DictReader(path.read_text().splitlines()))
        assert [row["row"] for row in rows][: len(named)] == named
        *_, scored_last, mean, largest = rows
        assert scored_last["parameters"] == ""  # only baselines have that number
        assert (mean["row"], mean["acc"], mean["size"], mean["on_front"], mean["architecture"]) == (
            "mean of 2 random", "0.45", "nan", "", "",
        )  # fmt: skip
        assert (largest["row"], largest["size"], largest["parameters"]) == (
            "largest",
            "20.0",
            "9.0",
        )
        assert json.loads(largest["architecture"]) == {"a": "z"}


def test_json_has_the_random_architectures_unless_all_were_scored(tmp_path: Path) -> None:
    found = ParetoFront(some().scored, some().objectives, baselines=beside())
    written = json.loads(found.to_json(tmp_path / "front.json").read_text())["baselines"]
    assert [(r["architecture"]["a"], r["values"]["size"]) for r in written["random"]] == [
        ("c", 2.0), ("y", 4.0),
    ]  # fmt: skip
    sample = dict(itertools.islice(beside().sample.items(), 1))
    known = Baselines(beside().rows, sample)
    found = ParetoFront(some().scored, some().objectives, baselines=known)
    written = json.loads(found.to_json(tmp_path / "front.json").read_text())["baselines"]
    assert written["random"] is None


def by_definition(a: list[float], b: list[float]) -> float:
    """Return Kendall's tau-b by counting all pairs."""
    agree = tied_a = tied_b = 0
    pairs = list(itertools.combinations(zip(a, b, strict=True), 2))
    for (x, y), (u, v) in pairs:
        agree += ((x > u) - (x < u)) * ((y > v) - (y < v))
        tied_a += x == u
        tied_b += y == v
    return agree / math.sqrt((len(pairs) - tied_a) * (len(pairs) - tied_b))


def test_agreement_with_a_truth_is_that_of_counting_pairs() -> None:
    truth = {"a": 0.7, "b": 0.9, "c": 0.1, "d": 0.7, "e": 0.2, "n": 0.3}
    found = some()
    given = {Architecture({"a": name}): value for name, value in truth.items()}
    order = [entry.architecture["a"] for entry in found.scored]
    sizes = [entry.values["size"] for entry in found.scored]
    assert found.kendall_tau(given, by="size") == pytest.approx(
        by_definition(sizes, [truth[str(name)] for name in order])
    )
    known = [entry for entry in found.scored if entry.architecture["a"] != "n"]  # NaN says nothing
    expected = by_definition(
        [entry.values["acc"] for entry in known],
        [truth[str(entry.architecture["a"])] for entry in known],
    )
    assert found.kendall_tau(given) == pytest.approx(expected)
    assert found.kendall_tau(lambda a: truth[str(a["a"])]) == pytest.approx(expected)
    with pytest.raises(RankingError, match="kendall_tau of 'speed'"):
        found.kendall_tau(given, by="speed")
    with pytest.raises(RankingError, match="about 1 of 6 scored"):
        found.kendall_tau({Architecture({"a": "a"}): 1.0})


def test_json_says_what_it_is_and_has_no_nan(tmp_path: Path) -> None:
    found = ParetoFront(some().scored, some().objectives, {"size": (None, 9.0)})
    data = json.loads(
        found.to_json(tmp_path / "front.json").read_text(), parse_constant=pytest.fail
    )
    assert data["schema"] == front.SCHEMA
    assert data["constraints"] == {"size": [None, 9.0]}
    assert data["scored"][4]["values"] == {"acc": None, "size": 1.0}
    assert [data["scored"][i]["architecture"]["a"] for i in data["front"]] == ["b", "e", "c"]


def test_tables_name_objectives_and_choices() -> None:
    lines = str(some()).splitlines()
    assert lines[0] == "4 of 6 scored architectures are on the front"
    assert lines[1].split() == ["acc", "(max)", "size", "(min)", "architecture"]
    assert lines[2].split() == ["0.9", "10", "a=a"]
    page = ParetoFront([scored("<b>", acc=1.0)], {"acc": "max"})._repr_html_()
    assert ">a=&lt;b&gt;</td>" in page
    assert repr(some()).startswith("<ParetoFront of 4 among 6")


def test_long_tables_end_with_how_many_more_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "SHOWN", 1)
    assert str(some()).splitlines()[-1] == "... and 3 more"


def test_the_figure_shows_all_points_and_the_front() -> None:
    figure = some().figure()
    assert isinstance(figure, Figure)
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("size", "acc")
    assert [len(points.get_offsets()) for points in axes.collections] == [6, 4]
    assert len(figure.legends[0].texts) == 2
    with pytest.raises(RankingError, match="'acc' over 'speed'"):
        some().figure(x="speed")


def test_the_figure_shows_random_architectures_and_the_largest() -> None:
    figure = ParetoFront(some().scored, some().objectives, baselines=beside()).figure()
    _, _, random_, largest = figure.axes[0].collections
    assert random_.get_offsets().tolist() == [[4.0, 0.4]]  # "c" is drawn as what was scored
    assert largest.get_offsets().tolist() == [[20.0, 0.6]]
    assert [text.get_text() for text in figure.legends[0].texts] == [
        "6 scored", "front of 4", "1 random", "largest",
    ]  # fmt: skip


def test_a_figure_without_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "find_spec", lambda name: None)
    with pytest.raises(RankingError, match=r"oneshot-core\[report\]"):
        some().figure()
