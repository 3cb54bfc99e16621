"""A check starts from nothing, leaves nothing, and ends."""

from __future__ import annotations

import itertools
import logging
import os
import random
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oneshot_core.errors import ConformanceError
from oneshot_plugins.checks import isolation
from oneshot_plugins.checks.isolation import isolated, noise, rng_state

CHANGES = {
    "torch's default dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch's default device": lambda: torch.set_default_device("meta"),
    "torch's recording of gradients": lambda: torch.set_grad_enabled(False),
    "torch's deterministic algorithms": lambda: torch.use_deterministic_algorithms(True),
    "torch's anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "torch's matmul precision": lambda: torch.set_float32_matmul_precision("medium"),
    "torch's number of threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "the environment": lambda: os.environ.update(ONESHOT_PLUGINS="x"),
    "the working directory": lambda: os.chdir("/"),
    "the handlers of the root logger": lambda: logging.getLogger().addHandler(
        logging.NullHandler()
    ),
}


def test_every_setting_is_watched() -> None:
    assert set(CHANGES) == set(isolation._SETTINGS)


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_that_is_changed_is_named_and_put_back(name: str) -> None:
    read = isolation._SETTINGS[name][0]
    before = read()

    def change() -> None:
        CHANGES[name]()
        assert read() != before

    with pytest.raises(ConformanceError, match=f"it changed {name} of the process"), isolated():
        change()
    assert read() == before


def test_an_error_is_not_hidden_by_what_it_left_behind() -> None:
    def leaves_a_mess() -> None:
        torch.set_default_dtype(torch.float64)
        Path("left.txt").write_text("")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), isolated():
        leaves_a_mess()
    assert torch.get_default_dtype() == torch.float32


def test_files_in_the_working_directory_are_named_and_the_users_stays_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConformanceError, match="it left lightning_logs in the working"), isolated():
        Path("lightning_logs").mkdir()
    assert list(tmp_path.iterdir()) == []
    assert Path.cwd() == tmp_path


def test_modules_beside_the_user_can_be_imported_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside_the_user.py").write_text("VALUE = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with isolated():
        import beside_the_user  # type: ignore[import-not-found]

        assert beside_the_user.VALUE == 3
    assert sys.path[0] == ""
    del sys.modules["beside_the_user"]


def test_random_states_of_python_numpy_and_torch_start_alike_and_are_put_back() -> None:
    noise(7)
    before = rng_state()
    drawn = []
    for _ in range(2):
        with isolated():
            drawn.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
        assert rng_state() == before
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    "draw",
    [random.random, np.random.rand, lambda: torch.rand(())],
    ids=["random", "numpy", "torch"],
)
def test_a_draw_from_any_global_generator_shows(draw: Any) -> None:
    before = rng_state()
    draw()
    assert rng_state() != before


def test_what_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "LIMIT_S", 0.05)
    with pytest.raises(ConformanceError, match=r"not done after 0\.05 s"), isolated():
        for _ in itertools.count():
            pass
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_outside_of_the_main_thread_checks_run_without_a_limit() -> None:
    found = []

    def run() -> None:
        with isolated():
            found.append(signal.getitimer(signal.ITIMER_REAL))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(0, 0)]
