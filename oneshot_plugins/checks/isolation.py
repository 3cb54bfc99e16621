"""Run a check in a folder and a random state of its own, and put back what it changed."""

from __future__ import annotations

import logging
import os
import pickle
import random
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from oneshot_core.errors import ConformanceError

LIMIT_S = 300.0
"""A check that takes longer is taken to hang."""

_LOGGERS = (
    *("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric"),
    "oneshot_core",
)


@contextmanager
def isolated() -> Iterator[None]:
    """Start from one random state, in silence, in an empty folder; put everything back.

    Raises:
        ConformanceError: it took longer than :data:`LIMIT_S`, changed a setting of the process,
            or left files behind.
    """
    with (
        _silent(),
        own_randomness(),
        _own_interrupt(),
        tempfile.TemporaryDirectory() as folder,
        _inside(folder),
    ):
        settings = Settings()
        try:
            with _limited(LIMIT_S):
                yield
        except BaseException:
            settings.restore()
            raise
        changed = settings.changed()
        settings.restore()
        if changed:
            raise ConformanceError(
                f"it changed {', '.join(changed)} of the process and did not put it back",
                expected="the settings that the user has chosen",
                fix="put back what is changed in a finally",
            )
        left = sorted(os.listdir(folder))
        if left:
            raise ConformanceError(
                f"it left {', '.join(left)} in the working directory",
                expected="no files that nobody asked for",
                fix="write to a tempfile.TemporaryDirectory, or give the Trainer logger=False and "
                "enable_checkpointing=False",
            )


class Settings:
    """The settings of the process as they are now, to be compared and put back."""

    def __init__(self) -> None:
        self._before = {name: get() for name, (get, _) in _SETTINGS.items()}

    def changed(self) -> list[str]:
        """Return the names of those that are different now."""
        return [name for name, (get, _) in _SETTINGS.items() if get() != self._before[name]]

    def restore(self) -> None:
        """Put back those that are different now."""
        for name in self.changed():
            _SETTINGS[name][1](self._before[name])


def noise(seed: int) -> None:
    """Seed every global random generator."""
    random.seed(seed)
    torch.manual_seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)


def rng_state() -> tuple[object, ...]:
    """Return the states of all global random generators, to be compared."""
    numpy = sys.modules.get("numpy")
    words = None if numpy is None else pickle.dumps(numpy.random.get_state())
    return random.getstate(), bytes(torch.get_rng_state().tolist()), words


def _set_environ(values: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(values)


def _set_default_device(device: torch.device) -> None:
    # The device "cpu" set by hand is slower than none at all.
    torch.set_default_device(None if device == torch.device("cpu") else device)


def _set_root_handlers(handlers: list[logging.Handler]) -> None:
    logging.getLogger().handlers[:] = handlers


_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": (torch.get_default_device, _set_default_device),
    "torch's recording of gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch's deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "torch's anomaly detection": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "torch's matmul precision": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    "the environment": (lambda: dict(os.environ), _set_environ),
    "the working directory": (os.getcwd, os.chdir),
    "the handlers of the root logger": (
        lambda: list(logging.getLogger().handlers),
        _set_root_handlers,
    ),
}
"""Name -> how it is read, and how it is put back."""


@contextmanager
def _silent() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def own_randomness() -> Iterator[None]:
    """Start from one state of every global random generator, and put back what it was."""
    python, numpy = random.getstate(), sys.modules.get("numpy")
    words = None if numpy is None else numpy.random.get_state()
    with torch.random.fork_rng():
        noise(0)
        try:
            yield
        finally:
            random.setstate(python)
            if numpy is not None:
                numpy.random.set_state(words)


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Let Ctrl-C work afterwards as before: a Trainer that it stops ignores it from then on."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGINT, before)


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    """Work in ``folder``; what can be imported stays the same."""
    before, path = os.getcwd(), list(sys.path)
    sys.path[:] = map(os.path.abspath, path)  # "" and "src" are relative to where we were
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise in what takes longer, where it can be done: in the main thread of a POSIX process."""
    alarm = getattr(signal, "SIGALRM", None)
    if (
        alarm is None
        or threading.current_thread() is not threading.main_thread()
        or signal.getsignal(alarm) is not signal.SIG_DFL  # somebody else counts the time
    ):
        yield
        return

    def stop(*_: object) -> None:
        raise ConformanceError(
            f"it is not done after {seconds:g} s",
            expected="a check that takes seconds",
            fix="find the endless loop, or declare smaller samples",
        )

    signal.signal(alarm, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again, should it be caught and forgotten
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(alarm, signal.SIG_DFL)
