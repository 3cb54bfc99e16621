"""What ``oneshot inspect`` reads, prints and returns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oneshot_core import Inspection
from oneshot_core.cli import main

MODELS = """
print("noise from the module")
import torch
from torch import nn
import oneshot_core as oneshot

class Net(nn.Module):
    def __init__(self, width=4, kind="fits"):
        super().__init__()
        print("noise from the constructor")
        other = {"fits": nn.Linear(width, 4), "fails": nn.Linear(width + 1, 4)}[kind]
        self.body = nn.Sequential(oneshot.LayerChoice([nn.Linear(width, 4), other], label="c"))

    def forward(self, x, mask=None):
        x = self.body(x)
        return x if mask is None else x * mask[:, None]

class Kernels(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = oneshot.LayerChoice([nn.Conv1d(1, 1, 1), nn.Conv1d(1, 1, 3)], label="c")

    def forward(self, x):
        return self.c(x).mean()

class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(3, 2)
        self.act = oneshot.LayerChoice([nn.ReLU(), nn.Tanh()], label="act")

    def forward(self, tokens):
        return self.act(self.embedding(tokens))

def make(**options):
    return Net(**options)

class Group:
    built = Net(width=6)

number = 7
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("ONESHOT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "inspected_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "inspected_models", raising=False)
    return tmp_path


def report_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> Inspection:
    code = main(["inspect", *arguments, "--json"])
    out = capsys.readouterr().out
    report = Inspection.from_json(out)
    assert code == (0 if report.ok else 1)
    return report


def test_an_installed_model_space_is_named_by_its_id(capsys) -> None:
    report = report_of(capsys, "space:mnist1d-chain", "--input", "2x40", "--set", "positions=2")
    assert (report.model, report.architectures) == ("Chain1d", 25)
    assert report.fed == "forward(2x40 float32)"


@pytest.mark.parametrize(
    ("target", "options"),
    [
        pytest.param("Net", ["--set", "width=6"], id="class"),
        pytest.param("make", ["--set", "width=6", "--set", "kind=fits"], id="function"),
        pytest.param("Group.built", [], id="model"),
    ],
)
def test_a_model_is_named_by_where_it_is_imported_from(models, capsys, target, options) -> None:
    report = report_of(capsys, f"inspected_models:{target}", "--input", "3x6", *options)
    assert report.ok
    assert report.sizes.default.costs == {"parameters": 28, "macs": 72}


def test_what_it_prints_is_the_report_alone(models, capsys) -> None:
    assert main(["inspect", "inspected_models:Net", "--input", "3x4"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("Net: 2 architectures\n")
    assert captured.out.rstrip().endswith("No problems")
    assert "noise" not in captured.out
    assert "noise from the constructor" in captured.err


def test_problems_are_exit_code_1(models, capsys) -> None:
    arguments = ["inspect", "inspected_models:Net", "--input", "3x4", "--set", "kind=fails"]
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert "Problems: 1" in out
    assert "body.0.candidates.1" in out
    report = report_of(capsys, *arguments[1:])
    assert [problem.path for problem in report.problems] == ["body.0"]


def test_a_strategy_that_is_asked_for_must_be_able(models, capsys) -> None:
    arguments = ["inspected_models:Kernels", "--input", "2x1x8"]
    assert report_of(capsys, *arguments).ok
    assert report_of(capsys, *arguments, "--strategy", "random").ok
    report = report_of(capsys, *arguments, "--strategy", "darts", "--strategy", "random")
    assert [problem.kind for problem in report.problems] == ["strategy"]
    assert [capability.strategy for capability in report.capabilities] == ["darts", "random"]


def test_several_inputs_of_any_type_are_given_by_position(models, capsys) -> None:
    both = report_of(capsys, "inspected_models:Net", "--input", "3x4", "--input", "3:bool")
    assert both.fed == "forward(3x4 float32, 3 bool)"
    assert report_of(capsys, "inspected_models:Text", "--input", "2x8:int64").ok


def test_without_input_nothing_is_run(models, capsys) -> None:
    report = report_of(capsys, "inspected_models:Net", "--set", "kind=fails")
    assert (report.device, report.ok) == ("", True)
    assert "no-sample" in [warning.kind for warning in report.warnings]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["space:no-such"], "no-such", id="space"),
        pytest.param(["no_such_module:Net"], "No module named 'no_such_module'", id="module"),
        pytest.param(["inspected_models:Nett"], "has no attribute 'Nett'", id="attribute"),
        pytest.param(["inspected_models"], "inspected_models cannot be found", id="no-name"),
        pytest.param(["inspected_models:number"], "number is a int", id="no-model"),
        pytest.param(["inspected_models:Net", "--input", "2xa"], "--input 2xa", id="shape"),
        pytest.param(["inspected_models:Net", "--input", "2:in64"], "--input 2:in64", id="dtype"),
        pytest.param(["inspected_models:Net", "--set", "width"], "--set width", id="setting"),
        pytest.param(["inspected_models:Net", "--set", "depth=2"], "cannot be built", id="option"),
        pytest.param(["inspected_models:Net", "--set", "kind=no"], "KeyError: 'no'", id="raises"),
        pytest.param(["inspected_models:Net", "--nosuch"], "expected: oneshot inspect", id="flag"),
        pytest.param(["inspected_models:Group.built", "--set", "a=1"], "no --set", id="instance"),
        pytest.param(
            ["inspected_models:Text", "--input", "1", "--input", "1", "--strategy", "drats"],
            "drats",
            id="strategy",
        ),
    ],
)
def test_what_cannot_be_inspected_is_exit_code_2_with_the_fix(
    models, capsys, arguments, message
) -> None:
    assert main(["inspect", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "fix:" in captured.err
    assert captured.out == ""


def test_the_help_says_what_it_reads_and_costs_without_torch(models) -> None:
    code = (
        "import sys; from oneshot_core.cli import main; main(['inspect', '--help']); "
        "sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for words in ("space:NAME", "package.module:Name", "Nothing is trained", "exit code"):
        assert words in result.stdout


@pytest.mark.slow
def test_the_current_folder_is_searched_as_python_dash_m_does(models) -> None:
    arguments = ["inspect", "inspected_models:Net", "--strategy", "random"]
    ours = [sys.executable, "-P"] if sys.version_info >= (3, 11) else None
    here = subprocess.run(
        [sys.executable, "-m", "oneshot_core", *arguments],
        cwd=models,
        capture_output=True,
        text=True,
    )
    assert here.returncode == 0, here.stderr
    if ours is not None:  # as the installed command starts: without the current folder
        code = f"import sys; from oneshot_core.cli import main; sys.exit(main({arguments!r}))"
        away = subprocess.run([*ours, "-c", code], cwd=models, capture_output=True, text=True)
        assert away.returncode == 2
        assert "python -m oneshot_core inspect inspected_models:Net" in away.stderr
