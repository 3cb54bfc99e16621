"""The guide from NNI: its second script trains what it says, and "the same" is the same."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_plugins.strategies.uniform import UniformDecision, UniformSampling

PAGE = (Path(__file__).parent.parent / "docs/from-nni.md").read_text()
TABLES = PAGE[PAGE.index("## Names, old and new") : PAGE.index("## What behaves")]
SAME = [
    tuple(part.strip() for part in row.strip("| ").split(" | "))
    for row in re.findall(r"^\| .+ \|$", TABLES, re.M)
    if "the same" in row
]
BEFORE, AFTER = re.findall(r"^```python(?: title=[^\n]*)?\n(.*?)^```$", PAGE, re.M | re.S)[2:4]


class Model(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = {"linear": nn.Linear(4, 4), "skip": nn.Identity()}
        self.net = nn.Sequential(oneshot.LayerChoice(layers, label="layer"), nn.Linear(4, 2))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def batches(seed: int = 1) -> DataLoader[tuple[Tensor, ...]]:
    x = torch.randn(12, 4, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), 4)


def fit(search: Any, data: Any, **options: Any) -> pl.Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "accelerator": "cpu"}
    quiet |= {"enable_progress_bar": False, "enable_model_summary": False, "max_epochs": 2}
    trainer = pl.Trainer(**quiet, **options)
    trainer.fit(search, data)
    return trainer


class Sampling(oneshot.BaseOneShotLightningModule):
    def make_decision(self, spec: oneshot.ParameterSpec) -> oneshot.Decision:
        return UniformDecision(spec)


# --- the script -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def after() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "after"}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(AFTER.partition("halves = [")[0], "from-nni.md", "exec"), names)
    return names


def test_the_training_step_of_the_script_is_the_same_before_and_after() -> None:
    steps = [
        re.findall(r"    def training_step\(self, batch, batch_idx\):\n.*?\n\n\S", text + "\n\nend",
                   re.S)[0].rpartition("\n\n")[0]
        for text in (BEFORE, AFTER[AFTER.index("class FirstOrder") :])
    ]  # fmt: skip
    assert steps[0].strip() == steps[1].strip()
    assert "advance_optimization(loss, batch_idx, gradient_clip_val=5.0)" in steps[0]
    compile(BEFORE, "before", "exec")


def test_the_strategy_of_the_script_trains_what_a_loop_written_by_hand_trains(
    after: dict[str, Any],
) -> None:
    torch.manual_seed(4)
    search = after["FirstOrder"](Model(), seed=0)
    torch.manual_seed(4)
    hand = after["FirstOrder"](Model(), seed=0)
    fit(search, CombinedLoader({"train": batches(), "val": batches(2)}, "max_size_cycle"))

    weights = torch.optim.SGD(hand.model.parameters(), lr=0.5)
    alphas = hand.configure_architecture_optimizers()
    for step, (train, val) in enumerate([*zip(batches(), batches(2), strict=True)] * 2):
        weights.param_groups[0]["lr"] = 0.5 * 0.5**step
        for optimizer, batch in ((alphas, val), (weights, train)):
            alphas.zero_grad()
            weights.zero_grad()
            hand.model.training_step(batch, 0).backward()
            nn.utils.clip_grad_norm_(hand.model.parameters(), 5.0)
            optimizer.step()
    for name, value in hand.state_dict().items():
        assert torch.allclose(search.state_dict()[name], value), name
    assert torch.allclose(search.decisions["layer"].alpha, hand.decisions["layer"].alpha)
    assert torch.equal(
        oneshot.freeze(search, {"layer": "linear"}).net[0].weight,
        search.model.net[0].layers["linear"].weight,
    )


# --- "the same" -----------------------------------------------------------------------------------


def value_choice() -> None:
    one, other = oneshot.ValueChoice([1, 2], label="x"), oneshot.choice([1, 2], label="x")
    assert type(one) is type(other)
    assert one.specs == other.specs


def the_same_names() -> None:
    for name in re.findall(r"`(\w+)`", row_of("`traverse_and_mutate_submodules`")[0]):
        assert name in oneshot.__all__, name


def hooks() -> None:
    asked: list[tuple[Any, ...]] = []

    def hook(module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> Any:
        asked.append((type(module), name, dict(memo), dict(mutate_kwargs)))
        memo["seen"] = name
        if name == "0.0":
            return nn.Tanh(), False
        return None

    def later(module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> Any:
        if name == "0.0":
            assert type(module) is nn.Tanh, "later hooks see what earlier ones put there"

    with pytest.warns(RuntimeWarning, match="no supernet modules"):
        oneshot.traverse_and_mutate_submodules(
            nn.Sequential(nn.Sequential(nn.ReLU())), [hook, later], {"mine": 1}
        )
    assert asked == [
        (nn.Sequential, "0", {}, {"mine": 1}),
        (nn.ReLU, "0.0", {"seen": "0"}, {"mine": 1}),
    ]


class Modules(Sampling):
    def mutate_kwargs(self) -> dict[str, object]:
        return {"mine": 1}


def the_base_class() -> None:
    seen: list[Any] = []

    def look(module: Any, name: str, memo: Any, mutate_kwargs: Any) -> None:
        seen.append(mutate_kwargs["mine"])

    search = Modules(Model(), [look])
    assert search.mutation_hooks == [look]
    assert seen
    assert search.nas_modules == [search.model.net[0]]
    assert isinstance(search.nas_modules[0], oneshot.BaseSuperNetModule)


def default_hooks() -> None:
    order: list[str] = []

    def noted(word: str) -> Any:
        return lambda *_: order.append(word) if order[-1:] != [word] else None

    class Asks(Sampling):
        def first_mutation_hooks(self) -> Any:
            return [noted("first")]

        def default_mutation_hooks(self) -> Any:
            return [noted("default"), oneshot.no_default_hook]

    search = Asks(Model(), [noted("user")])
    assert order[:2] == ["user", "first"]
    assert order.index("default") > order.index("first")
    assert len(search.nas_modules) == 1, "the installed ones took the choice before the default"
    assert oneshot.BaseOneShotLightningModule.default_mutation_hooks(search) == [
        oneshot.no_default_hook
    ]


class Learning(oneshot.BaseOneShotLightningModule):
    """A loop in the reference's own way, over all its methods."""

    def make_decision(self, spec: oneshot.ParameterSpec) -> oneshot.Decision:
        from oneshot_plugins.strategies.darts import SoftmaxDecision

        return SoftmaxDecision(spec)

    def configure_architecture_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.decisions.parameters(), 0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer: Any = self.architecture_optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.model.training_step(batch, batch_idx))
        optimizer.step()
        loss = self.model.training_step(batch, batch_idx)
        self.advance_optimization(loss, batch_idx, 0.1, "value")
        self.advance_lr_schedulers(batch_idx)


