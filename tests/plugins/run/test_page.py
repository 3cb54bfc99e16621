"""The page about the command line, followed from an empty folder."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from oneshot_core.cli import main

PAGE = Path(__file__).parents[3] / "docs/command-line.md"


@pytest.mark.slow
def test_every_command_of_the_page_runs_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_model", raising=False)
    text = PAGE.read_text()
    for name, content in re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```$', text, re.M | re.S):
        Path(name).write_text(content)
    commands = re.findall(r"^\$ oneshot (.+)$", text, re.M)
    assert len(commands) > 5
    for command in commands:
        assert main(shlex.split(command)) == 0, command
    assert Path("model.pt").is_file()
    assert Path("net.pt2").is_file()
    assert Path("runs/first/ranking.json").is_file()
