"""Peaks of memory of training steps, as the allocator saw them.

What exists before the steps, weights among it, is not counted: it is the same on both sides.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile

import oneshot_core as oneshot

from .fitting import fitted
from .plain import LAYERS, images, train_darts
from .steps import build, by_hand, probabilities_by_hand
from .timing import Ratio


def peak(run: Callable[[], object]) -> int:
    """Return how many bytes more than at its start ``run`` had allocated at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.json")
        found.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    totals = [
        (event["ts"], event["args"]["Total Allocated"], event["args"]["Bytes"])
        for event in events
        if event.get("name") == "[memory]" and event["args"]["Device Type"] == 0
    ]
    totals.sort()
    _, first, change = totals[0]
    return int(max(total for _, total, _ in totals) - (first - change))


def _compare(ours: Callable[[], object], theirs: Callable[[], object]) -> Ratio:
    ours()
    theirs()
    mine, other = peak(ours), peak(theirs)
    return Ratio(mine / other, mine / other, mine / other, mine, other)


def sampled_memory() -> Ratio:
    """A sampled step against one network of the space, the largest, both in a Trainer."""
    search, loader = build("random"), images(3)
    path = {f"l{number}": "3" for number in range(LAYERS)}
    bare = oneshot.freeze(search, path)

    def ours() -> None:
        with search.at(path):
            fitted(search, loader)

    return _compare(ours, lambda: fitted(bare, loader))


def darts_memory(**options: Any) -> Ratio:
    """A step of DARTS against the paper's loop, written by hand."""
    loader = images(3)
    search = build("darts", arch_dataloader=loader, **options)
    net, alphas = by_hand(search), probabilities_by_hand(search)
    return _compare(lambda: fitted(search, loader), lambda: train_darts(net, alphas, loader))


def recomputed_darts_memory() -> Ratio:
    """The same with ``recompute=True``."""
    return darts_memory(recompute=True)