def optimizers_of_the_architecture() -> None:
    search = Learning(Model())
    before = search.export_probs()
    trainer = fit(search, batches())
    optimizer = search.architecture_optimizers()
    assert isinstance(optimizer, torch.optim.Adam)
    assert [getattr(o, "is_arch_optimizer", False) for o in trainer.optimizers] == [False, True]
    assert search.export_probs() != before
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.001), "with schedulers"


def own_training_step() -> None:
    signature = inspect.signature(oneshot.BaseOneShotLightningModule.advance_optimization)
    assert ", ".join(list(signature.parameters)[1:]) in TABLES

    class Reference(Sampling):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.resample()
            loss = self.model.training_step(batch, batch_idx)
            self.advance_optimization(loss, batch_idx, 0.1, "value")
            self.advance_lr_schedulers(batch_idx)

    theirs, ours = Reference(Model(), seed=2), UniformSampling(Model(), seed=2)
    fit(theirs, batches())
    fit(ours, batches(), gradient_clip_val=0.1, gradient_clip_algorithm="value")
    for name, value in ours.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], value), name


def schedulers() -> None:
    rates = []
    for calls in (True, False):

        class Reference(Sampling):
            asks = calls

            def training_step(self, batch: Any, batch_idx: int) -> None:
                self.advance_optimization(self.model.training_step(batch, batch_idx), batch_idx)
                if self.asks:
                    self.advance_lr_schedulers(batch_idx)

        trainer = fit(Reference(Model()), batches())
        rates.append(trainer.optimizers[0].param_groups[0]["lr"])
    assert rates == [0.5**7, 0.5**7]


def memos() -> None:
    search = Sampling(Model(), seed=0)
    (module,) = search.nas_modules
    for one in (search, module):
        assert one.resample({"layer": "skip"}).get("layer", "skip") == "skip"
        assert module.decisions[0].active()[0].candidate == "skip"
        assert one.resample({})["layer"] in ("linear", "skip")
        assert dict(one.export({}))["layer"] == "linear"
        assert dict(one.export({"layer": "skip"})).get("layer", "skip") == "skip"
        assert one.export_probs({}) == {"layer": {"linear": 0.5, "skip": 0.5}}
    assert module.export({"layer": "skip"}) == {}, "what is known is not exported again"
    assert module.export_probs({"layer": {}}) == {}
    # Without a memo as well, on the search.
    assert search.resample().keys() == search.export().keys() == search.export_probs().keys()


def modules_in_a_constructor() -> None:
    class Looks(Sampling):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.found = list(self.nas_modules)

    search: Any = Looks(Model())
    assert search.found == search.nas_modules != []


CHECKS: dict[str, Callable[[], None]] = {
    "`ValueChoice(values": value_choice,
    "`traverse_and_mutate_submodules`": the_same_names,
    "hook `(module": hooks,
    "`BaseOneShotLightningModule`": the_base_class,
    "`default_mutation_hooks()`": default_hooks,
    "`configure_architecture_optimizers()`": optimizers_of_the_architecture,
    "`training_step` of the strategy": own_training_step,
    "`advance_lr_schedulers(batch_idx)`": schedulers,
    "`resample(memo)`": memos,
    "`nas_modules` in a constructor": modules_in_a_constructor,
}


def row_of(start: str) -> tuple[str, ...]:
    (row,) = [row for row in SAME if row[0].startswith(start)]
    return row


def test_every_row_that_says_the_same_is_checked() -> None:
    starts = [next((c for c in CHECKS if row[0].startswith(c)), row[0]) for row in SAME]
    assert sorted(starts) == sorted(CHECKS)


@pytest.mark.parametrize("row", CHECKS)
def test_what_the_guide_calls_the_same_is_the_same(row: str) -> None:
    CHECKS[row]()
