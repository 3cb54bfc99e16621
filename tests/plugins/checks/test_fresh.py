"""What code does in a process of its own is told, and what cannot run says why."""

from __future__ import annotations

import pytest

from oneshot_core.errors import ConformanceError
from oneshot_plugins.checks import fresh
from oneshot_plugins.checks.fresh import in_fresh_process


def test_imports_time_and_output_are_told() -> None:
    found = in_fresh_process("import time; time.sleep(0.2); print('one'); import json as torch")
    assert found.heavy == ()
    assert 0.2 <= found.seconds < 20
    assert found.yardstick > 0
    assert found.output == "one"


def test_what_is_written_past_sys_stdout_is_output_and_no_answer() -> None:
    code = "import sys; print('past', file=sys.__stdout__)"
    assert in_fresh_process(code).output == "past"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise ValueError('broken')", "ValueError: broken"),
        ("import sys; sys.exit()", "it ends the process"),
        ("import os; os._exit(3)", "nothing was said"),
    ],
)
def test_what_does_not_run_to_its_end_says_why(code: str, why: str) -> None:
    with pytest.raises(ConformanceError, match=why) as caught:
        in_fresh_process(code)
    assert f"fix: make this run: python -c {code!r}" in str(caught.value)


def test_what_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "LIMIT_S", 0.5)
    with pytest.raises(ConformanceError, match=r"not done after 0\.5 s"):
        in_fresh_process("while True: pass")
