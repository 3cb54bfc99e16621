"""What users get wrong, and what they are told, before anything is trained.

One row for each mistake: how it is made, the error, and what the message has to say. Tested
elsewhere, each where what refuses it is tested:

- one label for different candidates: tests/lightning/test_module.py, tests/test_model_space.py
- choices that are made in ``setup`` or ``configure_model`` (they are searched):
  tests/lightning/test_module.py
- candidates with different shapes, before a search: tests/test_inspection.py
- wrong ``n_chosen``: tests/space/test_input_choice.py, tests/space/test_spec.py
- truncated or foreign JSON: tests/test_architecture.py, tests/test_fuzz.py
- a checkpoint of another space or strategy: tests/lightning/test_module.py
- checkpoints that are cut off: tests/lightning/test_checkpoint_io.py
- hooks that raise in the middle of a walk, in all orders: tests/test_traversal.py
- a metric that was not logged, or is always NaN: tests/plugins/ranking/test_evaluation.py
- full disks and folders without permission: tests/test_files.py
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core import Architecture, LayerChoice
from oneshot_core.errors import (
    ArchitectureError,
    FreezeError,
    InspectionError,
    OneShotError,
    StrategyError,
)


class Net(LightningModule):
    """One choice of ``candidates`` in front of a linear head; counts its training steps."""

    def __init__(self, candidates: Any = None, *, factor: float = 1.0) -> None:
        super().__init__()
        candidates = {"a": nn.Linear(4, 4), "b": nn.Tanh()} if candidates is None else candidates
        self.body = LayerChoice(candidates, label="body") if candidates else nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)
        self.factor = factor
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.steps += 1
        return self.factor * nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Hidden(Net):
    """Its choices are in a plain list, where torch does not see them."""

    def __init__(self) -> None:
        super().__init__(())
        self.layers = [LayerChoice([nn.Linear(4, 4), nn.Tanh()])]


class Locked(nn.Linear):
    """Holds what cannot be copied."""

    def __init__(self) -> None:
        super().__init__(4, 4)
        self.lock = threading.Lock()


def data(n: int = 16) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.ones(n, 4), torch.zeros(n).long()), 4)


def trainer() -> Trainer:
    return Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def fit(search: Any) -> None:
    trainer().fit(search, data())


def fit_random(model: LightningModule) -> None:
    fit(oneshot.search(model, seed=0))


def fit_darts(model: LightningModule, loader: Any = None, **options: Any) -> None:
    loader = data() if loader is None else loader
    fit(oneshot.search(model, "darts", arch_dataloader=loader, seed=0, **options))


def fit_with_parameters_that_are_nan(model: LightningModule) -> None:
    search = oneshot.search(model, "darts", arch_dataloader=data(), seed=0)
    with torch.no_grad():
        search.decisions["body"].alpha[0] = torch.nan
    fit(search)


def inspect(model: LightningModule) -> None:
    oneshot.inspect(model, torch.ones(2, 4)).raise_for_problems()


Make = Callable[[], LightningModule]
Use = Callable[[Any], object]

BEFORE_TRAINING: dict[str, tuple[Make, Use, type[OneShotError], str]] = {
    "no choices": (lambda: Net(()), fit_random, StrategyError, "no choice in Net"),
    "no choices, by gradient": (lambda: Net(()), fit_darts, StrategyError, "no choice in Net"),
    "choices in a plain list": (
        Hidden, fit_random, StrategyError, r"no choice in Hidden.(.|\n)*an nn\.ModuleList",
    ),
    "candidates with different shapes": (
        lambda: Net({"a": nn.Linear(4, 4), "wide": nn.Linear(4, 5)}),
        inspect, InspectionError, "wide",
    ),
    "an empty architecture loader": (
        Net, lambda m: fit_darts(m, data(0)), StrategyError, "yields no batch",
    ),
    "an empty architecture loader that is needed late": (
        Net, lambda m: fit_darts(m, [], warmup_epochs=1), StrategyError, "yields no batch",
    ),
    "an architecture loader that can be read once": (
        Net, lambda m: fit_darts(m, iter(data())), StrategyError, "can be read once",
    ),
    "architecture parameters that are NaN": (
        Net, fit_with_parameters_that_are_nan, StrategyError, "parameters of 'body' are not finite",
    ),
    "candidates without a shape": (
        lambda: Net({"a": nn.LazyLinear(4), "b": nn.Linear(4, 4)}),
        fit_random, StrategyError, "the LazyLinear at 'body.candidates.a' has no shape",
    ),
    "candidates without a shape, inspected": (
        lambda: Net({"a": nn.LazyLinear(4), "b": nn.Linear(4, 4)}),
        inspect, InspectionError, "the LazyLinear at 'body.candidates.a' has no shape",
    ),
    "candidates that cannot be copied, inspected": (
        lambda: Net([Locked(), nn.Tanh()]), inspect, InspectionError,
        "the Locked at 'body.candidates.0' cannot be copied: cannot pickle '_thread.lock'",
    ),
}  # fmt: skip
"""Mistake -> how the model is made, what is done with it, and the error."""


@pytest.mark.parametrize("mistake", BEFORE_TRAINING)
def test_a_mistake_is_told_before_training(mistake: str) -> None:
    make, use, error, message = BEFORE_TRAINING[mistake]
    model = make()
    with pytest.raises(error, match=message) as raised:
        use(model)
    assert model.steps == 0
    if mistake != "candidates with different shapes":  # a report of several lines
        require_three_parts(raised.value)


def require_three_parts(error: BaseException) -> None:
    lines = str(error).splitlines()
    assert len(lines) >= 3
    assert any(line.startswith("  expected: ") for line in lines)
    assert any(line.startswith("  fix: ") for line in lines)


def test_a_model_without_choices_is_trained_where_that_is_meant() -> None:
    search = oneshot.search(Net(()), seed=0)
    search.needs_choices = False
    fit(search)
    assert search.model.steps == 4


def test_layers_that_have_seen_a_batch_are_like_others() -> None:
    model = Net({"a": nn.LazyLinear(4), "b": nn.Linear(4, 4)})
    model(torch.ones(2, 4))
    fit_random(model)
    assert model.steps == 4


# --- in the middle of training ------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["darts", "gdas", "proxyless", "gumbel"])
@pytest.mark.parametrize("factor", [torch.nan, torch.inf])
def test_a_loss_that_is_no_number_ends_the_search_with_parameters_that_are(
    strategy: str, factor: float
) -> None:
    search = oneshot.search(Net(factor=factor), strategy, arch_dataloader=data(), seed=0)
    with pytest.raises(StrategyError, match=r"batch 0 has the loss (nan|inf)") as raised:
        fit(search)
    require_three_parts(raised.value)
    assert all(bool(p.isfinite().all()) for p in search.decisions.parameters())


class RootOfZero(Net):
    """Its loss is a number, and the slope by the probabilities is not."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        nothing = 0 * self.body.decisions[0].probabilities()
        return super().training_step(batch, batch_idx) + nothing.sqrt().sum()


