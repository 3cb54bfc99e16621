"""Every file of ours is written whole or not at all: full disks, forbidden folders, links."""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import oneshot_core as oneshot
from oneshot_core import Architecture, LayerChoice, ModelSpace, ParetoFront
from oneshot_core.errors import OneShotError, OutputError
from oneshot_core.files import require_place, whole_file, write_text
from oneshot_plugins.costs.build import cost_table
from oneshot_plugins.ranking.front import Scored
from oneshot_plugins.scaffold.write import write as write_package

CHOICES = {"a": "0" * 100}
MODEL = nn.Sequential(LayerChoice([nn.Linear(2, 2), nn.Linear(2, 2)], label="x"))


def front() -> ParetoFront:
    scored = Scored(Architecture(CHOICES), {"acc": 1.0}, {"acc": 1.0})
    return ParetoFront([scored], {"acc": "max"})


def save_table(path: Path) -> object:
    return cost_table(MODEL, "parameters", inputs=[torch.zeros(1, 2)]).save(path)


def save_checkpoint(path: Path) -> object:
    return oneshot.AtomicCheckpointIO().save_checkpoint({"weight": torch.zeros(100)}, path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: write_text(path, "new" * 100),
    "architecture": lambda path: Architecture(CHOICES).save(path),
    "architecture with its space": lambda path: Architecture({"x": "1"}, ModelSpace(MODEL)).save(
        path
    ),
    "front as CSV": lambda path: front().to_csv(path),
    "front as JSON": lambda path: front().to_json(path),
    "table of costs": save_table,
    "checkpoint": save_checkpoint,
}

every_writer = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


@every_writer
def test_a_file_is_written_and_nothing_beside_it(write: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    write(path)
    assert path.stat().st_size > 100
    assert list(tmp_path.iterdir()) == [path]


@every_writer
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    write: Any, tmp_path: Path, disk_of: Any
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with disk_of(100), pytest.raises(OutputError) as raised:
        write(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    assert re.search("cannot be written.*\n  expected: room.*\n  fix: free", str(raised.value))


@every_writer
def test_a_forbidden_folder_is_named_with_the_fix(write: Any, readonly_folder: Path) -> None:
    for path in (readonly_folder / "old", readonly_folder / "new"):
        with pytest.raises(OutputError) as raised:
            write(path)
        assert repr(str(path)) in str(raised.value)
        assert "permission" in str(raised.value)
    assert [p.name for p in readonly_folder.iterdir()] == ["old"]
    assert (readonly_folder / "old").read_text() == "old"


def test_the_error_of_a_device_that_is_full_is_the_same() -> None:
    """``/dev/full`` is no regular file: it is written to, and stays a device."""
    with pytest.raises(OutputError, match="No space left on device"):
        Architecture(CHOICES).save("/dev/full")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_any_error_inside_leaves_the_old_file(tmp_path: Path) -> None:
    def write_half() -> None:
        with whole_file(path) as file:
            file.write(b"half")
            raise ZeroDivisionError

    path = write_text(tmp_path / "file", "old")
    with pytest.raises(ZeroDivisionError):
        write_half()
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_who_reads_meanwhile_finds_the_old_file(tmp_path: Path) -> None:
    path = write_text(tmp_path / "file", "old")
    with whole_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_links_are_followed_and_permissions_are_kept(tmp_path: Path) -> None:
    path = write_text(tmp_path / "file", "old")
    path.chmod(0o640)
    (tmp_path / "link").symlink_to("file")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_threads_that_write_one_file_do_not_mix_what_they_write(tmp_path: Path) -> None:
    texts = [letter * 10_000 for letter in "abcdefgh"]

    def write_often(text: str) -> None:
        for _ in range(20):
            write_text(tmp_path / "file", text)

    threads = [threading.Thread(target=write_often, args=[text]) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file").read_text() in texts
    assert len(list(tmp_path.iterdir())) == 1


def test_a_missing_folder_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=f"fix: mkdir -p {tmp_path}/nowhere"):
        Architecture(CHOICES).save(tmp_path / "nowhere" / "a.json")


def test_a_package_is_not_written_into_a_forbidden_folder_or_on_a_full_disk(
    readonly_folder: Path, tmp_path: Path, disk_of: Any
) -> None:
    with pytest.raises(OutputError, match="permission"):
        write_package({"a": "text"}, readonly_folder / "package")
    os.seteuid(os.getuid())
    with disk_of(2), pytest.raises(OutputError, match="room"):
        write_package({"a": "text"}, tmp_path / "package")
    assert list(tmp_path.iterdir()) == []


def test_places_are_looked_at_without_a_trace(readonly_folder: Path, tmp_path: Path) -> None:
    for path in (readonly_folder / "new", readonly_folder / "deep" / "er" / "new"):
        with pytest.raises(OutputError, match="permission"):
            require_place(path)
    os.seteuid(os.getuid())
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "new"):
        with pytest.raises(OutputError, match="correct the path"):
            require_place(path)
    require_place(tmp_path / "file")
    require_place(tmp_path / "deep" / "er" / "new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_output_errors_are_those_a_caller_expects() -> None:
    assert issubclass(OutputError, OSError)
    assert issubclass(OutputError, OneShotError)
