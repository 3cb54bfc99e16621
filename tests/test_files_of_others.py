"""Files of others hold anything: each reader names the file and a fix, and nothing is written."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import Architecture, AtomicCheckpointIO, LayerChoice
from oneshot_core.cli import main
from oneshot_core.errors import (
    ArchitectureError,
    CheckpointError,
    InspectionError,
    OneShotError,
    PluginSettingsError,
    RankingError,
)
from oneshot_core.lightning.checkpoint import load_search_state, search_state
from oneshot_core.tables import Table
from oneshot_core.terminal import printable
from oneshot_plugins.costs.build import cost_table
from oneshot_plugins.costs.table import CostError, CostTable
from oneshot_plugins.inspect.report import Inspection
from oneshot_plugins.ranking.journal import Journal
from oneshot_plugins.report.folder import ReportError, read_run
from oneshot_plugins.run.checkpoint import load_checkpoint
from oneshot_plugins.run.folder import RunError, RunFolder
from oneshot_plugins.run.recorder import RunRecorder

DEPTH = 100_000
DEEP = ["[" * DEPTH + "]" * DEPTH, '{"schema":' * DEPTH + "1" + "}" * DEPTH]
ESCAPE = "\x1b[31mred\x1b]0;title\x07\r\x9b2J\u202e"


def refuses(error: type[OneShotError], path: Path, read: Callable[[], Any]) -> str:
    """Require an error of three parts that names a file, which stays as it is."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(error) as caught:
        read()
    text = str(caught.value)
    assert path.name in text
    assert "\n  expected: " in text
    assert "\n  fix: " in text
    assert (path.read_bytes() if path.is_file() else None) == before
    return text


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = LayerChoice([nn.Linear(6, 3), nn.Linear(6, 3)], label="layer")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


# --- nested deeper than Python can follow ---------------------------------------------------------


