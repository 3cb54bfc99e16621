"""Searching numbers: widths, kernels and depths with constraints, by sampling and by gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core import nn as onn
from oneshot_core.errors import ArchitectureError, StrategyError

XS = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0))
YS = torch.randint(4, (32,), generator=torch.Generator().manual_seed(1))


class Net(LightningModule):
    """Widths that grow, a kernel, and a depth computed from a choice."""

    def __init__(self, *, constrained: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        first = oneshot.choice([4, 8], label="first")
        second = oneshot.choice([4, 8, 12], label="second")
        kernel = oneshot.choice([1, 3], label="kernel")
        depth = oneshot.choice([0, 1, 2], label="depth")
        if constrained:
            oneshot.constrain(self, second >= first)
        self.stem = nn.Sequential(
            onn.Conv2d(3, first, kernel, padding=kernel // 2, bias=False),
            onn.BatchNorm2d(first),
            nn.ReLU(),
        )
        self.body = oneshot.Repeat(lambda i: onn.Conv2d(first, first, 3, padding=1), depth)
        self.tail = onn.Conv2d(first, second, 1)
        self.head = onn.Linear(second, 4)

    def forward(self, x: Tensor) -> Tensor:
        features = self.tail(self.body(self.stem(x))).relu().mean((2, 3))
        logits: Tensor = self.head(features)
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def loader() -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(XS, YS), batch_size=8)


def trainer(**options: Any) -> Trainer:
    return Trainer(
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        **options,
    )


def honest(search: Any, architecture: Any) -> None:
    frozen = oneshot.freeze(search, architecture).eval()
    model = search.model.eval()
    with torch.no_grad(), search.at(architecture):
        assert torch.equal(model(XS), frozen(XS))
    assert not any(
        type(m).__module__.startswith("oneshot") for m in frozen.modules() if m is not frozen
    )


def test_sampled_widths_are_trained_ranked_with_their_own_statistics_and_frozen() -> None:
    search = oneshot.search(Net(), "random", seed=0)
    assert search.space.size == 2 * 3 * 5
    trainer().fit(search, loader(), loader())
    ranking = search.rank("all", loader(), metric="loss", mode="min", progress=False)
    assert len(ranking) == 30
    assert all(e.architecture["second"] >= e.architecture["first"] for e in ranking)  # type: ignore[operator]
    honest(search, search.export())
    honest(search, ranking[-1].architecture)


def test_recalibrated_statistics_are_those_of_the_frozen_network() -> None:
    """The plain average over the training batches, for the channels in use."""
    search = oneshot.search(Net(), "random", seed=0)
    trainer().fit(search, loader(), loader())
    architecture = {"first": 4, "second": 8, "kernel": 3, "depth": 1}
    batch_loader = DataLoader(TensorDataset(XS, YS), batch_size=8)
    found = search.evaluate(architecture, loader(), train_dataloader=batch_loader)
    frozen = oneshot.freeze(search, architecture).eval()
    norm = frozen.stem[1]
    norm.reset_running_stats()
    norm.momentum = None
    norm.train()
    with torch.no_grad():
        for x, _ in batch_loader:
            frozen(x)
        norm.eval()
        losses = [nn.functional.cross_entropy(frozen(x), y) for x, y in loader()]
    assert found["loss"] == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)
    assert search.model.stem[1].momentum == 0.1


def test_every_draw_keeps_the_constraint() -> None:
    search = oneshot.search(Net(), "random", seed=0)
    seen = set()
    for step in range(200):
        search.reseed(step)
        drawn = search.resample()
        assert drawn["second"] >= drawn["first"]  # type: ignore[operator]
        seen.add((drawn["first"], drawn["second"]))
    assert len(seen) == 5


def test_gradient_learns_widths_and_exports_what_keeps_the_constraint() -> None:
    search = oneshot.search(Net(), "darts", seed=0, arch_dataloader=loader(), arc_learning_rate=0.1)
    before = {d.spec.label: d.probabilities().detach().clone() for d in search.decisions}
    trainer().fit(search, loader(), loader())
    assert all(not torch.equal(before[d.spec.label], d.probabilities()) for d in search.decisions)
    with torch.no_grad():  # what it prefers breaks the constraint
        search.decisions["first"].alpha.copy_(torch.tensor([0.0, 3.0]))
        search.decisions["second"].alpha.copy_(torch.tensor([4.0, 0.0, 3.0]))
    best = search.export()
    assert (best["first"], best["second"]) == (8, 12)
    assert best == search.top_k(1)[0]
    honest(search, best)


def test_what_breaks_a_constraint_is_refused() -> None:
    search = oneshot.search(Net(), "random", seed=0)
    wrong = {"first": 8, "second": 4, "kernel": 1, "depth": 0}
    with (
        pytest.raises(ArchitectureError, match=r"breaks the constraint \(second >= first\)"),
        search.at(wrong),
    ):
        pass


def test_a_model_that_another_search_was_made_of_is_refused() -> None:
    model = Net()
    oneshot.search(model, "random")
    with pytest.raises(StrategyError, match="belongs to another search"):
        oneshot.search(model, "random")


def test_modules_that_were_replaced_after_the_search_was_made_are_missed_before_training() -> None:
    class Converts(Callback):
        """Does when the fit starts what Lightning does a little earlier."""

        def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            stem: Any = pl_module.stem
            stem[1] = nn.SyncBatchNorm.convert_sync_batchnorm(stem[1])

    search = oneshot.search(Net(), "random")
    with pytest.raises(StrategyError, match="ElasticBatchNorm2d is no longer in Net") as caught:
        trainer(callbacks=[Converts()]).fit(search, loader(), loader())
    assert "sync_batchnorm" in str(caught.value)


def test_an_interval_is_drawn_and_frozen_and_refused_where_it_cannot_be_weighted() -> None:
    class Dropped(Net):
        def __init__(self) -> None:
            super().__init__(constrained=False)
            self.body = onn.Dropout(oneshot.uniform(0.0, 0.5, label="p"))

    search = oneshot.search(Dropped(), "random", seed=0)
    trainer().fit(search, loader(), loader())
    ranking = search.rank(4, loader(), metric="loss", mode="min", progress=False)
    p = ranking.best["p"]
    assert isinstance(p, float)
    assert oneshot.freeze(search, ranking.best).body.p == p
    with pytest.raises(StrategyError, match=r"a number from 0\.0 to 0\.5 for 'p'"):
        oneshot.search(Dropped(), "darts", arch_dataloader=loader())
