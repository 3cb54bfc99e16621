"""Results in one JSON file that is whole at any time, so that a kill loses one run at most."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from .networks import Network
from .searches import Run

SCHEMA = "oneshot.benchmarks.mnist1d/1"


class Results:
    """Networks and runs that are finished.

    Args:
        path: of the file; what it holds is read.

    Raises:
        ValueError: it holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.networks: dict[tuple[int, str], Network] = {}
        self.runs: dict[tuple[str, int], Run] = {}
        if path.exists():
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.get("schema") != SCHEMA:
                raise ValueError(
                    f"{path} has the schema {data.get('schema')!r}.\n"
                    f"  expected: {SCHEMA!r}\n  fix: name another folder with --out"
                )
            for network in (Network(**each) for each in data["networks"]):
                self.networks[network.seed, network.operations] = network
            for run in (Run(**each) for each in data["runs"]):
                self.runs[run.configuration, run.seed] = run

    def add(self, result: Network | Run) -> None:
        """Keep a result, and write the file."""
        if isinstance(result, Network):
            self.networks[result.seed, result.operations] = result
        else:
            self.runs[result.configuration, result.seed] = result
        self.write()

    def write(self) -> None:
        """Write the file, one result in a line: whole or not at all."""
        networks = [json.dumps(asdict(self.networks[key])) for key in sorted(self.networks)]
        runs = [json.dumps(asdict(self.runs[key])) for key in sorted(self.runs)]
        text = (
            f'{{"schema": "{SCHEMA}",\n"networks": [\n'
            + ",\n".join(networks)
            + '\n],\n"runs": [\n'
            + ",\n".join(runs)
            + "\n]}\n"
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".part")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, self.path)