@pytest.mark.parametrize("deep", DEEP)
def test_an_architecture_that_is_nested_too_deeply_is_refused(deep: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(deep)
    refuses(ArchitectureError, path, lambda: Architecture.load(path))


@pytest.mark.parametrize("deep", DEEP)
def test_a_table_of_costs_that_is_nested_too_deeply_is_refused(deep: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(deep)
    refuses(CostError, path, lambda: CostTable.load(path))


@pytest.mark.parametrize("deep", DEEP)
def test_an_inspection_that_is_nested_too_deeply_is_refused(deep: str) -> None:
    with pytest.raises(InspectionError):
        Inspection.from_json(deep)


@pytest.mark.parametrize("deep", DEEP)
@pytest.mark.parametrize("head", [0, 1])
def test_a_journal_with_a_line_that_is_nested_too_deeply_is_refused(
    deep: str, head: int, tmp_path: Path
) -> None:
    path = tmp_path / "front.jsonl"
    search = oneshot.search(Net(), "random", seed=0)
    Journal(path, search, ["loss"], 0).close()
    lines = path.read_text().splitlines()[:head]
    path.write_text("\n".join([*lines, deep]) + "\n")
    refuses(RankingError, path, lambda: Journal(path, search, ["loss"], 0))


@pytest.mark.parametrize(
    "entry",
    [
        {"choices": {"layer": "0"}, "values": {"loss": 10**400}, "metrics": {}},
        {"choices": {"layer": "0"}, "values": [], "metrics": {}},
        {"choices": 3, "values": {"loss": 1.0}, "metrics": {}},
        {"choices": {"layer": [[[["0"]]]]}, "values": {"loss": 1.0}, "metrics": {}},
    ],
)
def test_a_journal_with_a_line_that_is_no_score_is_refused(
    entry: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "front.jsonl"
    search = oneshot.search(Net(), "random", seed=0)
    Journal(path, search, ["loss"], 0).close()
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\n")

    def read() -> None:
        journal = Journal(path, search, ["loss"], 0)
        try:
            journal.read()
        finally:
            journal.close()

    refuses(RankingError, path, read)


RECORD = {
    "schema": "oneshot.run/1",
    "status": "finished",
    "strategy": {"name": "gdas", "class": "x:Y", "options": {}},
    "model": "x:Net",
    "seed": 0,
    "space": {
        "fingerprint": "0",
        "size": "2",
        "parameters": {"layer": {"candidates": ["0", "1"], "n_chosen": 1}},
        "places": [],
        "diagrams": [],
    },
    "versions": {"torch": "2"},
    "registry": {"fingerprint": "0", "components": {}},
}
FILES = {
    "run.json": "oneshot.run/1",
    "architecture.json": "oneshot.architecture/1",
    "ranking.json": "oneshot.ranking/1",
    "pareto.json": "oneshot.pareto/1",
    "baselines.json": "oneshot.baselines/1",
    "probabilities.jsonl": "oneshot.probabilities/1",
}


@pytest.mark.parametrize("deep", DEEP)
@pytest.mark.parametrize("name", FILES)
def test_a_report_names_the_file_that_is_nested_too_deeply(
    deep: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RECORD))
    (tmp_path / name).write_text(deep)
    refuses(ReportError, tmp_path / name, lambda: read_run(tmp_path))
    assert main(["report", str(tmp_path)]) == 2
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("value", [10**400, -1, "x", [], {}, [[["x"]]], None, True])
@pytest.mark.parametrize("field", ["entries", "metric", "mode"])
def test_a_report_of_damaged_files_is_a_page_or_an_error_with_a_fix(
    value: Any, field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"architecture": {"layer": "0"}, "score": value, "metrics": {}, "costs": {}}
    ranking = {"schema": FILES["ranking.json"], "metric": "acc", "mode": "max", "entries": [entry]}
    if field != "entries":
        entry["score"], ranking[field] = 0.5, value
    (tmp_path / "run.json").write_text(json.dumps(RECORD))
    (tmp_path / "ranking.json").write_text(json.dumps(ranking))
    code = main(["report", str(tmp_path)])
    said = capsys.readouterr().err
    assert code == 0 or (code == 2 and "\n  expected: " in said and "\n  fix: " in said)
    assert code == 0 or not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("seconds", "x"), ("sessions", "1"), ("started", 3), ("epochs", {}), ("metrics", 3)),
        *(("space", []), ("strategy", 7), ("registry", 3), ("versions", []), ("max_epochs", [])),
    ],
)
def test_a_report_of_a_damaged_record_is_a_page_or_an_error_with_a_fix(
    field: str, value: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text(json.dumps({**RECORD, field: value}))
    code = main(["report", str(tmp_path)])
    said = capsys.readouterr().err
    assert code == 0 or (code == 2 and "\n  expected: " in said and "\n  fix: " in said)


@pytest.mark.parametrize("content", [*DEEP, "[]", "{", json.dumps({**RECORD, "seconds": "x"})])
def test_a_damaged_record_is_refused_by_a_resumed_run(content: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.record.write_text(content)
    refuses(RunError, folder.record, folder.read_record)


@pytest.mark.parametrize(
    "lines",
    [
        [DEEP[0]],
        ["[]"],
        ['{"schema": "oneshot.probabilities/1"}', "3"],
        ['{"schema": "oneshot.probabilities/1"}', '{"epoch": "x"}'],
        ['{"schema": "oneshot.probabilities/1"}', DEEP[1]],
    ],
)
def test_damaged_probabilities_are_refused_by_a_resumed_run(
    lines: list[str], tmp_path: Path
) -> None:
    recorder = RunRecorder(tmp_path)
    recorder.folder.probabilities.write_text("\n".join(lines) + "\n")
    refuses(RunError, recorder.folder.probabilities, recorder.folder.read_probabilities)


def test_settings_of_plugins_that_are_nested_too_deeply_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("[tool.oneshot.plugins]\ndisable = " + "[" * DEPTH + "]" * DEPTH + "\n")
    monkeypatch.chdir(tmp_path)
    refuses(PluginSettingsError, path, lambda: oneshot.Registry().find())


# --- what is no file, or leads to another ---------------------------------------------------------


def test_a_folder_is_no_architecture(tmp_path: Path) -> None:
    assert "Is a directory" in refuses(
        ArchitectureError, tmp_path, lambda: Architecture.load(tmp_path)
    )


@pytest.mark.parametrize("exists", [True, False])
def test_a_report_is_not_written_through_a_link(
    exists: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, victim = tmp_path / "run", tmp_path / "victim"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(RECORD))
    if exists:
        victim.write_text("mine")
    (folder / "report.html").symlink_to(victim)
    for more in ([], ["--out", str(folder / "report.html")]):
        assert main(["report", str(folder), *more]) == 2
        said = capsys.readouterr().err
        assert "is a link to" in said
        assert "\n  fix: " in said
    assert victim.exists() == exists
    assert not exists or victim.read_text() == "mine"


def test_figures_are_not_drawn_through_a_link(finished_history: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figures, victim = tmp_path / "figures", tmp_path / "victim"
    victim.write_text("mine")
    assert main(["report", str(finished_history), "--figures", str(figures)]) == 0
    drawn = next(figures.glob("*.svg"))
    drawn.unlink()
    drawn.symlink_to(victim)
    assert main(["report", str(finished_history), "--figures", str(figures)]) == 2
    assert victim.read_text() == "mine"


@pytest.fixture
def finished_history(tmp_path: Path) -> Path:
    """Return a run folder with two epochs."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(RECORD))
    head = {"schema": FILES["probabilities.jsonl"], "candidates": {"layer": ["0", "1"]}}
    lines = [
        {"epoch": n, "step": n, "probabilities": {"layer": [0.5 + n / 10, 0.5 - n / 10]}}
        for n in range(3)
    ]
    text = "\n".join(map(json.dumps, [head, *lines]))
    (folder / "probabilities.jsonl").write_text(text + "\n")
    return folder


def test_a_device_that_a_link_leads_to_is_written_to(finished_history: Path) -> None:
    assert main(["report", str(finished_history), "--out", "/dev/null"]) == 0


# --- checkpoints ----------------------------------------------------------------------------------

WRONG = ["state_dict", "epoch", "global_step", "loops", "callbacks", "optimizer_states"]


@pytest.mark.parametrize("name", [*WRONG, "lr_schedulers", "oneshot"])
@pytest.mark.parametrize("value", ["x", True, 1.5])
def test_an_entry_of_a_checkpoint_of_a_wrong_type_is_named(
    name: str, value: Any, tmp_path: Path
) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {}, name: value}, path)
    for read in (AtomicCheckpointIO().load_checkpoint, load_checkpoint):
        text = refuses(CheckpointError, path, lambda read=read: read(path))  # type: ignore[misc]
        assert repr(name) in text


@pytest.mark.parametrize("name", ["seed", "plugins", "space", "decisions", "state"])
@pytest.mark.parametrize("value", ["x", 1.5, [[]]])
def test_a_search_in_a_checkpoint_of_wrong_types_is_refused(name: str, value: Any) -> None:
    search = oneshot.search(Net(), "random", seed=5)
    saved = copy.deepcopy(search_state(search))
    saved[name] = value
    with pytest.raises(CheckpointError) as caught:
        load_search_state(search, saved)
    assert "\n  fix: " in str(caught.value)


def test_a_random_state_of_a_wrong_type_is_refused(tmp_path: Path) -> None:
    from oneshot_plugins.run.checkpoint import KEY, SearchCheckpoint

    keeper = SearchCheckpoint(tmp_path / "search.ckpt")
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    before = random.getstate()
    for state in ("x", {}, {"python": (3, "x", None)}):
        with pytest.raises(RunError, match=r"the random state in (.|\n)*fix: "):
            keeper.on_load_checkpoint(trainer, Net(), {KEY: state})
    assert random.getstate() == before


# --- what a terminal obeys ------------------------------------------------------------------------


def obeyed(text: str) -> list[str]:
    """Return the control characters in a text."""
    return [c for c in text if printable(c) != c]


def test_control_characters_become_their_escapes_and_text_stays() -> None:
    assert printable(ESCAPE) == r"\x1b[31mred\x1b]0;title\x07\r\x9b2J\u202e"
    assert printable("Zoë\t日本 – “a”\n") == "Zoë\t日本 – “a”\n"


MANIFEST = """
from oneshot_core.hookspecs import Component, hookimpl

@hookimpl
def oneshot_components():
    return [
        Component("cost", "x.one", "x_parts:one", summary={summary!r}),
        Component("command", "x-say", "x_parts:say", summary={summary!r}),
        Component("cost", "x.gone", "x_gone:one", summary="gone"),
    ]

@hookimpl
def oneshot_report_header():
    return [{summary!r}]
"""
PARTS = """
def one(network, *inputs):
    raise ValueError({summary!r})
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["plugins", "list", "--all"],
        ["plugins", "info", "cost:x.one"],
        ["plugins", "order"],
        ["plugins", "doctor"],
        ["plugins", "check", "cost:x.one"],
        ["--help"],
        ["--version"],
        ["plugins", "info", f"cost:{ESCAPE}"],
    ],
)
def test_metadata_of_packages_does_not_reach_the_terminal_as_it_is(
    arguments: list[str], fake_dist: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = ESCAPE.replace("\r", "")  # it ends a line of metadata
    fake_dist(
        "oneshot-plugin-x",
        version="1.0",
        metadata=f"Metadata-Version: 2.1\nName: oneshot-plugin-x{odd}\nVersion: 1.0{odd}\n",
        entry_points={"main": "x_manifest", "broken": f"x_{odd}"},
        modules={
            "x_manifest.py": MANIFEST.format(summary=ESCAPE),
            "x_parts.py": PARTS.format(summary=ESCAPE),
        },
    )
    main(arguments)
    captured = capsys.readouterr()
    assert captured.out + captured.err
    assert obeyed(captured.out) == []
    assert obeyed(captured.err) == []


def test_a_table_of_costs_with_control_characters_is_shown_with_escapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = nn.Sequential(LayerChoice({ESCAPE: nn.Linear(2, 2), "b": nn.Tanh()}, label=ESCAPE))
    path = cost_table(model, "parameters", inputs=[torch.zeros(1, 2)]).save(tmp_path / "a.json")
    assert main(["cost", "show", str(path)]) == 0
    out = capsys.readouterr().out
    assert r"\x1b[31mred" in out
    assert obeyed(out) == []


def test_an_error_about_a_file_shows_control_characters_as_escapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text(json.dumps({**RECORD, "schema": ESCAPE}))
    assert main(["report", str(tmp_path)]) == 2
    assert obeyed(capsys.readouterr().err) == []


def test_cells_of_a_table_in_a_terminal_show_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    console = Console(width=200, color_system=None)
    console.print(Table(["label"], [[ESCAPE]]).rich())
    assert obeyed(capsys.readouterr().out) == []
