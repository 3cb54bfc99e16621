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
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_plugins.strategies.uniform import UniformDecision

from .fitting import fitted
from .steps import supernet_hooks


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


class _Layers(pl.LightningModule):
    """A chain of choices between equal layers."""

    def __init__(self, layers: int, candidates: int) -> None:
        super().__init__()
        self.net = _nested(layers, 1, candidates, 64)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.net(batch[0]).square().mean()  # type: ignore[no-any-return]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("loss", self.net(batch[0]).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def _step_time(strategy: str) -> Growth:
    points = []
    for layers, candidates, batch in product((4, 8, 16), (2, 4, 8), (256, 1024)):
        loader = DataLoader(TensorDataset(torch.randn(8 * batch, 64)), batch_size=batch)
        options = {} if strategy == "random" else {"arch_dataloader": loader}
        search = oneshot.search(_Layers(layers, candidates), strategy, seed=0, **options)
        seconds = min(fitted(search, loader) for _ in range(3))
        varied = {"layers": layers, "candidates": candidates, "batch": batch}
        points.append({**varied, "measured": seconds})
    return _fit(points)


def sampled_time() -> Growth:
    """Seconds of a sampled training step."""
    return _step_time("random")


def darts_time() -> Growth:
    """Seconds of a step of first-order DARTS."""
    return _step_time("darts")


def walk_time() -> Growth:
    """Seconds to walk over a model and replace its choices, by modules and share of choices."""
    points = []
    hooks = supernet_hooks()
    for choices, others in product((64, 256, 1024), (4, 16)):
        times = []
        for _ in range(5):
            plain = [nn.Sequential(*(nn.Identity() for _ in range(others))) for _ in range(choices)]
            model = nn.Sequential(*plain, *_nested(choices, 0, 1, 1).children())
            table = oneshot.DecisionTable(UniformDecision)
            start = time.perf_counter()
            oneshot.traverse_and_mutate_submodules(model, hooks, {"decisions": table})
            times.append(time.perf_counter() - start)
        varied = {"choices": choices, "modules beside each": others}
        points.append({**varied, "measured": min(times)})
    return _fit(points)


def ranking_time() -> Growth:
    """Seconds to rank architectures, by their number."""
    search = oneshot.search(_Layers(8, 4), "random", seed=0)
    loader = DataLoader(TensorDataset(torch.randn(64, 64)), batch_size=64)
    rng = random.Random(0)
    drawn = [search.space.sample(rng) for _ in range(256)]
    points = []
    for n in (16, 64, 256):

        def rank(n: int = n) -> None:
            search.rank(drawn[:n], loader, metric="loss", mode="min", progress=False)

        points.append({"architectures": float(n), "measured": _best(rank, 3)})
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
    "walk_time": walk_time,
    "sampled_time": sampled_time,
    "darts_time": darts_time,
    "ranking_time": ranking_time,
}
