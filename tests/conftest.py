"""Fixtures for more than one test file."""

from __future__ import annotations

import importlib
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Protocol

import pytest
from hypothesis import settings

settings.register_profile("nightly", settings.default)
TIMES = 10
"""So many times the examples does each property get with ``--hypothesis-profile nightly``."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give properties more examples at night, also those that say how many they want by day."""
    if settings.get_current_profile_name() == "nightly":
        for function in {item.function for item in items if hasattr(item, "function")}:
            if by_day := getattr(function, "_hypothesis_internal_use_settings", None):
                by_night = settings(by_day, max_examples=TIMES * by_day.max_examples)
                function._hypothesis_internal_use_settings = by_night


class FakeDist(Protocol):
    """Install a pretended distribution; returns the folder that was put first on the path."""

    def __call__(
        self,
        name: str,
        version: str = "1.0",
        *,
        entry_points: Mapping[str, str] | str | bytes = "",
        modules: Mapping[str, str] | None = None,
        requires: Sequence[str] = (),
        metadata: str | None = None,
        folder: Path | None = None,
    ) -> Path: ...


@pytest.fixture
def fake_dist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDist]:
    """Write ``.dist-info`` folders and modules that are gone after the test.

    ``entry_points`` is a mapping of those in the group ``oneshot_core``, or the whole file's
    text; ``modules`` maps file names to sources. Without ``folder`` each distribution gets a
    folder of its own, in front of those before.
    """
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # sources may change within a second
    before = set(sys.modules)

    def install(
        name: str,
        version: str = "1.0",
        *,
        entry_points: Mapping[str, str] | str | bytes = "",
        modules: Mapping[str, str] | None = None,
        requires: Sequence[str] = (),
        metadata: str | None = None,
        folder: Path | None = None,
    ) -> Path:
        root = tmp_path / f"site{len(list(tmp_path.iterdir()))}" if folder is None else folder
        info = root / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        if metadata is None:
            lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
            lines += [f"Requires-Dist: {line}" for line in requires]
            metadata = "\n".join(lines) + "\n"
        if metadata:
            (info / "METADATA").write_text(metadata)
        if isinstance(entry_points, Mapping):
            lines = ["[oneshot_core]", *(f"{key} = {to}" for key, to in entry_points.items())]
            entry_points = "\n".join(lines)
        if isinstance(entry_points, str):
            entry_points = entry_points.encode()
        if entry_points:
            (info / "entry_points.txt").write_bytes(entry_points)
        for path, source in (modules or {}).items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(dedent(source))
        if folder is None:
            monkeypatch.syspath_prepend(root)
        importlib.invalidate_caches()
        return root

    yield install
    inside = str(tmp_path) + os.sep
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", None) or "").startswith(inside):
            del sys.modules[module]
    importlib.invalidate_caches()


@pytest.fixture
def disk_of() -> Callable[[int], AbstractContextManager[None]]:
    """Let no file grow beyond so many bytes inside the context, as on a full disk."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture
def readonly_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with the file ``old`` that this process, even as root, may read only."""
    folder = Path(tempfile.mkdtemp())  # who is not root cannot look into tmp_path
    (folder / "old").write_text("old")
    folder.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(user)
        folder.chmod(0o755)
        shutil.rmtree(folder)
