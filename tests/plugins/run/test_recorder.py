"""``RunRecorder`` in a script of one's own."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from torch import nn
from torch.utils.data import DataLoader

import oneshot_core as oneshot
from oneshot_core.space import Diagram, Link, Node
from oneshot_plugins.run.folder import RunError
from oneshot_plugins.run.recorder import RunRecorder


@pytest.fixture
def made(users: Path) -> Any:
    module = importlib.import_module("cli_users")
    data = module.Data()
    data.setup("fit")
    return module, data


def trainer(folder: Path, epochs: int = 1) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[RunRecorder(folder)],
    )


@pytest.mark.slow
def test_a_strategy_that_prefers_something_leaves_its_architecture(
    made: Any, tmp_path: Path
) -> None:
    module, data = made
    loader = DataLoader(data.data, batch_size=12)
    search = oneshot.search(module.Net(), "darts", arch_dataloader=loader, seed=4)
    trainer(tmp_path).fit(search, data)
    assert oneshot.Architecture.load(tmp_path / "architecture.json") == search.export()
    record = json.loads((tmp_path / "run.json").read_text())
    assert (record["status"], record["seed"]) == ("finished", 4)
    assert record["strategy"] == {
        "name": "darts",
        "class": "oneshot_plugins.strategies.darts:Darts",
        "options": {},
    }
    head, *lines = map(json.loads, (tmp_path / "probabilities.jsonl").read_text().splitlines())
    last = search.export_probs()
    assert head["candidates"] == {label: list(p) for label, p in last.items()}
    assert lines[-1]["probabilities"] == {label: list(p.values()) for label, p in last.items()}


def test_a_strategy_that_only_samples_leaves_none_and_a_new_fit_starts_anew(
    made: Any, tmp_path: Path
) -> None:
    module, data = made
    for epochs in (2, 1):
        trainer(tmp_path, epochs).fit(oneshot.search(module.Net(), "random", seed=0), data)
        lines = (tmp_path / "probabilities.jsonl").read_text().splitlines()
        assert len(lines) == epochs + 2
    assert json.loads((tmp_path / "run.json").read_text())["sessions"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["probabilities.jsonl", "run.json"]


def test_a_fit_of_something_else_is_refused(made: Any, tmp_path: Path) -> None:
    module, data = made
    with pytest.raises(RunError, match="a fit of Net"):
        trainer(tmp_path / "none").fit(module.Net(), data)
    assert not (tmp_path / "none").exists()


class Drawn(nn.Module):
    """A choice that somebody wants to be drawn as a graph."""

    def __init__(self, inside: nn.Module, label: str) -> None:
        super().__init__()
        self.inside = inside
        self.label = label

    def diagram_at(self, path: str) -> Diagram:
        return Diagram(path, [Node("in"), Node("out")], [Link(0, 1, self.label)])

    def forward(self, x: Any) -> Any:
        return self.inside(x)


def test_how_a_module_is_drawn_is_written_down(made: Any, tmp_path: Path) -> None:
    users, data = made

    def drawn(label: str) -> Any:
        model = users.Net()
        model.first = Drawn(model.first, label)
        return oneshot.search(model, seed=0)

    trainer(tmp_path / "run").fit(drawn("first"), data)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["space"]["diagrams"] == [
        Diagram("first", [Node("in"), Node("out")], [Link(0, 1, "first")]).to_dict()
    ]
    with pytest.raises(RunError, match=r"module at 'first' is about \['elsewhere'\]"):
        trainer(tmp_path / "new").fit(drawn("elsewhere"), data)
    assert not (tmp_path / "new").exists()
