"""What the page says, leaves out, and never loads."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import oneshot_core as oneshot
from oneshot_core.cli import main
from oneshot_plugins.report import command
from oneshot_plugins.report.folder import read_run
from oneshot_plugins.report.render import render


def words(page: str) -> str:
    """Return the text of a page without its style and scripts."""
    page = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_the_page_says_what_the_folder_holds(folder: Any) -> None:
    made = folder().everything()
    page = words(render(read_run(made.path)))
    first = made.draw(1)[0]
    assert "finished 02 Jan 2026, 04:05 UTC / run" in page
    assert "darts over Net" in page
    assert f"Of infinitely many architectures the search chose {next(iter(first))}" in page
    assert "which is number 1 of 4 ranked by val_acc" in page
    assert "1 h 1 min on cuda:0" in page
    assert "best val_acc 0.9 with shared weights" in page
    assert "val_acc over macs" in page
    assert "val_acc over size" in page
    assert "val_acc is to be large, macs is to be small" in page
    assert "Those on the front are drawn strong; macs had to be at most 50." in page
    assert "1 more has no finite score" in page
    assert "The small orange point is a random architecture" in page
    assert (
        "beside it val_acc macs best found the chosen architecture 0.9 1M "
        "mean of 5 random 0.7 largest 0.85 2M" in page
    )
    assert "the other way round): val_acc and macs 0.46. " in page
    assert "found the chosen architecture seed 0" in page
    assert "largest seed 1" in page
    for fact in ("seed 7", "option order 2", "registry fingerprint oneshot1:abc", "torch 2.13.0",
                 "cuda:0 × 2", "1 h 1 min, in 2 sessions", "cost:macs x 1.0"):  # fmt: skip
        assert fact in page
    assert "seed: 7 # <b>" in page
    assert "No " not in page.replace("No finite", "")


def test_names_are_never_markup(folder: Any) -> None:
    run = read_run(folder().everything().path)
    record = {**run.record, "model": "m:<img src=x onerror=alert(1)>", "error": "<b>no</b>"}
    page = render(type(run)(run.path, record, *list(vars(run).values())[2:]))
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "<b>no</b>" not in page
    assert page.count("<script") == 2
    assert "&lt;script&gt;alert(1)&lt;/script&gt;odd" in page
    data = re.search(r'<script type="application/json" id="names">(.*?)</script>', page, re.S)
    assert data
    assert json.loads(data[1])[0]["labels"][0] == "<script>alert(1)</script>odd"


@pytest.mark.parametrize("full", [True, False])
def test_the_page_loads_nothing(full: bool, folder: Any) -> None:
    made = folder().everything() if full else folder().record()
    page = render(read_run(made.path))
    assert set(re.findall(r'\b(?:src|href|action|poster|data)="([^"]*)"', page)) == {"data:,"}
    assert not re.search(r"https?:|//[a-z]|url\(|@import|fetch\(|XMLHttp|import\(", page)
    assert "default-src 'none'" in page


def test_what_is_missing_is_said_with_what_would_put_it_there(folder: Any) -> None:
    page = words(render(read_run(folder().record(seconds=None).path)))
    for name in ("oneshot rank", "probabilities.jsonl", "RunRecorder", "pareto.json",
                 "baselines.json", "config.yaml"):  # fmt: skip
        assert name in page
    assert "Nothing is chosen yet among infinitely many architectures" in page
    assert page.count("No ") == 4
    assert "Nan" not in page
    assert "None" not in page.replace("None: put", "")


def test_a_running_search_shows_what_it_prefers(folder: Any) -> None:
    made = folder().record(status="running", ended=None).history()
    page = words(render(read_run(made.path)))
    assert "running 02 Jan 2026, 03:04 UTC" in page
    assert "Nothing is chosen yet. At present the search prefers" in page
    assert "Preferred at present, not final" in page


def test_a_strategy_that_learns_no_preference_has_no_lines(folder: Any) -> None:
    made = folder().record(strategy={"name": "random"}).history(moves=False)
    page = words(render(read_run(made.path)))
    assert "They did not move: random learns no preference" in page
    assert "entropy" not in page


def test_a_failed_run_says_why(folder: Any) -> None:
    made = folder().record(status="failed", error="ValueError: boom", metrics={})
    assert "ValueError: boom" in words(render(read_run(made.path)))


def test_a_choice_of_one_candidate_is_not_called_a_short_history(folder: Any) -> None:
    model = nn.Sequential(oneshot.LayerChoice({"only": nn.Identity()}, label="a"))
    page = words(render(read_run(folder(model).record().history().architecture().path)))
    assert "Nothing could move: each choice has one candidate." in page
    assert "Of 1 architecture the search chose a only" in page
    assert "fewer than two epochs" not in page


def test_the_front_has_a_table_of_what_is_on_it(folder: Any) -> None:
    page = words(render(read_run(folder().record().front().path)))
    front = page[page.index("Pareto front") :]
    table = re.search(r"architecture; below the first: what differs from it (.*?) Baselines", front)
    assert table
    places = re.findall(r"(?<!\S)(\d) (0\.\d+) (\d)(?!\S)", table[1])
    assert places == [("1", "0.9", "9"), ("2", "0.7", "3"), ("3", "0.5", "1")]


class Large(nn.Module):
    """200 labels of eight candidates."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            oneshot.LayerChoice({f"op{i}": nn.Identity() for i in range(8)}, label=f"block{n}")
            for n in range(200)
        )


