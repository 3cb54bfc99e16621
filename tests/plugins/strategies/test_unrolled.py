"""The second-order gradient against automatic differentiation through the whole weight step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import oneshot_core as oneshot
from oneshot_core.errors import StrategyError
from oneshot_plugins.strategies.darts import Darts, SoftmaxDecision
from oneshot_plugins.strategies.unrolled import virtual_weights


class GradientDescent(Darts):
    """Steps the architecture by its plain gradient, so that the steps show it."""

    def configure_architecture_optimizers(self) -> Any:
        return torch.optim.SGD(self.decisions.parameters(), lr=1.0)


class Plain(nn.Module):
    """The supernet of the tests written out: its weights, and nothing of the framework."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.first, self.second = (nn.ModuleDict(c.candidates) for c in (model.first, model.second))
        self.head = model.head

    def forward(self, batch: Any, alphas: list[Tensor]) -> Tensor:
        x = batch[0]
        for choice, alpha in zip((self.first, self.second), alphas, strict=True):
            p = alpha.softmax(0)
            x = sum(p[i] * module(x) for i, module in enumerate(choice.values()))  # type: ignore[assignment]
        return nn.functional.cross_entropy(self.head(x), batch[1])


def alphas_of(search: oneshot.BaseOneShotLightningModule) -> list[Tensor]:
    return [d.alpha.detach() for d in search.decisions if isinstance(d, SoftmaxDecision)]


Weights = dict[str, Tensor]
Update = Callable[[Weights, Weights, Any], Weights]


def momentum_update(lr: float, mu: float, decay: float, damp: float, nesterov: bool) -> Update:
    """SGD as its documentation defines it, differentiable in the gradient."""

    def update(weights: Weights, gradients: Weights, state: Any) -> Weights:
        after = {}
        for name, w in weights.items():
            g = gradients[name] + decay * w
            buffer = state.get(name)
            buffer = g if buffer is None else mu * buffer + (1 - damp) * g
            after[name] = w - lr * (g + mu * buffer if nesterov else buffer)
            state["new"][name] = buffer.detach()
        return after

    return update


def run_by_hand(
    plain: Plain, alphas: list[Tensor], update: Update, train: Any, val: Any
) -> tuple[list[Tensor], Weights]:
    """Alternate both steps; the architecture's by autograd through ``update`` (equation 6)."""
    weights: Weights = {name: p.detach().clone() for name, p in plain.named_parameters()}
    alphas = [a.detach().clone() for a in alphas]
    state: dict[str, Any] = {}

    def loss(w: Weights, a: list[Tensor], batch: Any) -> Tensor:
        value: Tensor = functional_call(plain, w, (batch, a))
        return value

    for train_batch, val_batch in zip(train, val, strict=True):
        for virtual in (True, False):
            a = [x.requires_grad_(virtual) for x in alphas]
            w = {name: x.detach().requires_grad_() for name, x in weights.items()}
            g = torch.autograd.grad(loss(w, a, train_batch), list(w.values()), create_graph=True)
            state["new"] = {}
            after = update(w, dict(zip(w, g, strict=True)), state)
            if virtual:
                steps = torch.autograd.grad(loss(after, a, val_batch), a)
                alphas = [(x - s).detach() for x, s in zip(a, steps, strict=True)]
            else:
                weights = {name: x.detach() for name, x in after.items()}
                state.update(state["new"])
    return alphas, weights


@pytest.mark.verifies(
    "equations 6 and 7: autograd through the whole step, over several batches", "darts"
)
@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.3},
        {"lr": 0.3, "weight_decay": 0.1},
        {"lr": 0.3, "momentum": 0.9, "weight_decay": 0.1},
        {"lr": 0.3, "momentum": 0.9, "dampening": 0.5},
        {"lr": 0.3, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
    ],
)
def test_it_is_the_gradient_through_the_users_own_step(
    options: dict[str, Any], net: Any, loader: Any, fit: Any
) -> None:
    """Equations 6 and 7, over three batches, with the momentum of the steps before."""
    model = net(optimizer=lambda p: torch.optim.SGD(p, **options))
    plain = Plain(model)
    update = momentum_update(
        options["lr"],
        options.get("momentum", 0.0),
        options.get("weight_decay", 0.0),
        options.get("dampening", 0.0),
        options.get("nesterov", False),
    )
    search = GradientDescent(model, arch_dataloader=loader(2), order=2, seed=0)
    search.decisions.double()
    alphas, weights = run_by_hand(plain, alphas_of(search), update, loader(1), loader(2))

    fit(search, loader(1))

    for found, expected in zip(alphas_of(search), alphas, strict=True):
        assert torch.allclose(found, expected, rtol=1e-10, atol=1e-13)
    for name, value in plain.named_parameters():
        assert torch.allclose(value, weights[name], rtol=1e-10, atol=1e-13)


def test_it_differs_from_the_first_order(net: Any, loader: Any, fit: Any) -> None:
    """A negative control: on this problem the second term is not lost in rounding."""
    found = []
    for order in (1, 2):
        torch.manual_seed(0)
        search = GradientDescent(net(), arch_dataloader=loader(2), order=order, seed=0)
        fit(search, loader(1))
        found.append(torch.stack(alphas_of(search)))
    assert (found[0] - found[1]).abs().max() > 1e-3 * found[0].abs().max()


