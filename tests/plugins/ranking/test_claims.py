"""Several live processes on one journal: nothing is scored twice, lost or torn."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oneshot_plugins.ranking.claims import Claims, _byte

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no such locks")

SCRIPT = """
import json, os, signal, sys, time, traceback, warnings
from pathlib import Path

import torch
from pytorch_lightning import LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot

warnings.simplefilter("ignore")
torch.set_num_threads(1)


class Net(LightningModule):
    # 24 networks
    def __init__(self):
        super().__init__()
        self.first = oneshot.LayerChoice([nn.Linear(6, 6) for _ in range(4)], label="a")
        self.second = oneshot.LayerChoice([nn.Linear(6, 6) for _ in range(3)], label="b")
        self.third = oneshot.LayerChoice([nn.Linear(6, 2) for _ in range(2)], label="c")

    def forward(self, x):
        return self.third(self.second(self.first(x).relu()).relu())

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Place:
    # Number the architectures; take some time for it, or die with half a line written.
    def __init__(self, journal, kill_at):
        self.journal, self.kill_at, self.seen = journal, kill_at, []

    def __call__(self, architecture):
        a, b, c = map(int, architecture.values())
        self.seen.append(a + 4 * b + 12 * c)
        if len(self.seen) > 1:  # the first is the trial before anything is scored
            time.sleep(0.1)
        if len(self.seen) == self.kill_at:
            with self.journal.open("a") as file:
                file.write('{"choices": {"a": ')
            os.kill(os.getpid(), signal.SIGKILL)
        return float(self.seen[-1])


def score(folder, name, others, kill_at, options):
    torch.manual_seed(0)
    search = oneshot.search(Net(), seed=0)
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
    data = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=32)
    if "storage" in options:  # what takes a second to import
        import optuna
        optuna.create_study(storage=f"sqlite:///{folder}/{name}.db")
    place = Place(folder / "pareto.jsonl", kill_at)
    (folder / f"{name}.ready").touch()
    while not all((folder / f"{other}.ready").exists() for other in others):
        time.sleep(0.005)
    front = search.pareto(
        {"loss": "min", "place": "max"}, data, measures={"place": place},
        journal=place.journal, progress=False, **{"baselines": False, **options},
    )
    return {
        "seen": place.seen[1:],
        "scored": [[s.values["place"], s.values["loss"]] for s in front.scored],
        "front": [[s.values["place"], s.values["loss"]] for s in front],
    }


def start(folder, name, *given):
    # Fork: a process of its own, which has nothing to import.
    if child := os.fork():
        return child
    code = 1
    try:
        found = score(folder, name, *given)
        (folder / f"{name}.json").write_text(json.dumps(found))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


for line in sys.stdin:
    folder, kill_at, options = json.loads(line)
    names = [str(i) for i in range(len(kill_at))]
    children = [
        start(Path(folder), name, names, kill, options)
        for name, kill in zip(names, kill_at, strict=True)
    ]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(json.dumps(codes), flush=True)
"""

Run = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """A process that has imported everything, and forks those that score."""
    folder = tmp_path_factory.mktemp("server")
    script = folder / "score.py"
    script.write_text(SCRIPT)
    with (folder / "errors").open("w+") as errors:
        command = [sys.executable, str(script)]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
        with subprocess.Popen(command, text=True, **pipes) as process:
            yield process
            process.communicate(timeout=120)
        errors.seek(0)
        assert process.returncode == 0, errors.read()[-3000:]


@pytest.fixture
def run(server: subprocess.Popen[str], tmp_path: Path) -> Run:
    """Return a function that starts processes together and returns what each found.

    Given is for each after how many architectures it kills itself, 0 for never; None comes
    back from one that was killed.
    """

    def started(*kill_at: int, **options: Any) -> list[Any]:
        for old in tmp_path.glob("*.ready"):
            old.unlink()
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps([str(tmp_path), kill_at, options]) + "\n")
        server.stdin.flush()
        codes = json.loads(server.stdout.readline())
        assert codes == [-signal.SIGKILL if kill else 0 for kill in kill_at]
        return [
            None if kill else json.loads((tmp_path / f"{i}.json").read_text())
            for i, kill in enumerate(kill_at)
        ]

    return started


def entries(folder: Path) -> list[Any]:
    """Return the architectures of the journal, each line of which is whole."""
    header, *lines = (folder / "pareto.jsonl").read_text().splitlines()
    assert json.loads(header)["schema"] == "oneshot.journal/1"
    return [json.loads(line)["choices"] for line in lines]


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX, 1, int(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


def test_what_a_process_holds_is_taken_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with path.open("r+b") as file:
        claims = Claims(file.fileno(), path)
        command = [sys.executable, "-c", HOLD, str(path), str(_byte("one"))]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            assert claims.taken("one")
            assert not claims.taken("two")
            with claims.held("two"):
                threading.Timer(0.2, other.kill).start()
                begun = time.monotonic()
                with claims.held("one"):
                    assert time.monotonic() - begun > 0.1
            claims.wait()
        assert not claims.taken("one")


@pytest.mark.slow
def test_two_processes_part_a_small_space_among_them(run: Run, tmp_path: Path) -> None:
    one, other = run(0, 0, budget=24, baselines=True)

    assert sorted(one["seen"] + other["seen"]) == list(range(24))
    assert min(len(one["seen"]), len(other["seen"])) >= 6
    assert one["scored"] == other["scored"]
    assert one["front"] == other["front"]
    assert len(entries(tmp_path)) == len(one["scored"]) == 24


@pytest.mark.slow
def test_a_killed_process_leaves_what_the_others_go_on_with(run: Run, tmp_path: Path) -> None:
    """It dies in its fourth scoring, with half a line written and one architecture claimed."""
    _, other = run(4, 0, budget=24)
    (later,) = run(0, budget=24)

    assert 24 - 4 <= len(other["seen"]) + 3 <= 24 + 3
    assert len(set(other["seen"])) == len(other["seen"])
    assert sorted(place for place, _ in other["scored"]) == list(range(24))
    assert later["seen"] == []
    assert later["scored"] == other["scored"]
    assert later["front"] == other["front"]


@pytest.mark.slow
def test_processes_of_one_storage_score_different_architectures(run: Run, tmp_path: Path) -> None:
    """The budget is exceeded by one at most."""
    one, other = run(0, 0, budget=12, storage=f"sqlite:///{tmp_path}/study.db")

    assert not set(one["seen"]) & set(other["seen"])
    assert min(len(one["seen"]), len(other["seen"])) >= 2
    assert one["scored"] == other["scored"]
    assert one["front"] == other["front"]
    assert len(entries(tmp_path)) == len(one["scored"]) in (12, 13)


@pytest.mark.slow
def test_processes_without_a_storage_take_turns_and_find_what_one_finds(
    run: Run, tmp_path: Path
) -> None:
    """A searcher waits for each score, so there is nothing else to do meanwhile."""
    options = {"searcher": "evolution", "weights": {"loss": 1.0, "place": 0.01}}
    options |= {"population_size": 4}
    one, other = run(0, 0, budget=12, **options)
    together = entries(tmp_path)
    (tmp_path / "pareto.jsonl").unlink()
    (alone,) = run(0, budget=12, **options)

    assert not set(one["seen"]) & set(other["seen"])
    assert one["scored"] == other["scored"] == alone["scored"]
    assert one["front"] == other["front"] == alone["front"]
    assert together == entries(tmp_path)
