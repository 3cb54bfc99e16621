"""Every strategy keeps the constraints of the model space, or refuses before it trains."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core import nn as onn
from oneshot_core.errors import StrategyError
from oneshot_plugins.strategies.shrinking import Phase

from .conftest import CLASSES, FEATURES, Net

FIRST, SECOND = (oneshot.choice([2, 3, 5], label=label) for label in ("first", "second"))


class Growing(Net):
    """Two widths, of which the second must be larger; the largest of both break that."""

    def __init__(self) -> None:
        super().__init__()
        del self.first, self.second, self.head
        self.net = nn.Sequential(
            onn.Linear(FEATURES, FIRST), nn.Tanh(), onn.Linear(FIRST, SECOND), nn.Tanh()
        )
        self.head = onn.Linear(SECOND, CLASSES)
        oneshot.constrain(self, SECOND > FIRST)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.net(x))
        return out


def data() -> DataLoader[tuple[Tensor, ...]]:
    x = torch.randn(12, FEATURES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, torch.arange(12) % CLASSES), batch_size=4)


def taken(search: Any) -> dict[str, Any]:
    """Return what a forward pass computes, of labels that compute one candidate."""
    active = {d.spec.label: d.active() for d in search.decisions}
    return {label: a[0].candidate for label, a in active.items() if len(a) == 1}


OPTIONS: dict[str, dict[str, Any]] = {
    "random": {},
    "sandwich": {},
    "shrinking": {"n_paths": 2},
    "gdas": {"arch_dataloader": data()},
    "proxyless": {"arch_dataloader": data()},
    "darts": {"arch_dataloader": data()},
    "gumbel": {"arch_dataloader": data()},
    "snas": {},
    "drnas": {"arch_dataloader": data()},
}


@pytest.mark.parametrize("strategy", OPTIONS)
def test_what_trains_weights_and_what_is_exported_keeps_them(strategy: str, fit: Any) -> None:
    search = oneshot.search(Growing(), strategy, seed=0, **OPTIONS[strategy])
    assert search.space.size == 3
    paths: list[dict[str, Any]] = []

    def note(*_: Any) -> None:
        learned = [*search.decisions.parameters()]
        if not any(parameter.requires_grad for parameter in learned):  # a weight step
            paths.append(taken(search))

    search.model.head.register_forward_pre_hook(note)
    fit(search, max_epochs=3, limit_val_batches=0)
    assert paths
    assert all(search.space.possible(path) for path in paths), paths
    if strategy in ("random", "sandwich", "shrinking"):
        search.rank("all", data(), metric="val_loss", mode="min", progress=False)
        assert len({tuple(path.items()) for path in paths}) > 1
    best = search.export()
    assert best["second"] > best["first"]  # type: ignore[operator]
    assert all(a["second"] > a["first"] for a in search.top_k(3))  # type: ignore[operator]


def test_ends_of_the_sandwich_are_the_nearest_that_keep_them() -> None:
    search = oneshot.search(Growing(), "sandwich", seed=0)
    assert search.ends() == ({"first": 2, "second": 3}, {"first": 3, "second": 5})


@pytest.mark.parametrize(
    ("strategy", "options"), [("fair", {}), ("enas", {"arch_dataloader": data()})]
)
def test_what_cannot_keep_them_says_so_before_training(
    strategy: str, options: dict[str, Any], fit: Any
) -> None:
    search = oneshot.search(Growing(), strategy, seed=0, **options)
    with pytest.raises(StrategyError, match=r"\(second > first\)"):
        fit(search)


def test_phases_open_as_many_as_keep_them_and_are_refused_where_they_cannot(fit: Any) -> None:
    search = oneshot.search(Growing(), "shrinking", seed=0)
    assert search.open_choices(0, 3) == {"first": [3, 5], "second": [3, 5]}
    phases = [Phase(1), Phase(1, {"*": None})]
    refused = oneshot.search(Growing(), "shrinking", seed=0, phases=phases)
    with pytest.raises(StrategyError, match="what a phase opens cannot keep"):
        fit(refused, max_epochs=3)
