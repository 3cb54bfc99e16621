"""Our own components keep what their kinds promise, each and in every pair."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from oneshot_core.testing import cases
from oneshot_core.testing.suite import *  # noqa: F403

conformance = "oneshot-core"


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(folder.iterdir()) == []  # no logs, no checkpoints
    return done.stdout


@pytest.mark.slow
def test_the_command_line_runs_the_same_checks_and_has_no_advice(tmp_path: Path) -> None:
    out = run(tmp_path, "-m", "oneshot_core", "plugins", "check", "oneshot-core", "--json")
    report = json.loads(out)
    assert report["ok"]
    assert report["counts"]["advice"] == 0
    expected = {(r["subject"], r["check"]) for r in report["results"] if r["outcome"] == "expected"}
    assert expected == DECLARED
    assert len(report["results"]) == len(cases("oneshot-core"))
    outcomes: dict[str, Counter[str]] = {}
    for result in report["results"]:
        outcomes.setdefault(result["check"], Counter())[result["outcome"]] += 1
    never = {check for check, counts in outcomes.items() if not counts["passed"]}
    assert never <= NEVER_OF_OURS


@pytest.mark.slow
def test_pytest_runs_the_same_checks_without_test_code(tmp_path: Path) -> None:
    out = run(
        tmp_path,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--oneshot-conformance",
        conformance,
    )
    passed, skipped, xfailed = (int(n) for n in out.splitlines()[-1].split() if n.isdigit())
    assert passed + skipped + xfailed == len(cases("oneshot-core"))
    assert xfailed == len(DECLARED)


DECLARED = {("cost:latency", "cost.same-network-same-number")}
"""What our own plugins declare to fail: a measured time is not the same twice."""

NEVER_OF_OURS = {
    "packaging.core-version-is-bounded",
    "packaging.installs-its-packages-only",  # from an editable install; of the wheel it is checked
    "component.name-carries-its-prefix",
    "mutation-hook.acts-on-its-samples",
}
"""For others: `oneshot-core` requires and prefixes nothing of its own."""
