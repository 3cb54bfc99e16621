"""The commands with a model of ``lightning.pytorch``, the twin of ``pytorch_lightning``.

They need ``pip install lightning``; `make test-versions` has it.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from oneshot_core.cli import main

from .conftest import GDAS, QUIET, USERS

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("lightning") is None, reason="the package `lightning` is not installed"
)


@pytest.fixture(scope="module")
def twins(users: Path) -> Iterator[Path]:
    """Write ``cli_twins.py`` beside ``cli_users.py``, the same on ``lightning.pytorch``."""
    (users / "cli_twins.py").write_text(
        USERS.replace("import pytorch_lightning as pl", "import lightning.pytorch as pl")
    )
    (users / "twins.yaml").write_text(QUIET.replace("cli_users", "cli_twins"))
    yield users
    sys.modules.pop("cli_twins", None)


@pytest.fixture
def folder(twins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Search with the twin, in an empty folder, and return that of the run."""
    monkeypatch.chdir(tmp_path)
    penalty = "[{cost: macs, target: 50, form: hinge}]"
    options = (*GDAS, "--search.penalties", penalty, "--rank.metric", "val_acc", "--out", "run")
    assert main(["search", "--config", str(twins / "twins.yaml"), *options]) == 0
    return Path("run")


def test_every_command_works_with_a_model_of_the_twin(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((folder / "run.json").read_text())
    assert (record["status"], record["model"]) == ("finished", "cli_twins:Net")
    assert "lightning" in record["versions"]
    assert "pytorch_lightning" not in record["versions"]
    assert len((folder / "logs/version_0/metrics.csv").read_text().splitlines()) > 3
    assert main(["search", "--resume", "run", "--trainer.max_epochs", "4"]) == 0
    assert json.loads((folder / "run.json").read_text())["sessions"] == 2
    for command in ("rank", "freeze", "export", "inspect", "report"):
        assert main([command, "run"]) == 0, command
    network = torch.export.load(folder / "net.pt2").module()
    assert network(torch.zeros(2, 6)).shape == (2, 3)


def test_the_twins_find_the_same(
    folder: Path, users: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = (folder / "config.yaml").read_text().replace("cli_twins", "cli_users")
    Path("home.yaml").write_text(config.replace("out: run", "out: home"))
    assert main(["search", "--config", "home.yaml"]) == 0
    assert (
        Path("home/probabilities.jsonl").read_text() == (folder / "probabilities.jsonl").read_text()
    )


def test_the_model_decides_which_lightning_trains_it(
    twins: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from oneshot_plugins.run.configuration import search_cli
    from oneshot_plugins.run.folder import RunFolder

    for name, tree in (("cli_twins", "lightning.pytorch"), ("cli_users", "pytorch_lightning")):
        cli = search_cli(["--model", f"{name}:Net", "--data", f"{name}.Data"])
        assert str(cli.tree) == tree
        trainer = cli.trainer_for(RunFolder(tmp_path))
        assert type(trainer).__module__.startswith(f"{tree}.")
        for callback in trainer.callbacks:
            bases = [base.__module__ for base in type(callback).__mro__]
            assert any(base.startswith(f"{tree}.") for base in bases), callback


def test_callbacks_of_ours_work_and_those_of_the_other_lightning_are_refused(
    twins: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    def search(*classes: str) -> int:
        callbacks = ", ".join(f"{{class_path: {path}}}" for path in classes)
        text = f"{{trainer: {{max_epochs: 1, callbacks: [{callbacks}]}}}}"
        config = ("--config", str(twins / "twins.yaml"), "--config", text)
        return main(["search", *config, *GDAS, "--out", "run"])

    alarm = "oneshot_plugins.strategies.collapse.CollapseAlarm, init_args: {skip: [deep]}"
    assert search(alarm, "lightning.pytorch.callbacks.ModelSummary") == 0
    metrics = json.loads(Path("run/run.json").read_text())["metrics"]
    assert "oneshot/entropy" in metrics
    capsys.readouterr()
    Path("run").rename("before")
    assert search("pytorch_lightning.callbacks.ModelSummary") == 2
    error = capsys.readouterr().err
    assert "the callback ModelSummary is of pytorch_lightning" in error
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("model", "data"), [("cli_twins", "cli_users"), ("cli_users", "cli_twins")]
)
def test_a_model_and_data_of_different_ones_are_refused(
    model: str, data: str, twins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trees = {"cli_twins": "lightning.pytorch", "cli_users": "pytorch_lightning"}
    assert main(["search", "--model", f"{model}:Net", "--data", f"{data}:Data"]) == 2
    assert capsys.readouterr().err == (
        f"error: the data {data}.Data are of {trees[data]}, the model {model}.Net of "
        f"{trees[model]}.\n"
        f"  expected: one Lightning everywhere, here {trees[model]}\n"
        f"  fix: take Data, or what it derives from, from {trees[model]}\n"
    )


def test_the_page_about_the_command_line_works_with_the_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from .test_page import PAGE

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_model", raising=False)
    for name, content in re.findall(
        r'^```\w+ title="(.+?)"\n(.*?)^```$', PAGE.read_text(), re.M | re.S
    ):
        Path(name).write_text(content.replace("pytorch_lightning", "lightning.pytorch"))
    assert main(["search", "--config", "search.yaml", "--out", "run"]) == 0  # with progress bars
    assert main(["rank", "run", "--metric", "val_acc"]) == 0
