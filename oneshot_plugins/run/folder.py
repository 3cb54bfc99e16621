"""A run folder: which file is where; ``docs/run-folder.md`` says more. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oneshot_core.errors import OneShotError

RUN_SCHEMA = "oneshot.run/1"


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
        architecture: the chosen one.
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
            self.architecture: f"oneshot rank {self} --metric NAME, which chooses one",
        }
        for file in files:
            if not file.is_file():
                raise RunError(
                    f"there is no {file.name} in {str(self)!r}.\n"
                    "  expected: the folder of a run that has come so far\n"
                    f"  fix: {fixes.get(file, fixes[self.config])}"
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
                f"{str(self.record)!r} cannot be read as the record of a run.\n"
                f"  expected: JSON of schema {RUN_SCHEMA!r}, as docs/run-folder.md describes it\n"
                "  fix: use the version of oneshot-core that wrote it, or another folder"
            )
        return dict(data)
