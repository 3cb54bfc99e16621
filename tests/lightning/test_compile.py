"""Compiled supernets compute what plain ones do, whichever part the user compiles.

With the backend ``"eager"``: Dynamo captures and guards, and generates no code, so what it gives is
equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.compile import from_compiled, to_uncompiled
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot

pytestmark = [
    pytest.mark.slow,
    # Dynamo looks for gradients of whatever it is given, and torch warns it.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]


class Net(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        norm = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.net = nn.Sequential(
            oneshot.LayerChoice({"norm": norm, "skip": nn.Identity()}, label="first"),
            oneshot.nn.Linear(8, oneshot.choice([4, 8], label="width")),
            oneshot.nn.Linear(oneshot.choice([4, 8], label="width"), 2),
        )
        self.losses: list[Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.losses.append(loss.detach())
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader() -> DataLoader[Any]:
    x = torch.randn(16, 8, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=4)


def compiled(part: nn.Module) -> Any:
    return torch.compile(part, backend="eager")


def before(net: Net) -> Net:
    net.net = compiled(net.net)
    return net


def after(search: Any) -> Any:
    search.model.net.compile(backend="eager")
    return search


def candidates(search: Any) -> Any:
    for choice in search.nas_modules:
        for part in choice.children():
            part.compile(backend="eager")
    return search


def same(part: Any) -> Any:
    return part


def fit(strategy: str, prepare: Callable[[Any], Any], finish: Callable[[Any], Any]) -> Any:
    torch._dynamo.reset()
    torch.manual_seed(0)
    options = {} if strategy == "random" else {"arch_dataloader": loader()}
    search = oneshot.search(prepare(Net()), strategy, seed=0, **options)
    pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(finish(search), loader())
    return search


@pytest.mark.parametrize("strategy", ["random", "darts"])
@pytest.mark.parametrize(
    ("prepare", "finish"),
    [
        pytest.param(before, same, id="model-before"),
        pytest.param(same, after, id="model-after"),
        pytest.param(same, candidates, id="candidates"),
        pytest.param(same, compiled, id="search"),
    ],
)
def test_a_compiled_search_trains_to_the_last_bit_as_a_plain_one(
    strategy: str, prepare: Any, finish: Any
) -> None:
    plain, other = fit(strategy, same, same), fit(strategy, prepare, finish)
    assert torch.equal(torch.stack(other.model.losses), torch.stack(plain.model.losses))
    for one, two in zip(other.decisions.parameters(), plain.decisions.parameters(), strict=True):
        assert torch.equal(one, two)
    if strategy != "random":
        assert other.export() == plain.export()
    else:
        assert len({round(float(loss), 6) for loss in other.model.losses}) > 2


def test_lightning_sees_which_steps_of_a_compiled_search_are_the_users() -> None:
    search = oneshot.search(Net(), seed=0)
    found = from_compiled(torch.compile(search, backend="eager"))
    steps = ["training_step", "validation_step", "test_step", "predict_step"]
    assert found is search
    assert [is_overridden(step, found) for step in steps] == [True, False, False, False]
    assert to_uncompiled(found) is search
    assert [is_overridden(step, search) for step in steps] == [True, False, False, False]
