"""Recomputation changes how much memory a search needs, and no number."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core.errors import StrategyError


def candidate(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(8, width), nn.BatchNorm1d(width), nn.Dropout(0.3), nn.Tanh(), nn.Linear(width, 8)
    )


class Net(pl.LightningModule):
    """Choices in a row, one of which holds another."""

    def __init__(self) -> None:
        super().__init__()
        inner = oneshot.LayerChoice([candidate(8), nn.Identity()], label="inner")
        self.net = nn.Sequential(
            oneshot.LayerChoice([candidate(16), candidate(32), nn.Identity()], label="first"),
            oneshot.LayerChoice([nn.Sequential(nn.Tanh(), inner), candidate(64)], label="second"),
            nn.Linear(8, 2),
        )
        self.losses: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def loader() -> DataLoader[Any]:
    x = torch.randn(24, 8, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=8)


def build(strategy: str = "darts", **options: Any) -> Any:
    torch.manual_seed(0)
    return oneshot.search(Net(), strategy, arch_dataloader=loader(), seed=0, **options)


def fit(search: Any) -> Any:
    torch.manual_seed(7)
    pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(search, loader())
    return search


@pytest.mark.parametrize("strategy", ["darts", "gumbel", "drnas"])
def test_weights_statistics_losses_and_the_architecture_are_the_same_to_the_last_bit(
    strategy: str,
) -> None:
    plain, again = fit(build(strategy)), fit(build(strategy, recompute=True))
    assert again.model.losses == plain.model.losses
    found, wanted = again.state_dict(), plain.state_dict()
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    for one, other in zip(again.decisions.parameters(), plain.decisions.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_is_kept_for_the_backward_pass_does_not_grow_with_the_candidates() -> None:
    def kept(recompute: bool) -> int:
        search = build(recompute=recompute)
        total = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel() * (not isinstance(tensor, nn.Parameter))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            out = search.model.net(torch.randn(64, 8))
        seen = total
        out.sum().backward()
        return seen

    assert kept(True) < 0.2 * kept(False)


def test_a_copy_recomputes_with_its_own_weights() -> None:
    search = build(recompute=True)
    twin = copy.deepcopy(search)
    with torch.no_grad():
        for weight in twin.model.parameters():
            weight.zero_()
    x = torch.randn(4, 8)
    assert search.model.net(x).any()
    assert not twin.model.net(x).any()
    twin.model.net(x).sum().backward()
    assert all(p.grad is None for p in search.model.parameters())


def test_evaluation_and_pinned_architectures_run_once() -> None:
    search = build(recompute=True)
    runs: list[int] = []
    search.model.net[0].candidates["0"].register_forward_hook(lambda *_: runs.append(1))
    x = torch.randn(4, 8)
    with torch.no_grad():
        search.model.net(x)
    with search.at({"first": "0", "second": "1"}):
        search.model.net(x).sum().backward()
    assert len(runs) == 2
    search.model.net(x).sum().backward()
    assert len(runs) == 4


@pytest.mark.parametrize(
    ("strategy", "options", "message"),
    [
        ("darts", {"order": 2}, "recompute=True with order=2"),
        ("gdas", {}, "Gdas does not run several candidates at once"),
    ],
)
def test_what_cannot_be_recomputed_is_refused(
    strategy: str, options: dict[str, Any], message: str
) -> None:
    net = Net()
    with pytest.raises(StrategyError, match=message):
        oneshot.search(net, strategy, arch_dataloader=loader(), recompute=True, **options)
    assert isinstance(net.net[0], oneshot.LayerChoice)  # nothing was replaced
