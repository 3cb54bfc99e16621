"""``oneshot cost``, as a user types it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from oneshot_core import ModelSpace
from oneshot_core.cli import main
from oneshot_plugins.costs.table import CostTable
from oneshot_plugins.spaces.chain import Chain1d

SPACE = ("cost", "build", "space:mnist1d-chain", "--input", "1x40")


def test_a_table_is_built_written_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "macs.json"
    assert main([*SPACE, "--verify", "3", "--out", str(path)]) == 0
    built = capsys.readouterr().out
    table = CostTable.load(path)
    assert table.exact
    assert table.origin["target"] == "space:mnist1d-chain"
    table.check(ModelSpace(Chain1d()))
    assert main(["cost", "show", str(path)]) == 0
    assert capsys.readouterr().out == built == f"{table}\n"
    assert main(["cost", "show", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == table.describe()
    assert [p.name for p in tmp_path.iterdir()] == ["macs.json"]


def test_latency_of_ones_own_module_is_measured_on_the_device_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_space.py").write_text(
        "from torch import nn\n"
        "import oneshot_core as oneshot\n"
        "def small():\n"
        "    print('building')\n"
        "    layers = {'a': nn.Linear(3, 3), 'b': nn.Identity()}\n"
        "    return nn.Sequential(oneshot.LayerChoice(layers, label='l'))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "latency.json"
    command = ["cost", "build", "my_space:small", "--cost", "latency", "--device", "cpu"]
    assert main([*command, "--input", "2x3", "--verify", "0", "--out", str(path), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data == json.loads(path.read_text())
    assert data["cost"] == "latency"
    assert data["origin"]["device"] == "cpu"
    assert CostTable.load(path).of({"l": "a"}) > 0
    sys.modules.pop("my_space")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "no.such:thing", "--input", "1", "--out", "t.json"], "cannot be found"),
        (["build", "builtins:dict", "--input", "1", "--out", "t.json"], "returns a dict"),
        (["build", "builtins:memoryview", "--input", "1", "--out", "t.json"], "without arguments"),
        (["build", "space:none", "--input", "1", "--out", "t.json"], "none"),
        ([*SPACE[1:], "--cost", "beauty", "--out", "t.json"], "beauty"),
        ([*SPACE[1:3], "--input", "1x41x2", "--out", "t.json"], "cannot be run"),
        ([*SPACE[1:3], "--input", "1xx2", "--out", "t.json"], "is no shape"),
        ([*SPACE[1:], "--out", "nowhere/t.json"], "no folder"),
        (["build", "tests_of_costs:raises", "--input", "1", "--out", "t.json"], "no data here"),
        ([*SPACE[1:], "--device", "abacus", "--out", "t.json"], "on the device 'abacus'"),
        ([*SPACE[1:], "--verify", "few", "--out", "t.json"], "invalid int value: 'few'"),
        (["show", "nothing.json"], "'nothing.json' cannot be read as a table"),
    ],
)
def test_what_cannot_work_is_said_and_nothing_is_written(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def raises() -> None:
        raise RuntimeError("no data here")

    monkeypatch.setitem(sys.modules, "tests_of_costs", SimpleNamespace(raises=raises))
    monkeypatch.chdir(tmp_path)
    assert main(["cost", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "\n  expected: " in error
    assert "\n  fix: " in error
    assert list(tmp_path.iterdir()) == []


def test_without_an_action_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost"]) == 0
    assert "build" in capsys.readouterr().out
