"""One process at a time writes into a run folder, and says how it was stopped."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from oneshot_core.cli import main
from oneshot_plugins.run.folder import RunFolder
from oneshot_plugins.run.lock import RunInUseError, held

Oneshot = Callable[..., int]

HOLD = """
import sys, time
from oneshot_plugins.run.folder import RunFolder
from oneshot_plugins.run.lock import held
with held(RunFolder(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_folder_in_use_is_refused_naming_process_and_host(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        with pytest.raises(RunInUseError) as caught, held(RunFolder(tmp_path)):
            pass
        assert f"process {process.pid}, host {platform.node()}" in str(caught.value)
        assert "\n  expected: " in str(caught.value)
        assert "\n  fix: " in str(caught.value)
        process.kill()
        process.wait()
        assert (tmp_path / "running.json").is_file()  # it could not clean up
        with held(RunFolder(tmp_path)):  # and yet it is known to be gone
            assert json.loads((tmp_path / "running.json").read_text())["process"] == os.getpid()
    assert not (tmp_path / "running.json").exists()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_folder_is_given_up_whatever_is_raised(tmp_path: Path, error: type) -> None:
    with pytest.raises(error), held(RunFolder(tmp_path)):
        raise error
    with held(RunFolder(tmp_path)):
        pass


def test_a_folder_that_nothing_was_written_into_is_not_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="early"), held(RunFolder(tmp_path / "a" / "run")):
        raise ValueError("early")
    assert not (tmp_path / "a").exists()


def test_a_run_of_another_host_is_refused_until_its_file_is_deleted(tmp_path: Path) -> None:
    running = tmp_path / "running.json"
    running.write_text('{"host": "node7", "process": 4711, "since": "2026-11-01T00:00:00+00:00"}\n')
    before = running.read_text()
    for _ in range(2):  # the first refusal changes nothing
        holding = held(RunFolder(tmp_path))
        with pytest.raises(RunInUseError, match="process 4711, host node7") as caught, holding:
            pass
        assert f"delete {running}" in str(caught.value)
    assert running.read_text() == before
    running.unlink()
    with held(RunFolder(tmp_path)):
        pass


@pytest.mark.parametrize("content", ["", "[", "[]", "{}", "[" * 100_000])
def test_a_damaged_note_about_the_process_is_no_obstacle(tmp_path: Path, content: str) -> None:
    (tmp_path / "running.json").write_text(content)
    with held(RunFolder(tmp_path)):
        pass


def test_a_running_run_is_neither_resumed_nor_ranked(
    search: Oneshot, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {file: file.read_bytes() for file in finished.rglob("*") if file.is_file()}
    with another_process(finished) as process:
        for command in (
            ["search", "--resume", str(finished)],
            ["rank", str(finished), "--metric", "val_acc"],
        ):
            assert main(command) == 2
            assert f"process {process.pid}" in capsys.readouterr().err
    (finished / "running.json").unlink()
    now = {file: file.read_bytes() for file in finished.rglob("*") if file.is_file()}
    assert now == files


def test_two_searches_started_at_once_get_folders_of_their_own(search: Oneshot) -> None:
    Path("runs").mkdir()
    with another_process(Path("runs/net-random")):
        assert search("--trainer.max_epochs", "1") == 0
    assert Path("runs/net-random-2/run.json").is_file()
    assert not Path("runs/net-random/run.json").exists()


STOPS_ITSELF = """

class Stopped(Net):
    def training_step(self, batch, batch_idx):
        if self.current_epoch == 1:
            import signal
            signal.raise_signal(signal.SIGTERM)
        return super().training_step(batch, batch_idx)


class Exits(Net):
    def training_step(self, batch, batch_idx):
        raise SystemExit(3)
"""


@pytest.fixture
def stopping(users: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Offer modules that stop the process, as ``cli_stopping``."""
    (users / "cli_stopping.py").write_text("from cli_users import *\n" + STOPS_ITSELF)
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)
    sys.modules.pop("cli_stopping", None)


def test_a_run_that_sigterm_stops_says_interrupted_and_goes_on(
    search: Oneshot, stopping: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search("--model", "cli_stopping.Stopped", "--out", "run") == 143
    assert "oneshot search --resume run" in capsys.readouterr().out
    record = json.loads(Path("run/run.json").read_text())
    assert (record["status"], record["error"], record["epochs"]) == ("interrupted", None, 1)
    assert record["ended"] is not None
    assert not Path("run/running.json").exists()


def test_a_model_that_ends_the_process_has_failed_with_its_own_code(
    search: Oneshot, stopping: None
) -> None:
    assert search("--model", "cli_stopping.Exits", "--out", "run") == 3
    record = json.loads(Path("run/run.json").read_text())
    assert (record["status"], record["error"]) == ("failed", "SystemExit: 3")


def bomb(levels: int, by: int = 9) -> str:
    """Return YAML of some lines that stands for ``by ** levels`` values."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * by)}]" for n in range(1, levels + 1)]
    return "\n".join(lines) + "\n"


MERGES = "\n".join(
    [
        "a0: &a0 {x: 1}",
        *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 9)),
    ]
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(9), "values: aliases"),
        (MERGES, "values: aliases"),
        ("model: &m [*m]\n", "endlessly many values"),
        ("model: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("model: &a x\ndata: *a\nsearch: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
    ],
)
def test_a_configuration_that_grows_when_it_is_read_is_refused_at_once(
    search: Oneshot, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    Path("bomb.yaml").write_text(text)
    assert search("--config", "bomb.yaml") == 2
    error = capsys.readouterr().err
    assert said in error
    assert "'bomb.yaml'" in error
    assert "\n  fix: " in error
    assert not Path("runs").exists()


@pytest.mark.parametrize("option", ["--model.init_args.hidden", "--trainer", "--rank", "--data"])
def test_a_file_that_a_configuration_names_is_bounded_too(
    search: Oneshot, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    Path("bomb.yaml").write_text(bomb(9))
    assert search(option, "bomb.yaml") == 2
    assert "\n  fix: " in capsys.readouterr().err
    assert search(option, bomb(9)) == 2


def test_a_configuration_with_some_aliases_is_read(search: Oneshot, users: Path) -> None:
    text = yaml.safe_load((users / "search.yaml").read_text())
    shared = "trainer: &t {limit_train_batches: 1, limit_val_batches: 1}\n"
    Path("more.yaml").write_text(shared + "rank: {options: {a: &l [1, 2], b: *l, c: {<<: *t}}}\n")
    assert text["trainer"]["max_epochs"] == 3
    assert search("--config", "more.yaml", "--trainer.max_epochs", "1", "--out", "run") == 0
    kept = yaml.safe_load(Path("run/config.yaml").read_text())
    assert kept["rank"]["options"]["b"] == [1, 2]
