"""A run folder: which file is where; ``docs/run-folder.md`` says more. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oneshot_core.errors import OneShotError

RUN_SCHEMA = "oneshot.run/1"
PROBABILITIES_SCHEMA = "oneshot.probabilities/1"


class RunError(OneShotError, ValueError):
    """A search cannot be run as asked, or a run folder has not what is needed."""


class RunFolder:
    """The files of one run.

    Args:
        path: of the folder; it need not exist.

    Attributes:
        path: of the folder.
        config: complete configuration, for LightningCLI.
        record: what was run, with what, and how it ended.
        probabilities: how likely each candidate was, epoch by epoch.
        checkpoint: the supernet and the state of the search.
        architecture: what the search chose; the best of the ranking if its strategy prefers none.
        ranking: scored architectures.
        table: the same as CSV.
        costs: folder of tables of the costs that the search was made with.
        lock: held by the process that writes into the folder.
        running: says which process that is.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.record = self.path / "run.json"
        self.probabilities = self.path / "probabilities.jsonl"
        self.checkpoint = self.path / "search.ckpt"
        self.architecture = self.path / "architecture.json"
        self.ranking = self.path / "ranking.json"
        self.table = self.path / "ranking.csv"
        self.costs = self.path / "costs"
        self.lock = self.path / "run.lock"
        self.running = self.path / "running.json"

    def __str__(self) -> str:
        return str(self.path)

    def require(self, *files: Path) -> None:
        """Check that there are some of the files.

        Raises:
            RunError: one is missing.
        """
        fixes = {
            self.config: "name a folder that `oneshot search` wrote",
            self.checkpoint: f"oneshot search --resume {self}, which trains the supernet",
            self.architecture: f"oneshot rank {self} --metric NAME, which chooses one where the "
            "search has not",
        }
        for file in files:
            if not file.is_file():
                raise RunError(
                    f"there is no {file.name} in {str(self)!r}",
                    expected="the folder of a run that has come so far",
                    fix=f"{fixes.get(file, fixes[self.config])}",
                )

    def read_probabilities(self) -> list[dict[str, Any]]:
        """Return the lines of ``probabilities.jsonl``; one that a kill has cut off is left out.

        Raises:
            RunError: it was not written by a recorder.
        """
        found: list[dict[str, Any]] = []
        try:
            text = self.probabilities.read_text(encoding="utf-8")
            for number, line in enumerate(text.splitlines()):
                try:
                    data = json.loads(line)
                except ValueError:
                    break
                if type(data["epoch"] if number else 0) is not int:
                    raise TypeError(data["epoch"])
                found.append(data)
            if not found or found[0]["schema"] != PROBABILITIES_SCHEMA:
                raise ValueError("the first line says no schema that is known")
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise self._damaged(error) from error
        return found

    def has_moved(self) -> bool:
        """Say whether some candidate is now more or less likely than before training.

        If not, the strategy prefers no architecture, and the ranking chooses.

        Raises:
            RunError: ``probabilities.jsonl`` is damaged.
        """
        lines = self.read_probabilities() if self.probabilities.is_file() else []
        try:
            states = [line["probabilities"] for line in lines[1:]]
            return any(
                a is not None and b is not None and not math.isclose(a, b, abs_tol=1e-6)
                for label, then in (states[0] if states else {}).items()
                for a, b in zip(then, states[-1][label], strict=True)
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> RunError:
        return RunError(
            f"{str(self.probabilities)!r} is damaged: {type(error).__name__}: {error}",
            expected=f"lines of schema {PROBABILITIES_SCHEMA!r}, as docs/run-folder.md describes "
            "them",
            fix="put a copy of it in its place, or delete it; a resumed run goes on without it, "
            "and the best of a ranking is then what the run chose",
        )

    def read_record(self) -> dict[str, Any]:
        """Return what ``run.json`` holds; empty if there is none.

        Raises:
            RunError: it cannot be read, or is of another schema.
        """
        if not self.record.is_file():
            return {}
        try:
            data = json.loads(self.record.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            data = None
        if (
            not isinstance(data, Mapping)
            or data.get("schema") != RUN_SCHEMA
            or type(data.get("sessions", 0)) is not int
            or type(data.get("seconds", 0.0)) not in (int, float)
            or not isinstance(data.get("started", ""), str)
        ):
            raise RunError(
                f"{str(self.record)!r} cannot be read as the record of a run",
                expected=f"JSON of schema {RUN_SCHEMA!r}, as docs/run-folder.md describes it",
                fix="use the version of oneshot-core that wrote it, or another folder",
            )
        return dict(data)
