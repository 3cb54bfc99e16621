"""Tables of costs and run folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oneshot_core.cli import main
from oneshot_plugins.costs.table import CostTable

from .conftest import Oneshot

DARTS = ("--search.strategy", "darts", "--search.arch_fraction", "0.5")


def test_a_table_is_built_for_the_model_of_a_run(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "macs.json"
    assert main(["cost", "build", str(finished), "--out", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "all numbers are for a batch of 2" in shown
    assert f"built for Net ({finished}) with inputs 2x6" in shown
    assert "device meta, torch" in shown
    assert CostTable.load(path).of({"first": "wide", "depth": 0}) == 2 * (6 * 8 + 8 * 3)
    assert main(["cost", "show", str(path)]) == 0
    assert capsys.readouterr().out == shown


def test_without_out_the_table_of_a_run_is_in_its_folder(
    search: Oneshot, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search("--search.strategy", "random", "--out", "run", "--trainer.max_epochs", "1") == 0
    options = ("--input", "5x6", "--set", "min_run_time=0.001", "--set", "threads=2")
    assert main(["cost", "build", "run", "--cost", "latency", "--verify", "1", *options]) == 0
    table = CostTable.load("run/latency.json")
    assert table.origin["options"] == {"min_run_time": "0.001", "threads": "2"}
    assert table.batch == 5
    capsys.readouterr()
    assert main(["cost", "show", "run/latency.json"]) == 0
    assert "min_run_time=0.001, threads=2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "beauty=1"], "'macs' has no option beauty"),
        (["--cost", "latency", "--set", "device=cpu"], "--device says where to measure"),
        (["--set", "threads"], "is not of the form option=value"),
    ],
)
def test_options_that_a_cost_does_not_have_are_refused(
    finished: Path,
    arguments: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "table.json"
    assert main(["cost", "build", str(finished), *arguments, "--out", str(path)]) == 2
    assert said in capsys.readouterr().err
    assert not path.exists()


def test_a_folder_that_is_no_run_is_refused(
    users: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cost", "build", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "config.yaml" in error
    assert "\n  fix: " in error


def test_a_file_of_another_model_is_refused_before_anything_is_written(
    search: Oneshot, capsys: pytest.CaptureFixture[str]
) -> None:
    random = ("--search.strategy", "random", "--trainer.max_epochs", "1")
    assert search(*random, "--out", "run") == 0
    assert main(["cost", "build", "run", "--out", "macs.json"]) == 0
    penalty = json.dumps([{"cost": "macs.json", "target": 50}])
    fitting = (*DARTS, "--search.penalties", penalty, "--trainer.max_epochs", "1")
    assert search(*fitting, "--out", "same") == 0
    capsys.readouterr()
    other = ("--model.init_args.hidden", "12", "--out", "other")
    assert search(*fitting, *other) == 2
    error = capsys.readouterr().err
    assert "it says 400, and the network has 792" in error
    assert "\n  expected: 792 for Net with inputs 2x6" in error
    assert "\n  fix: build a table for this model" in error
    assert not Path("other").exists()


def test_a_resumed_run_refuses_a_table_that_was_exchanged(
    search: Oneshot, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (*DARTS, "--search.penalties", "[{cost: macs, target: 50}]")
    first = ("--trainer.max_epochs", "1", "--out")
    assert search(*options, *first, "run") == 0
    assert "; for a batch of 2" in capsys.readouterr().out
    assert search(*options, *first, "wide", "--model.init_args.hidden", "12") == 0
    Path("run/costs/macs.json").write_text(Path("wide/costs/macs.json").read_text())
    capsys.readouterr()
    assert main(["search", "--resume", "run", "--trainer.max_epochs", "2"]) == 2
    assert "it says 792, and the network has 400" in capsys.readouterr().err