@pytest.mark.slow
def test_a_large_search_gives_a_page_that_can_be_read(folder: Any) -> None:
    made = folder(Large()).record().history(200).architecture().ranking(2000)
    page = render(read_run(made.path))
    assert len(page.encode()) < 5_000_000
    shown, *hidden = re.split(r"<details>.*?</details>", page, flags=re.S)
    assert shown.count('class="label"') == 4 * 14
    assert sum(part.count('class="panel"') for part in [shown, *hidden]) == 24
    assert page.count('class="panel"') == 200
    assert "The other 176 labels" in page
    assert "The other 144 labels" in page


# --- the command ----------------------------------------------------------------------------


def test_the_command_writes_the_page_and_says_where(
    folder: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    made = folder().everything()
    assert main(["report", str(made.path)]) == 0
    file = made.path / "report.html"
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert capsys.readouterr().out.startswith(f"{file}  ")
    out = made.path / "new" / "page.html"
    assert main(["report", str(made.path), "--out", str(out)]) == 0
    assert out.is_file()


def test_the_command_draws_the_figures(folder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    made = folder().everything()
    figures = made.path / "figures"
    assert main(["report", str(made.path), "--figures", str(figures)]) == 0
    names = {
        "architecture", "baselines", "front", "probabilities", "ranking", "ranking-beside",
        "search",
    }  # fmt: skip
    assert {p.name for p in figures.iterdir()} == {
        f"{n}{s}" for n in names for s in (".png", ".svg")
    }
    assert all(str(path) in capsys.readouterr().out for path in [next(figures.iterdir())])
    svg = (figures / "architecture.svg").read_text()
    assert "kernel" in svg
    assert "&lt;script&gt;alert(1)" in svg
    ranking, beside = ((figures / f"{n}.svg").read_text() for n in ("ranking", "ranking-beside"))
    assert "macs" in ranking
    assert "largest" in ranking
    for said in ("mean of 5 random", "0.85", "2M", "val_acc and macs 0.46"):
        assert said in beside
    baselines = (figures / "baselines.svg").read_text()
    assert "&lt;script&gt;alert(1)" in baselines
    assert "900k" in baselines


def test_dollars_in_names_are_not_mathematics(folder: Any) -> None:
    class Dollars(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c = oneshot.LayerChoice({"$\\bad{$": nn.Identity(), "b": nn.Tanh()}, label="$^$")

    made = folder(Dollars()).record().history().architecture()
    assert main(["report", str(made.path), "--figures", str(made.path / "figures")]) == 0
    assert "$\\bad{$" in (made.path / "figures" / "architecture.svg").read_text()


def test_cells_are_drawn_as_figures_too(folder: Any) -> None:
    made = folder(oneshot.registry.load("space", "nas-bench-201")(), "cell").record().architecture()
    figures = made.path / "figures"
    assert main(["report", str(made.path), "--figures", str(figures)]) == 0
    assert {p.name for p in figures.iterdir()} == {"cell-0.png", "cell-0.svg"}


@pytest.mark.slow
def test_the_same_run_gives_the_same_files(folder: Any) -> None:
    made = folder().record().history().architecture()
    for name in ("one", "two"):
        assert main(["report", str(made.path), "--figures", str(made.path / name)]) == 0
    for file in (made.path / "one").iterdir():
        assert file.read_bytes() == (made.path / "two" / file.name).read_bytes(), file.name


def test_what_a_user_can_get_wrong_ends_in_a_fix(
    folder: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "fix: name that folder" in capsys.readouterr().err
    made = folder().record()
    assert main(["report", str(made.path), "--out", str(tmp_path)]) == 2
    assert "fix: name others with --out FILE" in capsys.readouterr().err
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert main(["report", str(made.path), "--figures", "x"]) == 2
    assert "pip install 'oneshot-core[report]'" in capsys.readouterr().err
    assert not (made.path / "report.html").exists()


def test_a_report_needs_no_torch(folder: Any) -> None:
    made = folder().everything()
    code = (
        "import sys; from oneshot_core.cli import main; "
        f"assert main(['report', {str(made.path)!r}]) == 0; "
        "assert not {'torch', 'numpy', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
