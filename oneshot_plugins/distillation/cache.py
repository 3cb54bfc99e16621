"""Outputs of a teacher on disk: for a fixed dataset it is then asked once for each sample.

A folder holds ``teacher.json``, which says whose outputs these are, and *parts*. A part is one
file of bytes and one of lines, of which only the process that made it writes. So several
processes may use one folder at the same time, and a line that a kill has cut off is left out.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple

import torch
from torch import Tensor

from oneshot_core.errors import StrategyError
from oneshot_core.files import cannot_write, write_text

from .recorder import Call

SCHEMA: Final = "oneshot.teacher-cache/1"
Targets = dict[str, list[Tensor]]
"""Path in the student -> what the teacher gave there, each of shape ``(batch, ...)``."""


class _Place(NamedTuple):
    """Where the outputs of one sample are."""

    part: Path
    offset: int
    size: int
    checksum: int
    tensors: list[list[Any]]  # of each: path in the student, type as kept, type as computed, shape


@dataclass(frozen=True)
class TeacherCache:
    """Where the outputs of a teacher are kept, and which sample is which.

    What is read is what was computed when the sample was met first. A sample whose inputs have
    changed since then, as under random augmentation, is refused: a checksum of the inputs is kept.

    Args:
        folder: is made where it does not exist.
        key: ``batch -> one integer or text for each sample``. None takes ``batch["index"]``.
        dtype: ``"float16"`` takes half of the space and rounds; None keeps the type.

    Raises:
        StrategyError: the type is not known.
    """

    folder: str | os.PathLike[str]
    key: Callable[[Any], Sequence[int | str] | Tensor] | None = None
    dtype: Literal["float16", "bfloat16", "float32"] | None = None

    def __post_init__(self) -> None:
        if self.dtype not in (None, "float16", "bfloat16", "float32"):
            raise StrategyError(
                f"the cache of the teacher has dtype={self.dtype!r}",
                expected="None, 'float16', 'bfloat16' or 'float32'",
                fix="correct it",
            )

    def keys(self, batch: Any) -> list[str]:
        """Return the key of each sample of a batch.

        Raises:
            StrategyError: the batch does not hold them.
        """
        if self.key is not None:
            found: Any = self.key(batch)
        elif isinstance(batch, Mapping) and "index" in batch:
            found = batch["index"]
        else:
            raise StrategyError(
                f"the cache of the teacher finds no index in a batch, a {type(batch).__name__}",
                expected="a dict with 'index', the number of each sample in the dataset",
                fix="let the dataset yield it, or say where it is: "
                "TeacherCache(folder, key=lambda batch: batch[2])",
            )
        values = found.tolist() if isinstance(found, Tensor) else list(found)
        if not all(isinstance(value, (int, str)) for value in values):
            raise StrategyError(
                f"the keys of a batch are {values[:3]}",
                expected="one integer or text for each sample",
                fix="correct key= of the TeacherCache",
            )
        return [f"{type(value).__name__[0]}{value}" for value in values]


class OpenCache:
    """A cache in use: what is there, and a part of its own for what is added.

    Args:
        settings: where and how.
        fingerprint: of the teacher.
        outputs: what of it is kept, in words that do not change from run to run.

    Raises:
        StrategyError: the folder holds outputs of another teacher, or other outputs.
        OutputError: the folder cannot be written to.
    """

    def __init__(self, settings: TeacherCache, fingerprint: str, outputs: str) -> None:
        self.settings = settings
        self.folder = Path(settings.folder)
        self._places: dict[str, _Place] = {}
        self._part: Path | None = None
        about = {
            "schema": SCHEMA,
            "teacher": fingerprint,
            "outputs": outputs,
            "dtype": settings.dtype or "as computed",
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        head = self.folder / "teacher.json"
        if head.exists():
            self._require(_read(head), about)
        else:
            write_text(head, json.dumps(about, indent=1) + "\n")
        for index in sorted(self.folder.glob("part-*.jsonl")):
            self._load(index)

    def __len__(self) -> int:
        """Return how many samples are kept, each as often as the student is called with it."""
        return len(self._places)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_part": None}  # a copy begins a part of its own

    def get(self, keys: Sequence[str], call: Call, device: torch.device) -> Targets | None:
        """Return what is kept for the samples of a call; None unless it is kept for all.

        Args:
            keys: of :meth:`TeacherCache.keys`, made different for each call in a step.
            call: of the student.
            device: where the tensors are put.

        Raises:
            StrategyError: the inputs of a sample are not those it was kept for.
        """
        if not all(key in self._places for key in keys):
            return None
        checksums = _checksums(call, len(keys))
        places = [self._places[key] for key in keys]
        for key, place, checksum in zip(keys, places, checksums, strict=True):
            if place.checksum != checksum:
                raise StrategyError(
                    f"the inputs of the sample {key[1:]!r} are not those that its outputs in "
                    f"{str(self.folder)!r} were computed for",
                    expected="a fixed dataset: no random augmentation, no padding that depends on "
                    "the rest of the batch, and the same key for the same sample",
                    fix="leave teacher_cache out, or fix the data and use another folder",
                )
        with ExitStack() as stack:
            parts = {place.part for place in places}
            files = {part: stack.enter_context(open(part, "rb")) for part in parts}
            rows = [_read_row(files[place.part], place) for place in places]
        return {
            name: [
                torch.stack(parts).to(device)
                for parts in zip(*(r[name] for r in rows), strict=True)
            ]
            for name in rows[0]
        }

    def put(self, keys: Sequence[str], call: Call, targets: Targets) -> Targets:
        """Keep what the teacher gave for the samples of a call; return it as it will be read.

        Raises:
            StrategyError: an output is not one tensor with one row for each sample.
            OutputError: it cannot be written.
        """
        kept = {n: [self._rounded(n, v, len(keys)) for v in vs] for n, vs in targets.items()}
        checksums = _checksums(call, len(keys))
        tensors = [
            (name, value.cpu().contiguous(), targets[name][i].dtype)
            for name, values in kept.items()
            for i, value in enumerate(values)
        ]
        try:
            part = self._part = self._part or _new_part(self.folder)
            with open(part, "ab") as data, open(part.with_suffix(".jsonl"), "ab") as lines:
                for i, key in enumerate(keys):
                    if key not in self._places:
                        row = [(name, value[i], dtype) for name, value, dtype in tensors]
                        self._places[key] = _write(data, lines, key, checksums[i], row)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        return {n: [v.to(targets[n][i].dtype) for i, v in enumerate(vs)] for n, vs in kept.items()}

    def _rounded(self, name: str, value: Any, n: int) -> Tensor:
        if not isinstance(value, Tensor) or value.dim() < 1 or value.shape[0] != n:
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise StrategyError(
                f"the teacher's output {name or 'itself'!r} is {found} for {n} samples, and "
                "cannot be kept sample by sample",
                expected="one tensor whose first dimension is the batch",
                fix="say which item is compared with Match(item=...), or leave teacher_cache out",
            )
        dtype = self.settings.dtype
        return value if dtype is None else value.to(getattr(torch, dtype))

    def _load(self, index: Path) -> None:
        data = index.with_suffix(".bin")
        if not data.exists():
            return
        room = data.stat().st_size
        for line in index.read_bytes().split(b"\n"):
            try:
                said = json.loads(line)
                place = _Place(data, said["at"], said["size"], said["sum"], said["is"])
                if place.offset + place.size <= room:
                    self._places.setdefault(said["key"], place)
            except (ValueError, KeyError, TypeError):
                continue  # cut off by a kill, or the empty text after the last line

    def _require(self, found: Mapping[str, Any], about: Mapping[str, str]) -> None:
        wrong = [name for name, value in about.items() if found.get(name) != value]
        if wrong:
            name = wrong[0]
            raise StrategyError(
                f"{str(self.folder)!r} holds outputs with {name} {found.get(name)!r}, and now it "
                f"is {about[name]!r}",
                expected="outputs of this teacher, of the same modules and in the same type",
                fix="use another folder, or delete this one",
            )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def _new_part(folder: Path) -> Path:
    """Make the two files of a part that no other process writes; return that of the bytes."""
    for number in count():
        path = folder / f"part-{number:04}.bin"
        try:
            path.open("xb").close()
        except FileExistsError:
            continue
        return path
    raise AssertionError  # count() does not end


def _write(
    data: BinaryIO,
    lines: BinaryIO,
    key: str,
    checksum: int,
    row: Sequence[tuple[str, Tensor, torch.dtype]],
) -> _Place:
    offset = data.seek(0, os.SEEK_END)
    content = b"".join(_bytes(value) for _, value, _ in row)
    tensors = [[n, str(v.dtype)[6:], str(as_)[6:], list(v.shape)] for n, v, as_ in row]
    data.write(content)
    data.flush()  # before the line that refers to it
    line = {"key": key, "at": offset, "size": len(content), "sum": checksum, "is": tensors}
    lines.write((json.dumps(line, separators=(",", ":")) + "\n").encode())
    return _Place(Path(data.name), offset, len(content), checksum, tensors)


def _read_row(file: BinaryIO, place: _Place) -> Targets:
    file.seek(place.offset)
    content = bytearray(file.read(place.size))
    found: Targets = {}
    at = 0
    for name, kept, computed, shape in place.tensors:
        dtype = getattr(torch, kept)
        size = math.prod(shape) * dtype.itemsize
        # A slice is a copy, so that what follows begins where its type may begin.
        flat = torch.frombuffer(content[at : at + size], dtype=dtype) if size else None
        value = torch.empty(shape, dtype=dtype) if flat is None else flat.reshape(shape)
        found.setdefault(name, []).append(value.to(getattr(torch, computed)))
        at += size
    return found


def _bytes(tensor: Tensor) -> bytes:
    content: bytes = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return content


def _checksums(call: Call, n: int) -> list[int]:
    """Return a number for the inputs of each sample; inputs without a batch count for all."""
    sums = [0] * n
    for leaf in call.inputs:
        if isinstance(leaf, Tensor) and leaf.dim() and leaf.shape[0] == n:
            rows = leaf.detach().cpu()
            sums = [zlib.crc32(_bytes(row), s) for row, s in zip(rows, sums, strict=True)]
        else:
            is_tensor = isinstance(leaf, Tensor)
            content = _bytes(leaf.detach().cpu()) if is_tensor else repr(leaf).encode()
            sums = [zlib.crc32(content, s) for s in sums]
    return sums


__all__ = ["OpenCache", "TeacherCache"]
