"""Several paths in one step: the sum of their losses, through Lightning's own step."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core.errors import StrategyError
from oneshot_plugins.strategies.fair import FairSampling
from oneshot_plugins.strategies.sandwich import Sandwich, soft_cross_entropy


def by_hand(model: Any, path: Any, x: Tensor) -> Tensor:
    for name in ("first", "second"):
        x = getattr(model, name).candidates[path[name]](x)
    out: Tensor = model.head(x)
    return out


def paths_of(search: Any, batches: int) -> list[list[dict[str, Any]]]:
    found = []
    for index in range(batches):
        search.reseed("train", 0, index)
        found.append(search.draw_paths())
    return found


def momentum(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01)


def twin_of(search: Any, net: Any) -> Any:
    twin = net()
    twin.load_state_dict(search.model.state_dict())
    return twin


@pytest.mark.verifies("the explicit sum of the losses, with clipping and accumulation", "fair")
@pytest.mark.parametrize(
    "options", [{}, {"gradient_clip_val": 0.05}, {"accumulate_grad_batches": 3}]
)
def test_a_fit_equals_the_explicit_sum_of_the_losses(
    options: dict[str, Any], net: Any, loader: Any, fit: Any
) -> None:
    """FairNAS, algorithm 1: accumulate the gradients of all paths, then one step."""
    search = FairSampling(net(optimizer=momentum), seed=5)
    twin = twin_of(search, net)
    optimizer = momentum(twin.parameters())
    every = options.get("accumulate_grad_batches", 1)
    steps = 0
    for index, (batch, paths) in enumerate(zip(loader(1), paths_of(search, 3), strict=True)):
        losses = [nn.functional.cross_entropy(by_hand(twin, p, batch[0]), batch[1]) for p in paths]
        (sum(losses) / every).backward()
        if (index + 1) % every:
            continue
        if "gradient_clip_val" in options:
            norm = nn.utils.clip_grad_norm_(twin.parameters(), options["gradient_clip_val"])
            assert norm > options["gradient_clip_val"]
        optimizer.step()
        optimizer.zero_grad()
        steps += 1

    trainer = fit(search, **options)

    assert trainer.global_step == steps
    for name, value in twin.state_dict().items():
        assert torch.allclose(search.model.state_dict()[name], value, rtol=1e-10, atol=1e-13), name


@pytest.mark.verifies("calls of candidates: each once in a step", "fair")
def test_every_candidate_runs_exactly_once_in_a_step(net: Any, fit: Any) -> None:
    """Definition 2, strict fairness."""
    search = FairSampling(net(), seed=0)
    ran = Counter[str]()
    for name in ("first", "second"):
        for key, module in getattr(search.model, name).candidates.items():
            module.register_forward_hook(lambda *_, at=f"{name}.{key}": ran.update([at]))
    fit(search, max_epochs=2, limit_val_batches=0)
    assert len(ran) == 6
    assert set(ran.values()) == {6}  # one for each of 2 x 3 batches


@pytest.mark.verifies("frequencies of orders", "fair")
def test_orders_are_drawn_independently_and_uniformly(net: Any) -> None:
    search = FairSampling(net(), seed=0)
    pairs = Counter(
        (path["first"], path["second"]) for paths in paths_of(search, 600) for path in paths
    )
    assert len(pairs) == 9
    expected = 600 * 3 / 9
    assert sum((n - expected) ** 2 / expected for n in pairs.values()) < 26.1  # 0.1 %, 8 d.o.f.


def test_labels_with_fewer_choices_differ_by_one_at_most_within_a_step() -> None:
    class Uneven(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.a = oneshot.LayerChoice([nn.Identity() for _ in range(5)], label="five")
            self.b = oneshot.LayerChoice([nn.Identity(), nn.Identity()], label="two")

    search = FairSampling(Uneven(), seed=0)
    total = Counter[Any]()
    for paths in paths_of(search, 400):
        counts = Counter(path["two"] for path in paths)
        assert len(paths) == 5
        assert sorted(counts.values()) == [2, 3]
        total.update(counts)
    assert total["0"] == pytest.approx(1000, abs=60)


class Dicts(pl.LightningModule):
    """Logs, returns a dict, and counts what it is given."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.optimizer = inner.optimizer
        self.outputs: list[Any] = []
        self.double()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.inner.training_step(batch, batch_idx)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return {"loss": loss, "size": len(batch[1])}

    def validation_step(self, batch: Any, batch_idx: int) -> None: ...

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.outputs.append(outputs)

    def configure_optimizers(self) -> Any:
        return self.optimizer(self.parameters())


