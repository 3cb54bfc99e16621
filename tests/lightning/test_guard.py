"""A ranking whose supernet computes another function than the frozen network does not go on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core import nn as onn
from oneshot_core.errors import RankingError
from oneshot_plugins.elastic.optional import make_optional


class Net(pl.LightningModule):
    """Regresses on sequences, through ``body``."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(16, 1)
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.mse_loss(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.steps += 1
        self.log("val_loss", F.mse_loss(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.fixture
def loader() -> DataLoader[Any]:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 5, 16, generator=g), torch.randn(12, 1, generator=g)
    return DataLoader(TensorDataset(x, y), batch_size=4)


class Kept(nn.Module):
    """Has a fault: keeps the weight it saw first, and computes with that."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.bias = nn.Parameter(torch.ones(16))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.layer._parameters["weight"]
        assert weights is not None
        return F.linear(x, weights)[..., :16] + self.bias


def encoder_layer() -> nn.Module:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 64, dropout=0.0, batch_first=True)
    w = oneshot.choice([4, 64], label="ff")
    layer.linear1, layer.linear2 = onn.Linear(16, w), onn.Linear(w, 16)
    return layer


class Twice(nn.Module):
    """Has a fault: computes another thing where its choice is a choice."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = oneshot.LayerChoice([nn.Linear(16, 16), nn.Identity()], label="inner")

    def forward(self, x: Tensor) -> Tensor:
        plain = isinstance(self.inner, (nn.Linear, nn.Identity))
        return self.inner(x) if plain else self.inner(x) * 1.01


class Wide(nn.Module):
    """Has a fault: reads the tensor that is stored, past the layer."""

    def __init__(self) -> None:
        super().__init__()
        w = oneshot.choice([4, 64], label="ff")
        self.up, self.down = onn.Linear(16, w), onn.Linear(w, 16)

    def forward(self, x: Tensor) -> Tensor:
        up, down = self.up._parameters, self.down._parameters
        x = F.linear(x, up["weight"], up["bias"])  # type: ignore[arg-type]
        return F.linear(x.relu(), down["weight"], down["bias"])  # type: ignore[arg-type]


FAULTY: dict[str, tuple[Callable[[], nn.Module], list[dict[str, Any]], str]] = {
    "parent": (Wide, [{"ff": 4}], r"'body' \(Wide\).*never called: 'body.up', 'body.down'"),
    "second": (Wide, [{"ff": 64}, {"ff": 4}], r"'body' \(Wide\)"),
    "nested": (
        lambda: nn.Sequential(nn.Linear(16, 16), Twice(), nn.ReLU()),
        [{"inner": "0"}],
        r"'body.1' \(Twice\)",
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_supernet_that_computes_something_else_is_found_and_the_module_is_named(
    name: str, loader: Any
) -> None:
    make, architectures, where = FAULTY[name]
    search = oneshot.search(Net(make()), strategy="random")
    with pytest.raises(RankingError, match=rf"(?s)something else.*{where}.*expected:.*fix:"):
        search.rank(architectures, loader, metric="val_loss", mode="min", progress=False)
    if len(architectures) == 1:
        with pytest.raises(RankingError, match="something else than the frozen network"):
            search.evaluate(architectures[0], loader)
    with pytest.raises(RankingError, match="something else than the frozen network"):
        search.pareto({"val_loss": "min"}, loader, budget=2, progress=False)
    assert "log" not in vars(search.model)


def test_a_step_that_uses_no_module_is_compared_by_what_it_returns(loader: Any) -> None:
    class Functional(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.log("val_loss", 1.0)
            return F.linear(batch[0], self.body._parameters["weight"])  # type: ignore[arg-type]

    search = oneshot.search(
        Functional(onn.Linear(16, oneshot.choice([4, 16], label="w"))), strategy="random"
    )
    with pytest.raises(RankingError, match="what the whole returns or logs"):
        search.evaluate({"w": 4}, loader)


def test_the_fused_transformer_layer_scores_as_its_frozen_network(loader: Any) -> None:
    search = oneshot.search(Net(encoder_layer()), strategy="random")
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    scores = {}
    for width in (4, 64):
        scores[width] = search.evaluate({"ff": width}, loader)["val_loss"]
        frozen = oneshot.freeze(search, {"ff": width})
        trainer = pl.Trainer(accelerator="cpu", enable_model_summary=False, **quiet)  # type: ignore[arg-type]
        (wanted,) = trainer.validate(frozen, loader, verbose=False)
        assert scores[width] == wanted["val_loss"]
    assert scores[4] != scores[64]


def test_validation_during_a_fit_scores_the_network_that_was_drawn(loader: Any) -> None:
    search = oneshot.search(Net(encoder_layer()), strategy="random")
    x = next(iter(loader))[0]
    search.eval()
    outputs = []
    for width in (4, 64):
        search.decisions["ff"].pin(width)
        with torch.no_grad():
            outputs.append(search(x))
            assert torch.equal(outputs[-1], oneshot.freeze(search, {"ff": width})(x))
    assert not torch.equal(*outputs)


def test_a_model_that_draws_in_evaluation_is_not_accused(loader: Any) -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = oneshot.LayerChoice([nn.Linear(16, 16), nn.Identity()], label="l")
            self.generator = torch.Generator().manual_seed(0)

        def forward(self, x: Tensor) -> Tensor:
            noise = (
                torch.randn(x.shape)
                if self.own is None
                else torch.randn(x.shape, generator=self.own)
            )
            return self.layer(x + noise)

        own: Any = None

    class Alike(Noisy):
        own = torch.Generator().manual_seed(0)  # shared by all copies, so nothing repeats itself

    for body in (Noisy(), Alike()):
        body.generator = None  # type: ignore[assignment]
        search = oneshot.search(Net(body), strategy="random")
        assert len(search.rank("all", loader, metric="val_loss", progress=False)) == 2


def test_a_comparison_leaves_no_trace_and_is_made_for_two_architectures(loader: Any) -> None:
    counts = []

    class Counting(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            counts.append(type(self.body).__name__)
            super().validation_step(batch, batch_idx)

    body = oneshot.LayerChoice([nn.Linear(16, 16) for _ in range(6)], label="l")
    search = oneshot.search(Counting(body), strategy="random")
    state = torch.get_rng_state()
    before = {name: value.clone() for name, value in search.model.state_dict().items()}
    search.rank("all", loader, metric="val_loss", progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert search.model.steps == 0
    assert all(torch.equal(before[n], v) for n, v in search.model.state_dict().items())
    assert counts.count("Linear") == 2
    assert len(counts) == 6 * 3 + 2  # the supernet's step is run as often as without
    assert type(vars(search)["validation_step"]).__name__ == "EvaluationStepHook"


def test_inspection_reports_it_as_a_problem(loader: Any) -> None:
    batch = next(iter(loader))[0]
    for body, where in ((Wide(), "body"), (nn.Sequential(Twice()), "body.0")):
        found = [p for p in oneshot.inspect(Net(body), batch).problems if p.kind == "not-frozen"]
        assert [problem.at for problem in found] == [where]
        assert "something else than the frozen network" in found[0].message
    assert not oneshot.inspect(Net(encoder_layer()), batch).problems


class Forgetful(nn.Module):
    """A block with a fault: a copy of it computes something else."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.inner = nn.Linear(16, 16)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x) * self.scale

    def __deepcopy__(self, memo: dict[int, Any]) -> Forgetful:
        copied = Forgetful(1.0)
        copied.inner = copy.deepcopy(self.inner, memo)
        return copied


def test_blocks_behind_one_that_is_left_out_are_compared_with_those_that_moved_up(
    loader: Any,
) -> None:
    torch.manual_seed(0)
    body = nn.Sequential(*(nn.Sequential(nn.Linear(16, 16), nn.ReLU()) for _ in range(3)))
    make_optional(body, ["0", "1", "2"], names=["first", "second", "third"])
    search = oneshot.search(Net(body), "random", seed=0)
    assert len(search.rank("all", loader, metric="val_loss", mode="min")) == 8


def test_a_fault_of_a_block_that_moved_up_is_found(loader: Any) -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(16, 16), Forgetful(1.0), Forgetful(2.0))
    make_optional(body, ["0"], names=["first"])
    search = oneshot.search(Net(body), "random", seed=0)
    with pytest.raises(RankingError, match=r"'body\.2'"):
        search.rank([{"first": False}], loader, metric="val_loss", mode="min")
