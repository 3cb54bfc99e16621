"""``oneshot plugins check``: exit code, table and JSON."""

from __future__ import annotations

import json
import subprocess
import sys

from oneshot_core.cli import main

MANIFEST = """
from oneshot_core.hookspecs import Component, hookimpl

@hookimpl
def oneshot_components():
    return [Component("cost", "x.nan", "x_parts:nan", summary="not a [number]")]
"""

PARTS = """
print("noise from the target")
def nan(network, *inputs):
    return float("nan")
"""


def test_what_passes_is_exit_code_0_and_one_line(capsys) -> None:
    assert main(["plugins", "check", "cost:macs"]) == 0
    assert capsys.readouterr().out == "9 passed, 1 skipped\n"


def test_all_results_are_shown_when_asked_for(capsys) -> None:
    assert main(["plugins", "check", "cost:macs", "--verbose"]) == 0
    out = capsys.readouterr().out
    assert "cost.leaves-network-alone" in out
    assert out.count("\n") == 1 + 10 + 1


def test_what_fails_is_exit_code_1_with_a_row_that_says_why(fake_dist, capsys) -> None:
    fake_dist(
        "oneshot-plugin-x",
        entry_points={"main": "x_manifest"},
        modules={"x_manifest.py": MANIFEST, "x_parts.py": PARTS},
        requires=["oneshot-core>=0.1,<0.2"],
    )
    assert main(["plugins", "check", "oneshot-plugin-x"]) == 1
    captured = capsys.readouterr()
    assert "failed   cost:x.nan  cost.is-a-number  the cost of a Sequential is nan." in captured.out
    assert "fix: return float(...)" in captured.out
    assert "noise" not in captured.out

    assert main(["plugins", "check", "cost:x.nan", "--json"]) == 1
    written = json.loads(capsys.readouterr().out)
    assert written["schema"] == "oneshot.conformance/1"
    assert written["ok"] is False


def test_an_unknown_name_is_exit_code_2(capsys) -> None:
    assert main(["plugins", "check", "oneshot-plugin-y"]) == 2
    assert "error: nothing that is installed is named" in capsys.readouterr().err


def test_the_other_subcommands_import_neither_torch_nor_pytest() -> None:
    code = (
        "import sys; from oneshot_core.cli import main; main(['plugins', 'list']);"
        "main(['plugins', 'check', '--help']);"
        "import oneshot_core.testing, oneshot_core.testing.plugin;"
        "sys.exit(bool({'torch', 'pytorch_lightning', 'lightning'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr
