"""How cost grows: exponents fitted to measurements over a family of models.

``time ~ choices ** 1.0`` is in proportion, an exponent of 0 is no influence.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import oneshot_core as oneshot


class Growth(NamedTuple):
    """Exponents of what was varied, and the measurements they were fitted to.

    Attributes:
        exponents: what was varied -> its exponent, by least squares of logarithms.
        points: what was varied and the seconds or bytes measured there.
    """

    exponents: dict[str, float]
    points: list[dict[str, float]]


class Allocated(TorchDispatchMode):
    """Counts the bytes of all storages that operations made."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        taken = {t.untyped_storage()._cdata for t in args if isinstance(t, Tensor)}
        if isinstance(out, Tensor) and out.untyped_storage()._cdata not in taken:
            self.bytes += out.untyped_storage().nbytes() if out.device.type != "meta" else 0
        return out


def _nested(layers: int, depth: int, candidates: int, size: int = 4) -> nn.Module:
    """Chain layers, each one of ``candidates``; the chain lies ``depth`` containers deep."""
    chain: nn.Module = nn.Sequential(
        *(
            oneshot.LayerChoice([nn.Linear(size, size) for _ in range(candidates)])
            for _ in range(layers)
        )
    )
    for _ in range(depth):
        chain = nn.Sequential(chain)
    return chain


def _frozen_cases() -> Iterator[tuple[dict[str, float], nn.Module, dict[str, Any]]]:
    for layers, depth, candidates in product((64, 256, 1024), (1, 8, 64), (2, 8)):
        model = _nested(layers, depth, candidates)
        chosen = oneshot.ModelSpace(model).sample(random.Random(0))
        yield {"layers": layers, "depth": depth, "candidates": candidates}, model, chosen


def freeze_time() -> Growth:
    """Seconds to freeze chains of layers, by their number, nesting and unchosen candidates."""
    points = []
    for varied, model, chosen in _frozen_cases():
        seconds = _best(lambda m=model, c=chosen: oneshot.freeze(m, c))  # type: ignore[misc]
        points.append({**varied, "measured": seconds})
    return _fit(points)


def freeze_memory() -> Growth:
    """Bytes allocated by freezing the same chains."""
    points = []
    for varied, model, chosen in _frozen_cases():
        with Allocated() as allocated:
            oneshot.freeze(model, chosen)
        points.append({**varied, "measured": allocated.bytes})
    return _fit(points)


class _Choices(pl.LightningModule):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.parts = _nested(n, 1, 4, 1)


def resample_time() -> Growth:
    """Seconds of ``search.resample()``, by the number of choices."""
    points = []
    for n in (32, 128, 512, 2048):
        search = oneshot.search(_Choices(n), "random", seed=0)
        points.append({"choices": float(n), "measured": _best(search.resample)})
    return _fit(points)


def space_time() -> Growth:
    """Seconds to read a model space and count it, by the number of choices."""
    points = []
    for n in (32, 128, 512, 2048):
        model = _nested(n, 1, 4, 1)
        points.append(
            {"choices": float(n), "measured": _best(lambda m=model: oneshot.ModelSpace(m).size)}
        )  # type: ignore[misc]
    return _fit(points)


def _best(function: Callable[[], object], repeat: int = 5) -> float:
    """Return the shortest of several runs: what else the machine does only adds to it."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def _fit(points: list[dict[str, float]]) -> Growth:
    names = [name for name in points[0] if name != "measured"]
    rows = torch.tensor([[*(p[name] for name in names), 1.0] for p in points]).double()
    rows[:, :-1] = rows[:, :-1].log()
    wanted = torch.tensor([[p["measured"]] for p in points]).double().log()
    solution = torch.linalg.lstsq(rows, wanted).solution.flatten().tolist()
    return Growth(dict(zip(names, solution, strict=False)), points)


GROWTHS: dict[str, Callable[[], Growth]] = {
    "freeze_time": freeze_time,
    "freeze_memory": freeze_memory,
    "resample_time": resample_time,
    "space_time": space_time,
}