def test_callbacks_get_the_sum_and_logs_are_means_over_paths(
    net: Any, loader: Any, fit: Any
) -> None:
    inner = net(optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
    search = FairSampling(Dicts(inner), seed=0)
    trainer = fit(search, limit_val_batches=0)
    losses = [
        [
            float(nn.functional.cross_entropy(by_hand(inner, path, batch[0]), batch[1]).detach())
            for path in paths
        ]
        for batch, paths in zip(loader(1), paths_of(search, 3), strict=True)
    ]
    sums = [float(output["loss"]) for output in search.model.outputs]
    assert sums == pytest.approx([sum(each) for each in losses])
    assert [output["size"] for output in search.model.outputs] == [8, 8, 8]
    mean = sum(map(sum, losses)) / 9
    assert float(trainer.callback_metrics["train_loss"]) == pytest.approx(mean, rel=1e-6)


def test_a_closure_that_is_evaluated_again_runs_the_same_paths(net: Any, fit: Any) -> None:
    class Closures(torch.optim.SGD):
        def step(self, closure: Any) -> Any:  # type: ignore[override]
            losses.append([float(closure()), float(closure())])
            return super().step(None)

    losses: list[list[float]] = []
    fit(FairSampling(net(optimizer=lambda p: Closures(p, lr=0.1)), seed=0))
    assert len(losses) == 3
    assert all(one == two for one, two in losses)


def test_a_scale_of_the_loss_does_not_change_the_gradient(net: Any, loader: Any, fit: Any) -> None:
    """As for float16: Lightning multiplies the loss, its scaler divides the gradient."""
    data = TensorDataset(*(t.float() if t.is_floating_point() else t for t in loader().dataset[:]))
    states = []
    for scale in (1.0, 2.0**10):
        torch.manual_seed(0)
        search = FairSampling(net().float(), seed=0)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        precision = MixedPrecision("16-mixed", "cpu", scaler)
        before = search.model.head.weight.detach().clone()
        trainer = fit(
            search, DataLoader(data, 8), plugins=[precision], precision=None, limit_val_batches=0
        )
        assert trainer.global_step == 3
        assert not torch.equal(before, search.model.head.weight)
        states.append(search.model.state_dict())
    for name, value in states[0].items():
        assert torch.allclose(value, states[1][name], rtol=1e-3, atol=1e-5), name


def test_a_model_without_choices_runs_once(net: Any, fit: Any) -> None:
    class Fixed(net):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Identity(), nn.Tanh()
            self.calls = 0

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.calls += 1
            return super().training_step(batch, batch_idx)

    for strategy in (FairSampling, Sandwich):
        search = strategy(Fixed(), seed=0)
        search.needs_choices = False
        fit(search)
        assert search.model.calls == 3


def test_more_paths_than_can_be_meant_are_refused_before_training(net: Any, fit: Any) -> None:
    class Wide(net):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inputs = oneshot.InputChoice(12, None, label="inputs")

    with pytest.raises(StrategyError, match="'inputs': 4095"):
        fit(FairSampling(Wide()))


def test_a_module_that_optimizes_manually_is_refused(net: Any, fit: Any) -> None:
    model = net()
    model.automatic_optimization = False
    with pytest.raises(StrategyError, match="optimizes manually"):
        fit(FairSampling(model))


def logits(model: Any, batch: Any) -> Any:
    return model(batch[0])


@pytest.mark.verifies("the explicit sum of the losses, with soft labels and without", "sandwich")
@pytest.mark.parametrize("distill", [None, logits])
def test_the_sandwich_loss_is_the_explicit_sum(
    distill: Any, net: Any, loader: Any, fit: Any
) -> None:
    """Slimmable, section 3.2 and 3.3: ground truth for the largest, its soft labels for others."""
    search = Sandwich(net(optimizer=momentum), n_random=2, distill=distill, seed=4)
    twin = twin_of(search, net)
    optimizer = momentum(twin.parameters())
    for batch, paths in zip(loader(1), paths_of(search, 3), strict=True):
        largest, *others = paths
        assert len(others) == 3
        teacher = by_hand(twin, largest, batch[0])
        loss = nn.functional.cross_entropy(teacher, batch[1])
        soft = teacher.detach().exp() / teacher.detach().exp().sum(1, keepdim=True)
        for path in others:
            out = by_hand(twin, path, batch[0])
            if distill is None:
                loss = loss + nn.functional.cross_entropy(out, batch[1])
            else:
                log_p = out - out.exp().sum(1, keepdim=True).log()
                loss = loss - (soft * log_p).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    fit(search)

    for name, value in twin.state_dict().items():
        assert torch.allclose(search.model.state_dict()[name], value, rtol=1e-10, atol=1e-13), name


@pytest.mark.verifies("soft labels under dropout", "sandwich")
def test_soft_labels_are_the_ones_of_the_same_forward_pass_with_dropout(
    net: Any, loader: Any, fit: Any
) -> None:
    """The teacher is run twice, with the same dropout, and seen once by BatchNorm."""
    seen: list[Tensor] = []

    def spying(model: Any, batch: Any) -> Any:
        out = model(batch[0])
        seen.append(out.detach())
        return out

    class Spied(net):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            out = self(batch[0])
            seen.append(out.detach())
            return nn.functional.cross_entropy(out, batch[1])

    order = {"first": ["skip", "b", "a"], "second": ["skip", "b", "a"]}
    search = Sandwich(Spied(norm=True), distill=spying, n_random=0, order=order, seed=0)
    fit(search, loader(1, n=8), limit_val_batches=0)
    teacher, largest, smallest = seen
    assert torch.equal(teacher, largest)
    assert not torch.equal(teacher, smallest)
    assert search.model.first.candidates["a"][1].num_batches_tracked == 1


@pytest.mark.filterwarnings("ignore:.*returned `None`.*")
def test_a_batch_that_the_user_skips_trains_no_student(net: Any, fit: Any) -> None:
    class Skips(net):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None

    search = Sandwich(Skips(), distill=logits, seed=0)
    before = {k: v.clone() for k, v in search.model.state_dict().items()}
    fit(search, limit_val_batches=0)
    assert all(torch.equal(v, before[k]) for k, v in search.model.state_dict().items())


@pytest.mark.parametrize("wrong", [lambda m, b: 3.0, lambda m, b: m(b[0]).sum()])
def test_what_is_no_logits_is_refused(wrong: Any, net: Any, fit: Any) -> None:
    with pytest.raises(StrategyError, match="distill returned"):
        fit(Sandwich(net(), distill=wrong, seed=0))


@pytest.mark.parametrize("options", [{"n_random": -1}, {"distill": "forward"}])
def test_senseless_options_are_refused(options: Any, net: Any) -> None:
    with pytest.raises(StrategyError, match="logits or None"):
        Sandwich(net(), **options)


def test_soft_cross_entropy_of_hard_labels_is_cross_entropy() -> None:
    x, y = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    hard = nn.functional.one_hot(y, 3).float()
    assert torch.allclose(soft_cross_entropy(x, hard), nn.functional.cross_entropy(x, y))
