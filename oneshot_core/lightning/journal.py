"""A file of what was scored, one line each, so that a killed search goes on where it was."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..architecture import Architecture
from ..errors import OneShotError, RankingError
from ..files import cannot_write
from .front import Scored

if TYPE_CHECKING:
    from .module import BaseOneShotLightningModule

SCHEMA = "oneshot.journal/1"


class Journal:
    """Lines of JSON: what they are about, then one architecture each.

    Several processes may append to one file. Each line is written at once and reaches the disk
    before the search goes on; a line that a kill has cut off is skipped when read.

    Args:
        path: of the file; made if there is none.
        search: whose architectures are scored.
        names: of the quantities in it.
        calibration: how many batches recalibrate BatchNorm.

    Raises:
        RankingError: the file is about something else: another space, other weights, other
            quantities; or it is damaged.
        OutputError: a line cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        search: BaseOneShotLightningModule,
        names: Iterable[str],
        calibration: int,
    ) -> None:
        self.path = Path(path)
        self.space = search.space
        self.header = {
            "schema": SCHEMA,
            "space": self.space.fingerprint,
            "weights": _hash(search),
            "quantities": sorted(names),
            "calibration_batches": calibration,
        }
        if not self._lines():
            self._append(self.header)
        self.read()

    def read(self) -> list[Scored]:
        """Return what is in the file, each architecture once, in the order of the file.

        Raises:
            RankingError: see the class.
        """
        header, *entries = self._lines()
        if header != self.header:
            wrong = [
                f"{key}: {header.get(key)!r} there, {value!r} here"
                for key, value in self.header.items()
                if header.get(key) != value
            ]
            raise RankingError(
                f"the journal {os.fspath(self.path)!r} is about something else "
                f"({'; '.join(wrong)}).\n"
                "  expected: scores of this supernet by the same quantities\n"
                "  fix: use another file"
            )
        found: dict[Architecture, Scored] = {}
        for entry in entries:
            scored = self._scored(entry)
            found.setdefault(scored.architecture, scored)
        return list(found.values())

    def _scored(self, entry: dict[str, Any]) -> Scored:
        try:
            architecture = Architecture(entry["choices"], self.space)
            values, metrics = (
                {str(name): float(value) for name, value in entry[key].items()}
                for key in ("values", "metrics")
            )
            if sorted(values) != self.header["quantities"]:
                raise KeyError(self.header["quantities"])
        except (KeyError, TypeError, ValueError, AttributeError, OneShotError) as error:
            raise RankingError(
                f"the journal {os.fspath(self.path)!r} is damaged: {json.dumps(entry)[:200]} is no "
                f"score ({error!r}).\n"
                "  expected: lines that a search has written\n"
                "  fix: take the line out, or use another file"
            ) from error
        return Scored(architecture, values, metrics)

    def add(self, scored: Scored) -> None:
        """Append one architecture."""
        self._append(
            {
                "choices": dict(scored.architecture),
                "values": dict(scored.values),
                "metrics": dict(scored.metrics),
            }
        )

    def _append(self, data: dict[str, Any]) -> None:
        whole = not self.path.exists() or self.path.read_bytes()[-1:] in (b"", b"\n")
        line = ("" if whole else "\n") + json.dumps(data) + "\n"
        content = line.encode()
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                # At once: no other process comes between. A full disk may take a part.
                if os.write(descriptor, content) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _lines(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        text = self.path.read_bytes().decode(errors="replace") if self.path.exists() else ""
        for line in text.splitlines():
            try:
                data = json.loads(line)
            except ValueError:
                continue  # cut off
            if isinstance(data, dict) and ("choices" in data or not found):
                found.append(data)
        return found


def _hash(search: BaseOneShotLightningModule) -> str:
    """Return a hash of the weights: scores with others are of no use."""
    digest = hashlib.sha256()
    for name, value in search.model.state_dict().items():
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
