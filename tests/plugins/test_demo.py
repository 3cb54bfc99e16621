"""``oneshot demo``, run as a user runs it, on fewer epochs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import oneshot_core as oneshot
from oneshot_core.cli import main
from oneshot_plugins.demo.data import EpochBatches, Mnist1d, shuffled
from oneshot_plugins.demo.experiment import Experiment
from oneshot_plugins.spaces.chain import Chain1d


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--strategy", "darts", "--epochs", "1", "--out", str(folder)]) == 0
    return folder


def test_the_demo_writes_an_architecture_weights_and_a_picture(finished: Path) -> None:
    architecture = oneshot.Architecture.load(finished / "architecture.json")
    net = oneshot.freeze(Chain1d(), architecture)
    weights = torch.load(finished / "model.pt", weights_only=True)
    net.load_state_dict(weights)
    assert (finished / "demo.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_strategy_that_ranks_retrains_the_best_of_its_ranking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Experiment, "random_search_size", lambda experiment: 1)
    rankings: list[oneshot.Ranking] = []

    def rank(experiment: Experiment, search: Any, rank: Any = Experiment.rank) -> oneshot.Ranking:
        rankings.append(rank(experiment, search))
        return rankings[-1]

    monkeypatch.setattr(Experiment, "rank", rank)
    assert main(["demo", "--epochs", "1", "--out", str(tmp_path)]) == 0
    (ranking,) = rankings
    assert len(ranking) == 625
    assert oneshot.Architecture.load(tmp_path / "architecture.json") == ranking.best
    assert "random search trained 1 networks" in capsys.readouterr().out


# By day the run that is interrupted and resumed is compared bit for bit with one that is not.
@pytest.mark.nightly
def test_the_same_seed_gives_the_same_files_bit_for_bit(tmp_path: Path) -> None:
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        assert main(["demo", "--epochs", "1", "--out", str(folder)]) == 0
    texts = {(folder / "architecture.json").read_text() for folder in folders}
    assert len(texts) == 1
    first, second = (torch.load(f / "model.pt", weights_only=True) for f in folders)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
def test_resuming_a_finished_run_shows_the_network_beside_its_baselines(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--resume", "--out", str(finished)]) == 0
    out = capsys.readouterr().out
    for row in ("found", "random search", "largest", "paper's CNN", "human"):
        assert row in out
    assert "architecture.json" in out


def test_resuming_needs_something_to_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--resume", "--out", str(tmp_path)]) == 2
    assert "nothing to resume" in capsys.readouterr().err


def test_resuming_with_other_settings_is_refused(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--resume", "--seed", "5", "--out", str(finished)]) == 2
    assert "--seed 5, but the run" in capsys.readouterr().err


def test_epochs_below_one_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--epochs", "0"]) == 2
    assert "expected: 1 or more" in capsys.readouterr().err


DEMO = """
import sys
from oneshot_core.cli import main
from oneshot_plugins.demo.experiment import Experiment
Experiment.random_search_size = lambda experiment: 1
sys.exit(main(["demo", *sys.argv[1:]]))
"""
"""The demo with one network as its baseline, where dozens would be trained after the search."""


# The search is resumed by a checkpoint of the same kind, and what comes after it begins anew: the
# strategy that ranks 625 networks each time is left to the night.
@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param("random", marks=pytest.mark.nightly),
        pytest.param("darts", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_interrupted_and_resumed_finds_what_the_whole_run_finds(
    strategy: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", DEMO]

    def demo(*arguments: str) -> None:
        subprocess.run([*command, *arguments], check=True, capture_output=True)

    epochs = {"random": "12", "darts": "8"}[strategy]  # the search takes seconds
    settings = ("--epochs", epochs, "--strategy", strategy, "--seed", "3")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    demo(*settings, "--out", str(whole))

    arguments = [*command, *settings, "--out", str(broken)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while not broken.exists():  # it is made when Ctrl-C is listened to
            time.sleep(0.02)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        output = process.communicate()[0].decode()
    assert process.returncode == 130, output
    assert "oneshot demo --resume" in output
    demo("--resume", "--out", str(broken))

    texts = [(folder / "architecture.json").read_text() for folder in (whole, broken)]
    assert texts[0] == texts[1]
    first, second = (torch.load(f / "model.pt", weights_only=True) for f in (whole, broken))
    assert all(torch.equal(first[key], second[key]) for key in first)
    first, second = (
        torch.load(f / "search.ckpt", weights_only=False)["state_dict"] for f in (whole, broken)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_data_are_the_official_split() -> None:
    data = Mnist1d()
    shapes = [tuple(part[0].shape) for part in (data.train, data.validation, data.test)]
    assert shapes == [(3200, 40), (800, 40), (1000, 40)]


def test_batches_depend_on_seed_and_epoch_alone() -> None:
    batches = EpochBatches(10, 3, seed=1)
    first = list(batches)
    assert len(first) == len(batches) == 3
    assert list(batches) == first
    batches.set_epoch(1)
    assert list(batches) != first
    assert len({i for batch in first for i in batch}) == 9


def test_a_loader_yields_whole_batches_in_the_order_of_its_sampler() -> None:
    x, y = torch.arange(10).float(), torch.arange(10)
    loader = shuffled((x, y), 4, seed=0)
    assert isinstance(loader, DataLoader)
    assert [b[1].tolist() for b in loader] == list(EpochBatches(10, 4, seed=0))
