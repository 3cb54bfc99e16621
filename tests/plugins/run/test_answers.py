"""A run keeps what its search chose and what its ranking found, and says which it uses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import oneshot_core as oneshot
from oneshot_core.cli import main
from oneshot_plugins.run.folder import RunError, RunFolder
from oneshot_plugins.run.rebuild import load_run


@pytest.fixture
def folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the finished run of gdas, ranked, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(finished, "run"))


def best_of(folder: Path) -> oneshot.Architecture:
    entries = json.loads((folder / "ranking.json").read_text())["entries"]
    return oneshot.Architecture(entries[0]["architecture"])


def other_than_chosen(folder: Path) -> oneshot.Architecture:
    """Let the ranking have another best one than the search, and return it."""
    chosen = oneshot.Architecture.load(folder / "architecture.json")
    data = json.loads((folder / "ranking.json").read_text())
    data["entries"].sort(key=lambda e: oneshot.Architecture(e["architecture"]) == chosen)
    other = oneshot.Architecture(data["entries"][0]["architecture"])
    data["best"] = other.to_dict()
    (folder / "ranking.json").write_text(json.dumps(data))
    return other


def test_a_ranking_leaves_what_the_search_chose(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = load_run(folder).search
    before = (folder / "architecture.json").read_text()
    assert oneshot.Architecture.load(folder / "architecture.json") == search.export()
    for mode in ("max", "min"):  # the best of one is the worst of the other
        assert main(["rank", str(folder), "--mode", mode]) == 0
        assert (folder / "architecture.json").read_text() == before
        assert oneshot.Architecture.load(folder / "ranking.json") == best_of(folder)
    said = capsys.readouterr().out
    assert f"chosen: {search.export()}" in said
    assert "architecture.json, what gdas itself prefers" in said
    assert f"the best of the ranking is another one: {best_of(folder)}" in said


def test_margins_are_printed_and_what_is_hardly_ahead_is_a_warning(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nine steps at the default rate decide nothing."""
    assert main(["rank", str(folder)]) == 0
    said = capsys.readouterr().out
    margins = load_run(folder).search.export().margins
    assert oneshot.Architecture.load(folder / "architecture.json").margins == margins
    for label, margin in margins.items():
        assert f"{label} {margin:.3g}" in said
    assert "warning: 2 of 2 choices are hardly ahead of the second best" in said


def test_where_the_strategy_prefers_nothing_each_ranking_chooses(
    search: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search("--trainer.max_epochs", "1", "--out", "run") == 0
    for mode in ("max", "min"):
        assert main(["rank", "run", "--metric", "val_acc", "--mode", mode]) == 0
        assert oneshot.Architecture.load("run/architecture.json") == best_of(Path("run"))
    said = capsys.readouterr().out
    assert "architecture.json, the best of the ranking" in said
    assert "is another one" not in said
    assert main(["report", "run"]) == 0
    assert "itself prefers none, and the ranking by val_acc chose" in Path(
        "run/report.html"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["freeze", "export"])
def test_what_is_frozen_is_said_and_can_be_the_best_of_the_ranking(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen, other = (
        oneshot.Architecture.load(folder / "architecture.json"),
        other_than_chosen(folder),
    )
    assert main([command, str(folder)]) == 0
    said = capsys.readouterr().out
    assert f", {chosen}\n  from run/architecture.json, what gdas itself prefers" in said
    take = "--architecture run/ranking.json"
    assert f"is another one: {other}; to take it: oneshot {command} run {take}" in said
    assert main([command, str(folder), *take.split()]) == 0
    said = capsys.readouterr().out
    assert f", {other}\n  from run/ranking.json, as you said" in said
    assert "another one" not in said
    if command == "freeze":
        loaded: dict[str, Any] = {}
        lines = said[said.index("load it with\n") :].splitlines()[1:]
        exec("\n".join(line.strip() for line in lines), loaded)
        assert loaded["architecture"] == other


def test_the_report_says_who_chose_and_can_be_about_the_best_of_the_ranking(folder: Path) -> None:
    other = other_than_chosen(folder)
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "the search chose" in page
    assert "The best of the ranking is another one" in page
    assert main(["report", str(folder), "--architecture", "run/ranking.json"]) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "ranking.json holds" in page
    assert "is another one" not in page
    assert all(f"{label} {choice}" in page for label, choice in other.items())


def test_a_report_on_a_file_that_is_not_there_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(folder), "--architecture", "nowhere.json"]) == 2
    error = capsys.readouterr().err
    assert "'nowhere.json' is no file" in error
    assert "fix: --architecture run/ranking.json" in error


def test_a_ranking_of_an_earlier_version_stops_nothing(folder: Path) -> None:
    data = json.loads((folder / "ranking.json").read_text())
    del data["best"]
    (folder / "ranking.json").write_text(json.dumps(data))
    assert main(["freeze", str(folder)]) == 0


@pytest.mark.parametrize("text", [b"\xff\xfe", b"{}\n{}\n{}\n", b"1\n2\n3\n", b"[]\n[]\n"])
def test_damaged_probabilities_are_told(text: bytes, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert not folder.has_moved()
    folder.probabilities.write_bytes(text)
    with pytest.raises(RunError, match=r"probabilities\.jsonl' is damaged(.|\n)*fix: "):
        folder.has_moved()
