"""A file of what was scored, one line each, so that a killed search goes on where it was."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from oneshot_core.architecture import Architecture
from oneshot_core.errors import RankingError
from oneshot_core.files import cannot_write
from oneshot_core.space import Choice
from oneshot_plugins.costs.measured import spreads_of, with_spreads

from .claims import Claims
from .front import Scored

if TYPE_CHECKING:
    from oneshot_core.lightning import BaseOneShotLightningModule

SCHEMA = "oneshot.journal/1"


class Journal:
    """Lines of JSON: what they are about, then one architecture each.

    Several processes may append to one file. Each line is written at once and reaches the disk
    before the search goes on; a line that a kill has cut off is skipped when read. Each line is
    read once, however often :meth:`read` is called. What a process is about to score it claims,
    so that the others score something else, or wait; a kill gives the claim up.

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
        # Unbuffered: what is written is appended by one call of the system.
        try:
            self._file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._offset = 0  # up to where it was read
        self._entries: dict[bool, list[dict[str, Any]]] = {False: [], True: []}  # not asked for yet
        self._readings: dict[str, dict[str, float]] = {}
        self._checked = False
        self._claims = Claims(self._file.fileno(), self.path)
        try:
            with self.beginning():
                self._catch_up()
                if not self._checked:
                    self._append(self.header)
                    self._catch_up()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file, and give up what is claimed."""
        self._file.close()

    def beginning(self) -> AbstractContextManager[None]:
        """Keep other processes from making what all share at the same time."""
        return self._claims.held(SCHEMA)

    def claim(self, architecture: Architecture) -> AbstractContextManager[None]:
        """Keep other processes from scoring it inside the context; first wait for one that does."""
        return self._claims.held(_key(architecture))

    def claimed(self, architecture: Architecture) -> bool:
        """Say whether another process is scoring it."""
        return self._claims.taken(_key(architecture))

    def wait(self) -> None:
        """Wait until no other process is scoring anything."""
        self._claims.wait()

    def read(self, *, beside: bool = False) -> list[Scored]:
        """Return what was added to the file since the last call, in the order of the file.

        At first that is all of it. What several processes have scored comes several times.

        Args:
            beside: what was added so, instead of what was not.

        Raises:
            RankingError: see the class; or the file was deleted, replaced or cut meanwhile.
        """
        self._catch_up()
        entries, self._entries[beside] = self._entries[beside], []
        return list(map(self._scored, entries))

    def _scored(self, entry: dict[str, Any]) -> Scored:
        try:
            architecture = Architecture(entry["choices"], self.space)
            values, metrics = (
                {str(name): float(value) for name, value in entry[key].items()}
                for key in ("values", "metrics")
            )
            values = with_spreads(values, dict(entry.get("spreads", {})))
            if sorted(values) != self.header["quantities"]:
                raise KeyError(self.header["quantities"])
        except Exception as error:  # whatever the line holds in the place of what belongs there
            raise self._damaged(reprlib.repr(entry), error) from error
        return Scored(architecture, values, metrics)

    def _numbers(self, entry: dict[str, Any]) -> dict[str, float]:
        try:
            values = {str(name): float(value) for name, value in entry["values"].items()}
            return with_spreads(values, dict(entry["spreads"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._damaged(reprlib.repr(entry), error) from error

    def _damaged(self, line: str, error: BaseException) -> RankingError:
        return RankingError(
            f"the journal {os.fspath(self.path)!r} is damaged: {line} is no score "
            f"({type(error).__name__}: {str(error)[:200]})",
            expected="lines that a search has written",
            fix="take the line out, or use another file",
        )

    def add(self, scored: Scored, *, beside: bool = False) -> None:
        """Append one architecture.

        Args:
            scored: it.
            beside: whether no searcher has proposed it: it is there to be compared with.

        Raises:
            RankingError: the file was deleted, replaced or cut.
            OutputError: it takes no more.
        """
        self._append(
            {
                "choices": dict(scored.architecture),
                "values": dict(scored.values),
                "metrics": dict(scored.metrics),
            }
            | ({"spreads": spreads_of(scored.values)} if spreads_of(scored.values) else {})
            | ({"beside": True} if beside else {})
        )

    def measuring(self) -> AbstractContextManager[None]:
        """Keep other processes from reading measured costs again inside the context."""
        return self._claims.held(f"{SCHEMA} readings")

    def read_again(self, architecture: Architecture) -> dict[str, float]:
        """Return what costs were read again of an architecture; nothing if they were not."""
        return self._readings.get(json.dumps(_choices(architecture)), {})

    def add_readings(self, architecture: Architecture, values: Mapping[str, float]) -> None:
        """Append what costs were read again of an architecture; the last of them counts.

        Raises:
            RankingError: see :meth:`add`.
            OutputError: it takes no more.
        """
        plain = {name: float(value) for name, value in values.items()}
        line = {"read_again": _choices(architecture), "values": plain}
        self._append(line | {"spreads": spreads_of(values)})

    def _append(self, data: dict[str, Any]) -> None:
        size = self._size()
        self._file.seek(max(0, size - 1))
        whole = self._file.read(1) in (b"", b"\n")
        line = (b"" if whole else b"\n") + json.dumps(data).encode() + b"\n"
        try:
            # At once: no other process comes between. A full disk may take a part.
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _catch_up(self) -> None:
        """Read the lines that are new; the first of all says what the file is about."""
        for data in self._lines():
            if not self._checked:
                self._check(data)
                self._checked = True
            elif "read_again" in data:
                self._readings[json.dumps(data["read_again"])] = self._numbers(data)
            elif "choices" in data:  # else the first line of another process, without locks
                self._entries["beside" in data].append(data)

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Yield the whole lines that are new; what has no end yet is read again next time."""
        size = self._size()
        self._file.seek(self._offset)
        text = self._file.read(size - self._offset)
        text = text[: text.rfind(b"\n") + 1]
        self._offset += len(text)
        for line in text.splitlines():
            try:
                data = json.loads(line)
            except ValueError:
                continue  # cut off
            except RecursionError as error:
                raise self._damaged(line[:200].decode(errors="replace"), error) from error
            if isinstance(data, dict):
                yield data

    def _check(self, header: dict[str, Any]) -> None:
        if header == self.header:
            return
        wrong = [
            f"{key}: {header.get(key)!r} there, {value!r} here"
            for key, value in self.header.items()
            if header.get(key) != value
        ]
        raise RankingError(
            f"the journal {os.fspath(self.path)!r} is about something else ({'; '.join(wrong)})",
            expected="scores of this supernet by the same quantities",
            fix="use another file",
        )

    def _size(self) -> int:
        """Return how long the file is.

        Raises:
            RankingError: it is no longer the file that was opened.
        """
        opened = os.fstat(self._file.fileno())
        try:
            same = os.path.samestat(opened, self.path.stat())
        except FileNotFoundError:
            same = False
        if not same:
            raise self._lost("was deleted or replaced while the search runs")
        if opened.st_size < self._offset:
            raise self._lost(
                f"has {opened.st_size} bytes, and {self._offset} were read: it was cut"
            )
        return opened.st_size

    def _lost(self, what: str) -> RankingError:
        return RankingError(
            f"the journal {os.fspath(self.path)!r} {what}",
            expected="a file that only grows",
            fix="leave it alone until the search has ended; start the search again, it goes on "
            "from what the file holds",
        )


def _key(architecture: Architecture) -> str:
    return json.dumps(_choices(architecture))


def _choices(architecture: Architecture) -> list[tuple[str, Choice]]:
    return sorted(architecture.items())


def _hash(search: BaseOneShotLightningModule) -> str:
    """Return a hash of the weights: scores with others are of no use."""
    digest = hashlib.sha256()
    for name, value in search.model.state_dict().items():
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
