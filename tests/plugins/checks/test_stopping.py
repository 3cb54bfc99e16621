"""A signal stops a run of checks; it is no failure of the component that happened to be checked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oneshot_core import Registry
from oneshot_core.cli import main
from oneshot_core.terminal import stopped_by_signal
from oneshot_core.testing import Case, cases
from oneshot_plugins.strategies.uniform import UniformSampling
from oneshot_plugins.supernets.modules import MixedLayer


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # A shell lets what it starts in the background ignore Ctrl-C, and a process hands that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def case_of(strategy: type) -> Case:
    registry = Registry(entry_points=False)
    registry.register("supernet", "mixed", MixedLayer, handles=("oneshot_core.space:LayerChoice",))
    registry.register("strategy", "x", strategy, summary="for a test")
    return next(
        case
        for case in cases("strategy:x", registry=registry)
        if case.check.id == "cross.supernet-works-with-strategy"
    )


def stopping(number: signal.Signals) -> type:
    class Stopped(UniformSampling):
        def search_step(self, batch: Any, batch_idx: int) -> None:
            signal.raise_signal(number)
            super().search_step(batch, batch_idx)

    return Stopped


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_a_check_trains_stops_the_run(number: signal.Signals, code: int) -> None:
    with pytest.raises(KeyboardInterrupt) as stop:
        case_of(stopping(number)).run()
    assert stopped_by_signal(stop.value) == code


def test_ctrl_c_works_as_before_after_a_check_that_it_stopped() -> None:
    before = signal.getsignal(signal.SIGINT)
    assert before is not signal.SIG_IGN
    with pytest.raises(KeyboardInterrupt):
        case_of(stopping(signal.SIGINT)).run()
    assert signal.getsignal(signal.SIGINT) is before  # Lightning ignores it from then on


def test_a_component_that_ends_the_process_by_itself_is_still_a_failed_check() -> None:
    class Exits(UniformSampling):
        def search_step(self, batch: Any, batch_idx: int) -> None:
            sys.exit(3)

    result = case_of(Exits).run()
    assert result.outcome == "failed"
    assert "SystemExit" in result.message


MANIFEST = """
from oneshot_core.hookspecs import Component, hookimpl

@hookimpl
def oneshot_components():
    return [Component("strategy", "x.stops", "x_parts:Stops", summary="stopped in training")]
"""

PARTS = """
import os
import signal
from oneshot_plugins.strategies.uniform import UniformSampling

class Stops(UniformSampling):
    def search_step(self, batch, batch_idx):
        signal.raise_signal(int(os.environ["STOP"]))
        super().search_step(batch, batch_idx)
"""


@pytest.fixture
def x(fake_dist: Callable[..., Path]) -> Path:
    return fake_dist(
        "oneshot-plugin-x",
        entry_points={"main": "x_manifest"},
        modules={"x_manifest.py": MANIFEST, "x_parts.py": PARTS},
        requires=["oneshot-core>=0.1,<0.2"],
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_line_ends_with_the_exit_code_of_the_signal(
    x: Path, number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOP", str(int(number)))
    assert main(["plugins", "check", "strategy:x.stops"]) == code


@pytest.mark.slow
def test_pytest_stops_at_ctrl_c_in_the_middle_of_a_check(x: Path, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider"),
            *("--oneshot-conformance", "strategy:x.stops"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(x), "STOP": str(int(signal.SIGINT))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    assert "failed" not in done.stdout