def test_a_gradient_that_is_no_number_ends_the_search_too() -> None:
    search = oneshot.search(RootOfZero(), "darts", arch_dataloader=data(), seed=0)
    with pytest.raises(StrategyError, match="has a gradient that is not finite"):
        fit(search)
    assert bool(search.decisions["body"].alpha.isfinite().all())


def test_candidates_that_cannot_be_added_are_named_at_the_first_batch() -> None:
    model = Net({"a": nn.Linear(4, 4), "wide": nn.Linear(4, 5)})
    with pytest.raises(OneShotError, match="'body'"):
        fit_darts(model)
    assert model.steps <= 1


@pytest.mark.skipif(sys.version_info < (3, 11), reason="errors have no notes")
@pytest.mark.parametrize("stage", ["fit", "validate"])
def test_an_error_says_which_path_was_computed(stage: str) -> None:
    model = Net({"a": nn.Linear(4, 4), "wide": nn.Linear(4, 5)})
    model.validation_step = model.training_step  # type: ignore[method-assign]
    search = oneshot.search(model, seed=0)
    loaders = {"fit": [data(), data(4)], "validate": [data()]}[stage]
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as raised:
        getattr(trainer(), stage)(search, *loaders)
    assert raised.value.__notes__ == [
        "raised by the path body=wide; oneshot.inspect(model, batch) finds candidates that do not "
        "fit, before training"
    ]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="errors have no notes")
def test_an_error_of_a_model_that_has_one_network_has_no_note() -> None:
    search = oneshot.search(Net({"wide": nn.Linear(4, 5)}), seed=0)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as raised:
        fit(search)
    assert not hasattr(raised.value, "__notes__")


def test_an_error_of_a_hook_leaves_a_model_that_can_be_searched() -> None:
    def fails_late(module: nn.Module, name: str, memo: Any, options: Any) -> None:
        if name == "head":
            raise ZeroDivisionError(name)

    model = Net()
    with pytest.raises(ZeroDivisionError):
        oneshot.search(model, mutation_hooks=[fails_late])
    assert isinstance(model.body, LayerChoice)
    fit_random(model)
    assert model.steps == 4


# --- afterwards ---------------------------------------------------------------------------------


def test_a_candidate_that_cannot_be_copied_is_named_when_it_is_frozen() -> None:
    model = Net([nn.Tanh(), Locked()])
    fit_random(model)
    with pytest.raises(FreezeError, match="the Locked at 'body' cannot be copied") as raised:
        oneshot.freeze(model, {"body": "1"})
    require_three_parts(raised.value)
    assert isinstance(oneshot.freeze(model, {"body": "0"}).body, nn.Tanh)


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"body": "a", "boby": "a"}, ["'boby'"]),
        ({"body": "c"}, ["'body'", "'c'"]),
        ({"body": 0}, ["'body'", "0"]),
        ({}, ["'body'"]),
    ],
)
def test_a_file_with_an_unknown_label_or_value_says_which(
    choices: dict[str, Any], says: Sequence[str], tmp_path: Path
) -> None:
    path = Architecture(choices).save(tmp_path / "architecture.json")
    with pytest.raises(ArchitectureError) as raised:
        oneshot.freeze(Net(), Architecture.load(path))
    assert all(word in str(raised.value) for word in says)
    require_three_parts(raised.value)
