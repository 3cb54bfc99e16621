"""What a strategy may override: the gradient of its parameters, and what the weights train on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch
from pytorch_lightning import LightningModule
from torch import nn

import oneshot_core as oneshot
from oneshot_core.decision import Active, Decision
from oneshot_core.errors import StrategyError
from oneshot_core.space import LayerChoice, ParameterSpec
from oneshot_plugins.strategies.darts import Darts, SoftmaxDecision

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = LayerChoice([nn.Linear(6, 6), nn.Identity()], label="layer")
        self.head = nn.Linear(6, 3)
        self.calls = 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.calls += 1
        return nn.functional.cross_entropy(self.head(self.layer(batch[0])), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class OwnGradient(Darts):
    """Trains the architecture by a gradient of its own."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.asked: list[tuple[int, int, float]] = []

    def configure_architecture_optimizers(self) -> Any:
        return torch.optim.SGD(self.decisions.parameters(), lr=1.0)

    def architecture_gradient(
        self, batch: Any, batch_idx: int, parameters: Any, scale: float
    ) -> Any:
        self.asked.append((batch_idx, len(parameters), scale))
        if batch_idx == 1:
            return None
        return torch.tensor(2.0), [torch.full_like(p, 0.5) for p in parameters]


def test_a_strategy_may_give_the_architecture_gradient(
    make_loader: Callable[..., Any], make_trainer: Callable[..., Any]
) -> None:
    search = OwnGradient(Net(), arch_dataloader=make_loader(12), seed=0)
    before = next(search.decisions.parameters()).detach().clone()
    make_trainer(max_epochs=1).fit(search, make_loader(12))
    assert search.asked == [(0, 1, 1.0), (1, 1, 1.0), (2, 1, 1.0)]
    after = next(search.decisions.parameters())
    assert torch.allclose(after, before - 2 * 0.5)  # one of three batches was skipped


class OnTheTrainingBatch(Darts):
    """Trains the architecture on what the weights are trained on."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.pairs: list[tuple[Any, Any]] = []
        self.now: Any = None

    def search_step(self, batch: Any, batch_idx: int) -> None:
        self.now = batch
        self.architecture_step(batch)
        self.advance_optimization()

    def architecture_loss(self, batch: Any, batch_idx: int) -> Any:
        self.pairs.append((batch, self.now))
        return super().architecture_loss(batch, batch_idx)


def test_a_batch_may_be_given_to_the_architecture_step(
    make_loader: Callable[..., Any], make_trainer: Callable[..., Any]
) -> None:
    search = OnTheTrainingBatch(Net(), arch_dataloader=make_loader(12), seed=0)
    before = next(search.decisions.parameters()).detach().clone()
    make_trainer(max_epochs=1).fit(search, make_loader(12))
    assert len(search.pairs) == 3
    assert all(one is two for one, two in search.pairs)
    assert not torch.equal(before, next(search.decisions.parameters()))
    assert search.architecture_batches is not None
    assert search.architecture_batches.drawn == 0


class Twice(Darts):
    """Trains the weights on the sum of two runs."""

    def run_training_step(self, step: Callable[[], Any]) -> Any:
        return step() + step()


@pytest.mark.parametrize("manually", [False, True], ids=["engine", "by-hand"])
def test_a_strategy_may_run_the_training_step_several_times(
    manually: bool, make_loader: Callable[..., Any], make_trainer: Callable[..., Any]
) -> None:
    heads, calls = [], []
    for cls, lr in ((Twice, 0.1), (Darts, 0.2)):
        torch.manual_seed(0)
        model = Net()
        model.configure_optimizers = lambda m=model, lr=lr: torch.optim.SGD(m.parameters(), lr=lr)  # type: ignore[misc]
        search = cls(model, arch_dataloader=make_loader(12), warmup_epochs=9, seed=0)
        if manually:
            search.drive_manually()
        make_trainer(max_epochs=1).fit(search, make_loader(12))
        heads.append(model.head.weight)
        calls.append(model.calls)
    assert calls == [6, 3]
    assert torch.allclose(*heads)


def test_a_user_who_optimizes_manually_cannot_be_run_several_times(
    make_loader: Callable[..., Any], make_trainer: Callable[..., Any]
) -> None:
    model = Net()
    model.automatic_optimization = False
    search = Twice(model, arch_dataloader=make_loader(12), seed=0)
    with pytest.raises(StrategyError, match="optimizes manually"):
        make_trainer(max_epochs=1).fit(search, make_loader(12))
    assert model.calls == 0


class Half(SoftmaxDecision):
    """Superposes, but not always."""

    @property
    def leaves_out(self) -> bool:
        return True


def test_what_superposes_leaves_nothing_out_unless_it_says_so() -> None:
    class Single(Decision):
        def mixture(self) -> list[Active]:
            return [Active(self.spec.candidates[0])]

        def probabilities(self) -> torch.Tensor:
            return torch.ones(1)

    spec = ParameterSpec("x", ("a", "b"))
    assert not SoftmaxDecision(spec).leaves_out
    assert Single(spec).leaves_out
    assert Half(spec).leaves_out
    assert Half(spec).superposes


class HandsOn(Darts):
    def __init__(
        self, model: Any, mutation_hooks: Any = None, *, more: int = 0, **options: Unpack[Any]
    ) -> None:
        super().__init__(model, mutation_hooks, **options)


class TakesAll(Darts):
    def __init__(self, model: Any, mutation_hooks: Any = None, **options: Any) -> None:
        options.pop("secret", None)
        super().__init__(model, mutation_hooks, **options)


def test_options_that_are_handed_on_by_type_are_checked_by_name(
    make_loader: Callable[..., Any],
) -> None:
    with pytest.raises(StrategyError, match="takes no secret") as info:
        oneshot.search(Net(), HandsOn, arch_dataloader=make_loader(12), secret=1)
    assert "more" in str(info.value)
    assert "warmup_epochs" in str(info.value)
    oneshot.search(Net(), HandsOn, arch_dataloader=make_loader(12), more=1, warmup_epochs=2)
    oneshot.search(Net(), TakesAll, arch_dataloader=make_loader(12), secret=1)
