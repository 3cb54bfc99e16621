"""What is read from a run folder, and what is said about damaged files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oneshot_plugins.report.folder import ReportError, read_run
from oneshot_plugins.report.render import render


def test_everything_in_the_folder_is_read(folder: Any) -> None:
    made = folder().everything()
    run = read_run(made.path)
    first = made.draw(1)[0]
    assert dict(run.architecture) == {
        label: list(choice) if label == "pair" else choice for label, choice in first.items()
    }
    assert [epoch.epoch for epoch in run.history.epochs] == [0, 1, 2, 3]
    assert run.history.candidates["kernel"] == [(1,), (3,)]
    assert run.ranking.objectives == {"val_acc": "max"}
    assert run.ranking.others == ["macs", "size"]
    assert (len(run.ranking.points), run.ranking.left_out) == (4, 1)
    assert run.ranking.points[0].architecture == run.architecture
    assert [(b.name, b.values) for b in run.ranking.beside.rows][1:] == [
        ("mean of 5 random", {"val_acc": 0.7}), ("largest", {"val_acc": 0.85, "macs": 2e6}),
    ]  # fmt: skip
    assert run.ranking.beside.rows[0].architecture == run.architecture
    assert run.ranking.beside.random == [{"val_acc": 0.6, "macs": 3e5}]  # the other is ranked
    assert run.ranking.beside.agreement == [("val_acc", "macs", 0.4567), ("val_acc", "truth", None)]
    assert run.front.beside is None
    assert [p.values["val_acc"] for p in run.front.points] == [0.9, 0.7, 0.6, 0.5]
    assert [p.best for p in run.front.points] == [True, True, False, True]
    assert [b.seed for b in run.baselines] == [0, None, 1]
    assert run.baselines[0].architecture == run.architecture
    assert run.config == "seed: 7 # <b>\n"


def test_only_the_record_must_be_there(folder: Any) -> None:
    run = read_run(folder().record().path)
    assert (run.history, run.architecture, run.ranking, run.front, run.baselines, run.config) == (
        (None,) * 6
    )


def test_a_line_that_a_kill_cut_off_is_left_out(folder: Any) -> None:
    run = read_run(folder().record().history(cut=True).path)
    assert [epoch.epoch for epoch in run.history.epochs] == [0, 1, 2]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"holds no run\.json(.|\n)*fix: name that folder"):
        read_run(tmp_path)
    with pytest.raises(ReportError, match="is no folder"):
        read_run(tmp_path / "nothing")


DAMAGES: dict[str, Callable[[Any], Any]] = {
    "no JSON": lambda text: text[:-3],
    "another schema": lambda text: text.replace("/1", "/9"),
    "no schema": lambda text: "{}",
    "a list": lambda text: "[]",
    "empty": lambda text: "",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name",
    ["run.json", "probabilities.jsonl", "architecture.json", "ranking.json", "pareto.json",
     "baselines.json"],
)  # fmt: skip
def test_a_damaged_file_is_named_with_what_was_expected(
    name: str, damage: str, folder: Any
) -> None:
    file = folder().everything().path / name
    text = file.read_text()
    if name == "probabilities.jsonl":  # its first line; the last may be cut off
        head, rest = text.split("\n", 1)
        text = f"{DAMAGES[damage](head)}\n{rest}"
    else:
        text = DAMAGES[damage](text)
    file.write_text(text)
    with pytest.raises(ReportError) as caught:
        read_run(file.parent)
    message = str(caught.value)
    assert str(file) in message
    assert "\n  expected: " in message
    assert "\n  fix: " in message


def test_a_field_that_is_missing_is_named(folder: Any) -> None:
    file = folder().everything().path / "ranking.json"
    data = json.loads(file.read_text())
    del data["entries"][2]["architecture"]
    file.write_text(json.dumps(data))
    with pytest.raises(ReportError, match="KeyError: 'architecture'"):
        read_run(file.parent)


def test_fields_and_files_that_nobody_knows_are_ignored(folder: Any) -> None:
    made = folder().record(later="?")
    (made.path / "later.json").write_text("?")
    assert read_run(made.path).record["seed"] == 7


def test_epochs_of_a_search_that_diverged_are_left_out(folder: Any) -> None:
    file = folder().record().history().path / "probabilities.jsonl"
    *lines, last = file.read_text().splitlines()
    data = json.loads(last)
    data["probabilities"]["kernel"] = [None, None]
    file.write_text("\n".join([*lines, json.dumps(data)]))
    assert [epoch.epoch for epoch in read_run(file.parent).history.epochs] == [0, 1, 2]


def test_probabilities_of_other_candidates_are_refused(folder: Any) -> None:
    file = folder().record().history().path / "probabilities.jsonl"
    file.write_text(file.read_text().replace('"kernel": [[1], [3]]', '"kernel": [[1]]'))
    with pytest.raises(ReportError, match="epoch 0 has other candidates of 'kernel'"):
        read_run(file.parent)


def test_what_a_record_may_lack_is_filled_in(folder: Any) -> None:
    file = folder().record().path / "run.json"
    needed = ("schema", "status", "strategy", "model", "space")
    record = json.loads(file.read_text())
    file.write_text(json.dumps({name: record[name] for name in needed}))
    assert "an unknown device" in render(read_run(file.parent))
