"""Run folders, written as ``docs/run-folder.md`` describes them."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import oneshot_core as oneshot
from oneshot_core import Architecture, ModelSpace, ParetoFront
from oneshot_core.space import diagrams_in
from oneshot_plugins.ranking.front import Scored

ODD = "<script>alert(1)</script>"


class Net(nn.Module):
    """One choice of each kind: odd names, a nested one, several, tuples, an interval."""

    def __init__(self) -> None:
        super().__init__()
        inner = nn.Sequential(oneshot.LayerChoice([nn.Identity(), nn.ReLU()], label="inner"))
        self.odd = oneshot.LayerChoice({ODD: inner, "b": nn.Tanh()}, label=f"{ODD}odd")
        self.pair = oneshot.InputChoice(3, n_chosen=2, label="pair")
        self.drop = oneshot.nn.Dropout(oneshot.uniform(0.0, 0.5, label="p"))
        self.conv = oneshot.nn.Conv1d(3, 4, oneshot.choice([(1,), (3,)], label="kernel"))


def dump(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, allow_nan=False), encoding="utf-8")


class Folder:
    """Writes one run.

    Args:
        path: where to.
        model: whose space is searched.
    """

    def __init__(self, path: Path, model: nn.Module) -> None:
        self.path = path
        self.space = ModelSpace(model)
        self.diagrams = [diagram.to_dict() for _, diagram in diagrams_in(model)]
        path.mkdir(parents=True, exist_ok=True)

    def record(self, **changes: Any) -> Folder:
        paths: dict[str, list[str]] = {}
        for label, at in self.space.paths.items():
            for path in at:
                paths.setdefault(path, []).append(label)
        size = self.space.size
        record: dict[str, Any] = {
            "schema": "oneshot.run/1",
            "status": "finished",
            "error": None,
            "strategy": {"name": "darts", "class": "a.b:Darts", "options": {"order": "2"}},
            "seed": 7,
            "model": "mine.models:Net",
            "space": {
                "fingerprint": self.space.fingerprint,
                "size": None if math.isinf(size) else str(size),
                "parameters": self.space.describe(),
                "places": [
                    {"path": path, "kind": "LayerChoice", "labels": labels, "candidates": {}}
                    for path, labels in paths.items()
                ],
                "diagrams": self.diagrams,
            },
            "epochs": 3,
            "steps": 30,
            "max_epochs": 3,
            "sessions": 2,
            "started": "2026-01-02T03:04:05+00:00",
            "ended": "2026-01-02T04:05:06+00:00",
            "seconds": 3661.0,
            "metrics": {"val_acc": 0.875, "val_loss": None},
            "device": "cuda:0",
            "world_size": 2,
            "versions": {"python": "3.11.7", "torch": "2.13.0"},
            "registry": {"fingerprint": "oneshot1:abc", "components": {"cost:macs": "x 1.0"}},
        }
        dump(self.path / "run.json", record | changes)
        return self

    def history(self, epochs: int = 3, *, moves: bool = True, cut: bool = False) -> Folder:
        """The first candidate of every label gains, the others lose."""
        specs = [spec for spec in self.space.specs.values() if spec.interval is None]
        head = {
            "schema": "oneshot.probabilities/1",
            "candidates": {s.label: list(s.candidates) for s in specs},
        }
        lines = [json.dumps(head)]
        for epoch in range(epochs + 1):
            share = epoch / epochs if moves else 0.0
            rows = {}
            for spec in specs:
                n, k = len(spec.candidates), spec.n_chosen or 1
                rest = k / n * (1 - 0.8 * share)
                rows[spec.label] = [k - rest * (n - 1), *[rest] * (n - 1)] if n > 1 else [1.0]
            metrics = {"val_acc": 0.5 + 0.1 * share, "nan": None} if epoch else {}
            line = {"epoch": epoch, "step": 10 * epoch, "probabilities": rows, "metrics": metrics}
            lines.append(json.dumps(line))
        if cut:
            lines[-1] = lines[-1][:20]
        (self.path / "probabilities.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return self

    def draw(self, n: int) -> list[Architecture]:
        """Different architectures; many are drawn label by label, which is faster."""
        rng, found = random.Random(0), {}
        specs = self.space.specs.values()
        while len(found) < n:
            many = n > 100
            choices = {s.label: s.draw(rng) for s in specs} if many else self.space.sample(rng)
            found.setdefault(Architecture(choices), choices)
        return list(found)

    def architecture(self, chosen: Mapping[str, Any] | None = None) -> Folder:
        chosen = self.draw(1)[0] if chosen is None else chosen
        Architecture(chosen, self.space).save(self.path / "architecture.json")
        return self

    def ranking(self, n: int = 5, costs: bool = True, mode: str = "max") -> Folder:
        """Scores fall, costs fall with them; the architecture that is drawn first is the best."""
        entries = [
            {
                "architecture": dict(a),
                "score": None if place == n - 1 else (0.9 - place / n / 2),
                "metrics": {},
                "costs": {"macs": 1e6 / (place + 1), "size": 10.0 + place} if costs else {},
            }
            for place, a in enumerate(self.draw(n))
        ]
        rows = [
            {"name": "best found", "values": {"val_acc": 0.9, "macs": 1e6},
             "architecture": dict(entries[0]["architecture"])},
            {"name": "mean of 5 random", "values": {"val_acc": 0.7, "macs": None},
             "architecture": None},
            {"name": "largest", "values": {"val_acc": 0.85, "macs": 2e6},
             "architecture": dict(self.draw(n + 2)[-1])},
        ]  # fmt: skip
        taus = [
            {"between": ["val_acc", "macs"], "tau": 0.4567},
            {"between": ["val_acc", "truth"], "tau": None},
        ]
        data: dict[str, Any] = {"schema": "oneshot.ranking/1", "metric": "val_acc", "mode": mode}
        random_ = [
            {"architecture": entries[1]["architecture"], "values": {"val_acc": 0.8, "macs": 5e5}},
            {"architecture": dict(self.draw(n + 1)[-1]), "values": {"val_acc": 0.6, "macs": 3e5}},
        ]
        beside = {"rows": rows, "random": random_, "kendall_tau": taus}
        data["baselines"] = beside if costs else None
        dump(self.path / "ranking.json", data | {"entries": entries})
        return self

    def front(self) -> Folder:
        scored = [
            Scored(a, {"val_acc": acc, "macs": macs}, {})
            for a, acc, macs in zip(
                self.draw(4), (0.5, 0.9, 0.7, 0.6), (1.0, 9.0, 3.0, 4.0), strict=True
            )
        ]
        objectives = {"val_acc": "max", "macs": "min"}
        limits = {"macs": (None, 50.0)}
        ParetoFront(scored, objectives, limits).to_json(self.path / "pareto.json")
        return self

    def baselines(self) -> Folder:
        entries = [
            {"name": "found", "seed": 0, "values": {"test_acc": 0.95, "macs": 5e5},
             "architecture": dict(self.draw(1)[0])},
            {"name": f"{ODD}human", "values": {"test_acc": 0.99}},
            {"name": "largest", "seed": 1,
             "values": {"test_acc": 0.9, "val_acc": 0.8, "macs": 9e5}},
        ]  # fmt: skip
        dump(self.path / "baselines.json", {"schema": "oneshot.baselines/1", "entries": entries})
        return self

    def everything(self) -> Folder:
        (self.path / "config.yaml").write_text("seed: 7 # <b>\n", encoding="utf-8")
        return self.record().history().architecture().ranking().front().baselines()


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Folder]:
    """Start a run folder: ``folder(model=Net())``."""

    def make(model: nn.Module | None = None, name: str = "run") -> Folder:
        return Folder(tmp_path / name, Net() if model is None else model)

    return make