@pytest.mark.verifies("equation 8", "darts")
def test_the_difference_is_equation_8(net: Any, loader: Any, fit: Any) -> None:
    model = net(optimizer=lambda p: torch.optim.SGD(p, lr=0.3))
    plain = Plain(model)
    search = GradientDescent(
        model, arch_dataloader=loader(2, n=8), order=2, hessian="difference", seed=0
    )
    search.decisions.double()
    (train,), (val,) = list(loader(1, n=8)), list(loader(2, n=8))
    alphas = [a.clone().requires_grad_() for a in alphas_of(search)]
    w = {name: p.detach().clone().requires_grad_() for name, p in plain.named_parameters()}

    def gradient(weights: Weights, batch: Any, of: list[Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(functional_call(plain, weights, (batch, alphas)), of)

    g = dict(zip(w, gradient(w, train, list(w.values())), strict=True))
    after = {n: (w[n] - 0.3 * g[n]).detach().requires_grad_() for n in w}
    v = dict(zip(w, gradient(after, val, list(after.values())), strict=True))
    epsilon = 0.01 / torch.cat([x.flatten() for x in v.values()]).norm()
    plus, minus = (
        gradient({n: w[n] + s * epsilon * v[n] for n in w}, train, alphas) for s in (1, -1)
    )
    direct = gradient(after, val, alphas)
    expected = [
        a - (d - 0.3 * (p - m) / (2 * epsilon))
        for a, d, p, m in zip(alphas, direct, plus, minus, strict=True)
    ]

    fit(search, loader(1, n=8))

    for found, want in zip(alphas_of(search), expected, strict=True):
        assert torch.allclose(found, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
        lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True, betas=(0.7, 0.8), maximize=True),
        lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
    ],
)
def test_a_virtual_step_is_the_optimizers_own(make: Any) -> None:
    weights = [nn.Parameter(torch.randn(5, dtype=torch.float64)) for _ in range(2)]
    groups = [{"params": weights[:1]}, {"params": weights[1:], "lr": 0.03}]
    optimizer = make(groups)
    for _ in range(4):
        gradients = {w: torch.randn(5, dtype=torch.float64) for w in weights}
        gradients[weights[0]][0] = 0.0
        before = [w.detach().clone() for w in weights]
        after = virtual_weights(optimizer, gradients)
        assert all(map(torch.equal, before, weights))
        for w, g in gradients.items():
            w.grad = g
        optimizer.step()
        for w, found in zip(weights, after, strict=True):
            assert torch.allclose(found, w, rtol=1e-12, atol=1e-12)


@pytest.mark.verifies("steps of Adam and AdamW, differentiated", "darts")
@pytest.mark.parametrize("cls", [torch.optim.Adam, torch.optim.AdamW])
def test_steps_of_adam_are_differentiated_exactly(cls: Any) -> None:
    weight = nn.Parameter(torch.randn(6, dtype=torch.float64))
    optimizer = cls([weight], lr=0.1, weight_decay=0.1)
    for _ in range(3):
        gradient = torch.randn(6, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda g: virtual_weights(optimizer, {weight: g})[0], gradient
        )
        weight.grad = gradient.detach()
        optimizer.step()


def test_a_gradient_of_zero_gives_adam_a_finite_derivative() -> None:
    weight = nn.Parameter(torch.ones(2, dtype=torch.float64))
    gradient = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    (after,) = virtual_weights(torch.optim.Adam([weight], lr=0.1), {weight: gradient})
    after.sum().backward()
    assert gradient.grad is not None
    assert gradient.grad.isfinite().all()


@pytest.mark.parametrize("hessian", ["exact", "difference"])
def test_weights_buffers_and_random_state_are_bit_for_bit_those_without_it(
    hessian: Any, net: Any, loader: Any, fit: Any
) -> None:
    """Architecture steps of size zero: all that can differ is what the step leaves behind."""
    states = []
    for order in (None, 2):
        torch.manual_seed(0)
        model = net(norm=True, optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
        options: Any = {"warmup_epochs": 9} if order is None else {"order": 2, "hessian": hessian}
        search = Darts(model, arch_dataloader=loader(2), arc_learning_rate=0.0, seed=0, **options)
        fit(search, loader(1), max_epochs=2)
        states.append({**model.state_dict(), "random": torch.rand(3)})
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


@pytest.mark.filterwarnings("ignore:.*returned `None`.*")
def test_a_batch_that_the_user_skips_gives_the_first_order(net: Any, loader: Any, fit: Any) -> None:
    """The weight step will leave the weights as they are, and so does the virtual one."""
    (skipped,) = list(loader(1, n=8))

    class Skips(net):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if torch.equal(batch[0], skipped[0]):
                return None
            return super().training_step(batch, batch_idx)

    found = []
    for order in (1, 2):
        torch.manual_seed(0)
        search = GradientDescent(Skips(), arch_dataloader=loader(2, n=8), order=order, seed=0)
        fit(search, loader(1, n=8))
        found.append(torch.stack(alphas_of(search)))
    assert torch.equal(*found)


def test_an_optimizer_without_a_rule_is_refused_before_training(
    net: Any, loader: Any, fit: Any
) -> None:
    model = net(optimizer=lambda p: torch.optim.RMSprop(p, lr=0.1))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    search = Darts(model, arch_dataloader=loader(2), order=2, seed=0)
    with pytest.raises(StrategyError, match="RMSprop") as info:
        fit(search, loader(1))
    assert "SGD, Adam, AdamW" in str(info.value)
    assert all(torch.equal(v, before[k]) for k, v in search.model.state_dict().items())


def test_a_module_that_optimizes_manually_is_refused(net: Any, loader: Any, fit: Any) -> None:
    model = net()
    model.automatic_optimization = False
    with pytest.raises(StrategyError, match="optimizes manually"):
        fit(Darts(model, arch_dataloader=loader(2), order=2), loader(1))


@pytest.mark.parametrize("options", [{"order": 3}, {"hessian": "guess"}])
def test_unknown_orders_are_refused(options: Any, net: Any, loader: Any) -> None:
    with pytest.raises(StrategyError, match="order"):
        Darts(net(), arch_dataloader=loader(2), **options)
