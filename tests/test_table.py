"""Tables for notebooks and terminals."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

from rich.console import Console

from oneshot_core.tables import Table, number

ODD = "<script>alert(1)</script>[red]x[/red]"


def printed(thing: Any) -> str:
    """Return what ``rich.print`` writes where there is no terminal."""
    console = Console(file=io.StringIO(), width=120)
    console.print(thing)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_nothing_in_a_cell_is_markup() -> None:
    table = Table([ODD], [[ODD]], title=ODD, more=1200)
    page = table.html()
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") == 3
    assert "... and 1,200 more" in page
    text = printed(table.rich())
    assert text.count(ODD) == 3
    assert "... and 1,200 more" in text


def test_notebooks_align_numbers_to_the_right_and_text_to_the_left() -> None:
    page = Table(["n", "name"], [["1", "a"]], title="t", right=[0]).html()
    assert '<th style="text-align: right">n</th><th style="text-align: left">name</th>' in page
    assert '<td style="text-align: right">1</td><td style="text-align: left">a</td>' in page


def test_numbers_are_aligned_to_the_right() -> None:
    lines = printed(Table(["n", "name"], [["1", "a"], ["100", "b"]], right=[0]).rich()).splitlines()
    assert [line.split() for line in lines if "a" in line or "b" in line][1:] == [
        ["1", "a"],
        ["100", "b"],
    ]
    assert lines[3].index("1") == lines[4].index("1") + 2


def test_rich_is_not_imported_for_a_notebook() -> None:
    code = (
        "import sys; from oneshot_core.tables import Table; Table(['a'], [['b']]).html(); "
        "assert 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_whole_numbers_keep_their_digits() -> None:
    assert [number(n) for n in (2300000.0, 0.1234567, 1234.5678, -3, float("inf"))] == [
        "2,300,000", "0.123457", "1,234.57", "-3", "inf",
    ]  # fmt: skip
