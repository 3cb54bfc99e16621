"""``oneshot search``: what it reads, what it writes, how it goes on, and what it says."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import oneshot_core as oneshot
from oneshot_core.cli import main

GDAS = ("--search.strategy", "gdas", "--search.arch_fraction", "0.5")  # as conftest has it
Oneshot = Callable[..., int]


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "probabilities.jsonl").read_text().splitlines()]


def test_a_search_writes_what_the_page_about_run_folders_says(finished: Path) -> None:
    folder = finished
    record = json.loads((folder / "run.json").read_text())
    assert (record["schema"], record["status"], record["error"]) == (
        "oneshot.run/1",
        "finished",
        None,
    )
    assert record["strategy"]["name"] == "gdas"
    assert record["strategy"]["options"]["arc_learning_rate"] == "0.0003"
    assert (record["model"], record["seed"], record["sessions"]) == ("cli_users:Net", 0, 1)
    assert (record["epochs"], record["steps"], record["max_epochs"]) == (3, 9, 3)
    assert record["space"]["size"] == "6"
    assert [place["kind"] for place in record["space"]["places"]] == ["LayerChoice", "Repeat"]
    assert record["space"]["places"][0]["candidates"]["wide"].startswith("Linear(in_features=6")
    assert record["registry"]["fingerprint"] == oneshot.registry.fingerprint()
    assert record["versions"]["torch"] == torch.__version__

    head, *lines = lines_of(folder)
    assert head["candidates"] == {"first": ["wide", "deep"], "depth": [0, 1, 2]}
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert lines[0]["metrics"] == {}
    assert lines[3]["metrics"].keys() == {"train_loss", "val_acc"}
    assert all(abs(sum(line["probabilities"]["depth"]) - 1) < 1e-6 for line in lines)

    ranking = json.loads((folder / "ranking.json").read_text())
    assert (ranking["metric"], ranking["mode"], len(ranking["entries"])) == ("val_acc", "max", 6)
    scores = [entry["score"] for entry in ranking["entries"]]
    assert scores == sorted(scores, reverse=True)
    assert all(entry["costs"]["macs"] > 0 for entry in ranking["entries"])
    with (folder / "ranking.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_acc"]) for row in rows if row["row"] == "ranked"] == scores
    assert [row["row"] for row in rows if row["row"] != "ranked"] == [
        row["name"] for row in ranking["baselines"]["rows"]
    ]
    best = oneshot.Architecture.load(folder / "ranking.json")
    assert best == oneshot.Architecture(ranking["entries"][0]["architecture"])

    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["model"]["init_args"] == {"hidden": 8, "lr": 0.1}
    assert config["search"]["temperature"]["start"] == 10.0
    assert len((folder / "logs/version_0/metrics.csv").read_text().splitlines()) > 3
    assert (folder / "search.ckpt").is_file()


def test_a_strategy_that_only_samples_is_ranked_afterwards(
    search: Oneshot, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("runs/net-random").mkdir(parents=True)
    Path("runs/net-random/run.json").write_text("{}")  # nothing is written over
    assert search("--trainer.max_epochs", "1") == 0
    folder = Path("runs/net-random-2")
    assert f"oneshot rank {folder} --metric NAME" in capsys.readouterr().out
    assert not (folder / "architecture.json").exists()
    assert main(["rank", str(folder), "--metric", "val_acc", "--method", "3"]) == 0
    assert (folder / "architecture.json").is_file()
    assert len(json.loads((folder / "ranking.json").read_text())["entries"]) == 3


def test_the_printed_configuration_runs_and_finds_the_same(
    search: Oneshot, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(*GDAS, "--print_config") == 0
    Path("printed.yaml").write_text(capsys.readouterr().out)
    assert main(["search", "--config", "printed.yaml", "--out", "again"]) == 0
    said = capsys.readouterr().out
    assert lines_of(Path("again")) == lines_of(finished)
    assert f"chosen: {oneshot.Architecture.load('again/architecture.json')}" in said


def test_a_search_that_failed_goes_on_as_if_it_never_stopped(
    search: Oneshot,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STOP_IN_EPOCH_2", "error")
    assert search(*GDAS, "--out", "run") == 2
    error = capsys.readouterr().err
    assert "ZeroDivisionError: stop" in error
    assert "cli_users.py:" in error
    assert "fix: correct that place" in error
    record = json.loads(Path("run/run.json").read_text())
    assert (record["status"], record["error"]) == ("failed", "ZeroDivisionError: stop")

    monkeypatch.delenv("STOP_IN_EPOCH_2")
    assert main(["search", "--resume", "run"]) == 0
    assert lines_of(Path("run")) == lines_of(finished)
    record = json.loads(Path("run/run.json").read_text())
    assert (record["status"], record["sessions"], record["epochs"]) == ("finished", 2, 3)
    assert main(["search", "--resume", "run"]) == 0  # nothing is left to do
    assert json.loads(Path("run/run.json").read_text()) == record
    weights = [torch.load(f / "search.ckpt", weights_only=True) for f in (Path("run"), finished)]
    pairs = zip(*(w["state_dict"].values() for w in weights), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)  # dropout and shuffling, too


@pytest.mark.slow
def test_an_interrupt_is_exit_code_130_and_says_how_to_go_on(
    search: Oneshot, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setenv("STOP_IN_EPOCH_2", "interrupt")
    try:
        assert search("--out", "run") == 130
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores it from then on
    assert "oneshot search --resume run" in capsys.readouterr().out
    record = json.loads(Path("run/run.json").read_text())
    assert (record["status"], record["error"], record["epochs"]) == ("interrupted", None, 2)


@pytest.mark.slow
def test_a_killed_process_in_an_empty_folder_leaves_what_another_one_goes_on_with(
    users: Path, tmp_path: Path
) -> None:
    def oneshot_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "oneshot_core", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(users), **environment},
            capture_output=True,
            text=True,
        )

    configured = ("search", "--config", str(users / "search.yaml"), *GDAS)
    killed = oneshot_command(*configured, "--out", "killed", STOP_IN_EPOCH_2="kill")
    assert killed.returncode == 9
    assert json.loads((tmp_path / "killed/run.json").read_text())["status"] == "running"
    assert oneshot_command("search", "--resume", "killed").returncode == 0
    assert oneshot_command(*configured, "--out", "whole").returncode == 0
    assert lines_of(tmp_path / "killed") == lines_of(tmp_path / "whole")


def test_a_data_module_with_batches_for_the_architecture_is_asked_for_them(
    search: Oneshot, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ("--data", "cli_users:OwnArchitectureData", "--search.strategy", "darts")
    assert search(*own, "--out", "run", "--trainer.max_epochs", "1") == 0
    checkpoint = torch.load("run/search.ckpt", weights_only=True)
    assert checkpoint["oneshot"]["architecture_batches"] == 6  # no training data went away
    assert search(*own, "--search.arch_fraction", "0.5") == 2
    assert "has arch_dataloader(), and search.arch_fraction is 0.5" in capsys.readouterr().err


def test_the_optimizer_of_the_configuration_trains_the_weights(search: Oneshot) -> None:
    options = ("--model", "cli_users:WithoutOptimizer", "--trainer.max_epochs", "1")
    assert search(*options, "--optimizer", "SGD", "--optimizer.lr", "0.125", "--out", "run") == 0
    checkpoint = torch.load("run/search.ckpt", weights_only=True)
    (state,) = checkpoint["optimizer_states"]
    assert state["param_groups"][0]["lr"] == 0.125
    assert len(state["param_groups"][0]["params"]) == len(list(_parameters(checkpoint)))


def _parameters(checkpoint: dict[str, Any]) -> list[str]:
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return [name for name in checkpoint["state_dict"] if not name.endswith(buffers)]


class TestStrategyOfAnother:
    """Strategies of others appear by their name, with their options."""

    @pytest.fixture(autouse=True)
    def lazy(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        class Lazy(oneshot.registry.load("strategy", "random")):  # type: ignore[misc]
            """Change one's mind slowly.

            Args:
                keep: probability of keeping the last draw.
            """

            def __init__(
                self,
                model: Any,
                mutation_hooks: Any = None,
                *,
                keep: float = 0.9,
                seed: int | None = None,
                registry: Any = None,
            ) -> None:
                super().__init__(model, mutation_hooks, seed=seed, registry=registry)
                self.keep = keep

        oneshot.registry.register("strategy", "noise.lazy", Lazy)
        yield
        oneshot.registry.unregister("strategy", "noise.lazy")

    def test_its_options_are_documented_typed_and_used(
        self, search: Oneshot, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["search", "--search.help", "noise.lazy"]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert "probability of keeping the last draw. (type: float, default: 0.9)" in shown
        options = ("--search.strategy", "noise.lazy", "--search.keep")
        assert search(*options, "often") == 2
        assert "keep" in capsys.readouterr().err
        assert search(*options, "0.5", "--trainer.max_epochs", "1", "--out", "run") == 0
        record = json.loads(Path("run/run.json").read_text())
        assert record["strategy"]["options"] == {"keep": "0.5"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--search.strategy", "gdaz"], "did you mean strategy:gdas"),
        (["--search.strategy", "darts"], "--search.arch_fraction 0.5"),
        ([*GDAS, "--search.temprature", "3"], "--search.temprature"),
        ([*GDAS[:3], "1.5"], "between 0 and 1"),
        ([*GDAS, "--search.temperature", "-1"], "numbers greater than 0"),
        (["--search.arch_fraction", "0.5"], "leave search.arch_fraction out"),
        (["--config", "not-there.yaml"], "not-there.yaml"),
        (["--model", "no_such:Net"], "No module named 'no_such'"),
        (["--model", "cli_users:Nett"], "no attribute 'Nett'"),
        (["--model.hidden", "wide"], "Expected a <class 'int'>. Got value: wide"),
        (["--model.hidden", "-1"], "making the model or the data failed: RuntimeError: Trying"),
        (["--model", "cli_users:Raises"], "RuntimeError: no data at /here ("),
        (["--model", "cli_users:number"], "Import path does not correspond"),
        (["--model", "cli_broken:Net"], "fix: correct that file"),
        (["--out", "file.txt"], "--out file.txt is a file"),
        (["--search.strategy"], "expected one argument"),
        (["--resume"], "argument --resume: expected one argument"),
        (["--config"], "expected one argument"),
        (["--config", "file.txt"], "Unexpected config: hello"),
        (["--config", "."], "is not a file"),
        (["--nosuch", "1"], "--nosuch"),
        (["--trainer.max_epochs", "many"], "trainer.max_epochs"),
        (["--trainer.accelerator", "tpu"], "making the Trainer failed"),
        (["--trainer.strategy", "no_such"], "making the Trainer failed"),
        (["--rank.metric", "val_acc", "--rank.budget", "3"], "leave the budget out"),
        (["--rank.metric", "val_acc", "--rank.method", "evolution"], "rank.budget"),
        (["--rank.metric", "val_acc", "--rank.method", "evolutoin"], "did you mean"),
        (["--rank.metric", "val_acc", "--rank.costs", "[mass]"], "did you mean"),
        (["--rank.metric", "val_acc", "--rank.inputs", "[3xq]"], "sizes with x"),
        (["--resume", "not-there"], "name a folder that `oneshot search` wrote"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_trained_or_written(
    options: list[str],
    says: str,
    search: Oneshot,
    users: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("file.txt").write_text("hello")
    (users / "cli_broken.py").write_text("def (")
    assert search(*options) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "\n  expected: " in error
    assert "\n  fix: " in error
    assert "Traceback" not in error
    assert not Path("runs").exists()


def test_a_folder_with_a_run_is_not_written_over(
    search: Oneshot, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run").mkdir()
    Path("run/run.json").write_text("{}")
    assert search("--out", "run") == 2
    assert "oneshot search --resume run" in capsys.readouterr().err


def test_without_the_extra_the_fix_is_to_install_it(
    search: Oneshot, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "jsonargparse", None)
    monkeypatch.setattr("oneshot_plugins.run.words.find_spec", lambda name: None)
    assert search() == 2
    assert "pip install 'oneshot-core[cli]'" in capsys.readouterr().err
