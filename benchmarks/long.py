"""``python -m benchmarks.long [--steps N] [--json FILE] [STRATEGY ...]``: look for what grows.

One long fit of a tiny search with validation, logging and checkpoints. What is counted twenty
times on the way: objects that Python's collector knows, memory of the process, open files. At the
end the draws of many steps are compared with those of a new search that is asked for them
directly, by (seed, epoch, batch).
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader

import oneshot_core as oneshot
from oneshot_core.files import write_text

from .killed import FAMILIES, LEARNS, Net, data

EPOCH = 25
"""Batches."""
COUNTED = 20
"""Times."""


class Counts(Callback):
    """Counts what may grow, and keeps what was drawn."""

    def __init__(self, steps: int) -> None:
        self.every = max(1, steps // COUNTED)
        self.rows: list[dict[str, int]] = []
        self.drawn: dict[tuple[int, int], dict[str, Any]] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.every == 0:
            self.drawn[trainer.current_epoch, batch_idx] = taken(pl_module)
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.rows.append(
                {
                    "step": trainer.global_step,
                    "objects": len(gc.get_objects()),
                    "bytes": pages * os.sysconf("SC_PAGE_SIZE"),
                    "files": len(os.listdir("/proc/self/fd")),
                }
            )


def taken(search: Any) -> dict[str, Any]:
    """Return label -> candidates that take part now."""
    return {d.spec.label: [a.candidate for a in d.active()] for d in search.decisions}


def new_search(strategy: str) -> Any:
    """Return a search over the tiny model, always the same."""
    torch.manual_seed(0)
    options: dict[str, Any] = {}
    if strategy in LEARNS:
        options["arch_dataloader"] = DataLoader(data(24, 1), 8, shuffle=True)
    return oneshot.search(Net(), FAMILIES[strategy][0], seed=5, **FAMILIES[strategy][1], **options)


def measure(strategy: str, steps: int) -> dict[str, Any]:
    """Train for ``steps``; return what was counted, and whether draws are as they should be."""
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    search, counts = new_search(strategy), Counts(steps)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            max_steps=steps,
            max_epochs=-1,
            accelerator="cpu",
            logger=CSVLogger(folder, flush_logs_every_n_steps=EPOCH),
            log_every_n_steps=5,
            check_val_every_n_epoch=4,
            callbacks=[counts, ModelCheckpoint(Path(folder, "kept"), save_last=True)],
            plugins=[oneshot.AtomicCheckpointIO()],
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(search, DataLoader(data(8 * EPOCH, 0), 8), DataLoader(data(16, 2), 8))
    half = counts.rows[len(counts.rows) // 2]
    end = counts.rows[-1]
    return {
        "steps": steps,
        "rows": counts.rows,
        "growth of the second half": {k: end[k] - half[k] for k in ("objects", "bytes", "files")},
        "draws are those of a new search": _draws_are_direct(strategy, counts),
        "batches are those of a new stream": _batches_are_direct(strategy, search),
    }


def _draws_are_direct(strategy: str, counts: Counts) -> bool:
    fresh = new_search(strategy)
    if strategy != "random":
        return True  # what the others draw depends on what they have learned
    for (epoch, batch), drawn in counts.drawn.items():
        fresh.reseed("train", epoch, batch)
        fresh.resample()
        if taken(fresh) != drawn:
            return False
    return True


def _batches_are_direct(strategy: str, search: Any) -> bool:
    if search.architecture_batches is None:
        return True
    fresh = new_search(strategy).architecture_batches
    fresh.rewind(search.architecture_batches.drawn)
    pairs = zip(fresh.next(), search.architecture_batches.next(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def main() -> int:
    """Measure the strategies that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="STRATEGY", help=", ".join(FAMILIES))
    parser.add_argument("--steps", type=int, default=10_000, help="(default: 10000)")
    parser.add_argument("--json", help="also write the numbers to this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for strategy in args.names or ["random", "darts"]:
        result = results[strategy] = measure(strategy, args.steps)
        grown = ", ".join(f"{n:+,} {k}" for k, n in result["growth of the second half"].items())
        print(f"{strategy}: {args.steps} steps; second half: {grown}", flush=True)
    if args.json:
        write_text(args.json, json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
