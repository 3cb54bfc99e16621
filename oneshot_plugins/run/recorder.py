"""A callback that writes down a search: what it is, and how likely each candidate was when."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

import oneshot_core
from oneshot_core import BaseOneShotLightningModule, BaseSuperNetModule
from oneshot_core.files import write_text
from oneshot_core.lightning.kit import tree_of
from oneshot_core.space import diagrams_in
from oneshot_core.terminal import stopped_by_signal
from oneshot_plugins.ranking.baselines import finite, finite_values

from .folder import PROBABILITIES_SCHEMA, RUN_SCHEMA, RunError, RunFolder

LONGEST_TEXT = 300
"""Characters that say what a candidate is."""


class RunRecorder(Callback):
    """Write ``run.json``, ``probabilities.jsonl``, and ``architecture.json`` where one is chosen.

    For ``Trainer(callbacks=[RunRecorder("runs/mine")])`` of a search; ``oneshot report`` reads the
    folder. A fit from a checkpoint goes on with what the folder holds, any other starts anew.
    An architecture is chosen by the end of the fit if the strategy came to prefer one: if
    probabilities have moved. Else save the best of ``search.rank`` there.

    Args:
        folder: where to; made if there is none.
        options: what the strategy was made with, to be written down.
    """

    def __init__(self, folder: str | Path, options: Mapping[str, object] | None = None) -> None:
        self.folder = RunFolder(folder)
        self.options = {name: str(value) for name, value in (options or {}).items()}
        self._record: dict[str, Any] = {}
        self._began = 0.0
        self._seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        search = _search(pl_module)
        before = self.folder.read_record() if trainer.ckpt_path else {}
        self._began, self._seconds = time.monotonic(), before.get("seconds", 0.0)
        self._record = {
            **_description(search, trainer),
            "sessions": before.get("sessions", 0) + 1,
            "started": before.get("started", _now()),
        }
        self._record["strategy"]["options"] = self.options
        if not trainer.is_global_zero:
            return
        self.folder.path.mkdir(parents=True, exist_ok=True)
        self._start_lines(search, trainer, keep=bool(before))
        self._write("running", trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and not trainer.sanity_checking:
            self._append(_line(_search(pl_module), trainer, trainer.current_epoch + 1))
            self._write("running", trainer, done=trainer.current_epoch + 1)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or not self._record:
            return  # a resumed fit that had nothing left to train has no start
        if self.folder.has_moved():
            _search(pl_module).export().save(self.folder.architecture)
        self._write("finished", trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if trainer.is_global_zero and self._record:
            stopped = stopped_by_signal(exception) is not None
            error = None if stopped else f"{type(exception).__name__}: {exception}"
            self._write("interrupted" if stopped else "failed", trainer, error=error)

    def _write(
        self, status: str, trainer: Trainer, done: int | None = None, error: str | None = None
    ) -> None:
        record = {
            "schema": RUN_SCHEMA,
            "status": status,
            "error": error,
            **self._record,
            "epochs": trainer.current_epoch if done is None else done,
            "steps": trainer.global_step,
            "ended": None if status == "running" else _now(),
            "seconds": round(self._seconds + time.monotonic() - self._began, 3),
            "metrics": _metrics(trainer),
        }
        write_text(self.folder.record, json.dumps(record, indent=2, allow_nan=False) + "\n")

    def _start_lines(
        self, search: BaseOneShotLightningModule, trainer: Trainer, *, keep: bool
    ) -> None:
        """Write the first line, and those of the epochs that a checkpoint knows."""
        known = keep and self.folder.probabilities.is_file()
        before = self.folder.read_probabilities()[1:] if known else []
        lines = [line for line in before if line["epoch"] <= trainer.current_epoch]
        lines = lines or [_line(search, trainer, trainer.current_epoch)]
        candidates = {
            label: list(spec.candidates)
            for label, spec in search.space.specs.items()
            if spec.interval is None
        }
        head = {"schema": PROBABILITIES_SCHEMA, "candidates": candidates}
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in [head, *lines])
        write_text(self.folder.probabilities, text)

    def _append(self, line: Mapping[str, object]) -> None:
        with self.folder.probabilities.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")


def _search(module: LightningModule) -> BaseOneShotLightningModule:
    if not isinstance(module, BaseOneShotLightningModule):
        raise RunError(
            f"RunRecorder got a fit of {type(module).__name__}",
            expected="a search",
            fix="fit oneshot.search(model, ...), or leave RunRecorder out",
        )
    return module


def _metrics(trainer: Trainer) -> dict[str, float | None]:
    return finite_values({name: float(value) for name, value in trainer.callback_metrics.items()})


def _line(search: BaseOneShotLightningModule, trainer: Trainer, epoch: int) -> dict[str, object]:
    probabilities = search.export_probs()
    return {
        "epoch": epoch,
        "step": trainer.global_step,
        "probabilities": {
            label: list(map(finite, p.values())) for label, p in probabilities.items()
        },
        "metrics": _metrics(trainer),
    }


def _description(search: BaseOneShotLightningModule, trainer: Trainer) -> dict[str, Any]:
    """Return what stays the same in all of a fit."""
    lightning = str(tree_of(trainer)).partition(".")[0]
    return {
        "strategy": {"name": _strategy_name(search), "class": _path(search)},
        "seed": search.seed,
        "model": _path(search.model),
        "space": {
            "fingerprint": search.space.fingerprint,
            "size": str(search.space.size) if math.isfinite(search.space.size) else None,
            "parameters": search.space.describe(),
            "places": list(_places(search)),
            "diagrams": list(_diagrams(search)),
        },
        "max_epochs": trainer.max_epochs,
        "device": str(search.device),
        "world_size": trainer.world_size,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            lightning: import_module(lightning).__version__,
            "oneshot-core": oneshot_core.__version__,
        },
        "registry": {
            "fingerprint": search.registry.fingerprint(),
            "components": {
                record.id: f"{record.provider} {record.version}".strip()
                for record in search.registry.ordered()
                if record.kind != "command"
            },
        },
    }


def _strategy_name(search: BaseOneShotLightningModule) -> str | None:
    records = search.registry.find("strategy")
    return next((r.name for r in records if r.component.target == _path(search)), None)


def _places(search: BaseOneShotLightningModule) -> Iterator[dict[str, object]]:
    paths = {module: path for path, module in search.model.named_modules()}
    for module in search.nas_modules:
        yield {
            "path": paths[module],
            "kind": type(module.original or module).__name__,
            "labels": list(module.search_space_spec()),
            "candidates": _candidates(module),
        }


def _diagrams(search: BaseOneShotLightningModule) -> Iterator[dict[str, object]]:
    """Yield how parts of the model are drawn.

    Raises:
        RunError: one is about labels that decide nothing.
    """
    for path, diagram in diagrams_in(search.model):
        unknown = [label for label in diagram.labels if label not in search.space.specs]
        if unknown:
            raise RunError(
                f"the diagram {diagram.name!r} of the module at {path!r} is about {unknown}",
                expected=f"labels of the model space: {list(search.space.specs)}",
                fix="correct its diagram_at, or tell the author of the plugin it comes from",
            )
        yield diagram.to_dict()


def _candidates(module: BaseSuperNetModule) -> dict[str, str]:
    """Return what each candidate is, where one label chooses among modules; else nothing."""
    labels = list(module.branches().values())
    if len(labels) != 1 or not all(len(parts) == 1 for parts in labels[0].values()):
        return {}
    return {str(candidate): _text(parts[0]) for candidate, parts in labels[0].items()}


def _text(module: object) -> str:
    text = " ".join(repr(module).split())
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."


def _path(thing: object) -> str:
    return f"{type(thing).__module__}:{type(thing).__qualname__}"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
