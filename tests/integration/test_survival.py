"""Searches that are killed, and searches that run for long: `benchmarks/kill.py`, `long.py`.

Each in processes of its own, as a user would start them; fewer kills and steps than by default.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent

SLOW, NIGHTLY = pytest.mark.slow, pytest.mark.nightly


def run(module: str, json_file: Path, *arguments: str) -> tuple[int, Any]:
    """Run ``python -m benchmarks.MODULE``; return its exit code and what it wrote."""
    result = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", "--json", str(json_file), *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert json_file.exists(), result.stderr
    return result.returncode, json.loads(json_file.read_text())


@SLOW
def test_searches_of_every_family_that_are_killed_again_and_again_end_as_if_they_were_not(
    tmp_path: Path,
) -> None:
    """Architecture, every bit of every weight, logged rows, ranking and front."""
    code, families = run("kill", tmp_path / "kill.json", "--kills", "3")
    assert {name: family["differences"] for name, family in families.items()} == {
        name: [] for name in families
    }
    assert code == 0
    assert len(families) == 9
    hit = {phase for family in families.values() for phase in family["hit"]}
    assert hit == {"train", "validate", "save", "rank", "pareto"}
    assert sum(n for family in families.values() for n in family["hit"].values()) == 27


@SLOW
def test_a_resume_without_what_makes_it_exact_is_noticed(tmp_path: Path) -> None:
    """Control: a loader that begins its epoch anew, and dropout that draws anew."""
    code, families = run("kill", tmp_path / "kill.json", "--kills", "3", "--forget", "random")
    assert families["random"]["differences"]
    assert code == 1


@pytest.mark.parametrize(
    "steps", [pytest.param(2000, marks=SLOW), pytest.param(10_000, marks=NIGHTLY)]
)
def test_nothing_grows_over_thousands_of_steps_and_draws_stay_those_of_their_key(
    steps: int, tmp_path: Path
) -> None:
    """One object kept at each step would be 1,000 in the second half of the shorter run."""
    arguments = ("random", "darts", "--steps", str(steps))
    _, strategies = run("long", tmp_path / "long.json", *arguments)
    for name, found in strategies.items():
        grown = found["growth of the second half"]
        assert grown["files"] == 0, name
        assert grown["objects"] < 200, name  # of all steps together
        assert grown["bytes"] < 4 * 2**20, name
        assert found["draws are those of a new search"], name
        assert found["batches are those of a new stream"], name
