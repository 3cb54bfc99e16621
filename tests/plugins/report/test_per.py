"""The report says for how many examples costs are."""

from __future__ import annotations

import json
from typing import Any

from oneshot_plugins.report.clouds import best_rows, clouds, names
from oneshot_plugins.report.folder import read_run


def test_plots_and_tables_say_for_how_many_examples_costs_are(folder: Any) -> None:
    path = folder().everything().path
    for name in ("ranking.json", "pareto.json"):
        data = json.loads((path / name).read_text())
        data["per"] = {"macs": "for a batch of 8"}
        (path / name).write_text(json.dumps(data))
    run = read_run(path)
    for scores in (run.ranking, run.front):
        assert "macs, for a batch of 8" in [cloud.x for cloud in clouds(scores, None)]
        assert "macs, for a batch of 8" in best_rows(scores)[0]
        assert "macs, for a batch of 8" in names(scores)["quantities"]
        assert scores.named("val_acc") == "val_acc"
