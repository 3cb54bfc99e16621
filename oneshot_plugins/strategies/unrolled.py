"""The architecture gradient through one virtual step of the weights (second order).

The weights are never changed: the virtual ones are put into the user's module for single
forward passes by ``torch.func.functional_call``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import SGD, Adam, AdamW, Optimizer

from oneshot_core.errors import StrategyError

Loss = Callable[[], "Tensor | None"]
Rule = Callable[[Tensor, Tensor, Mapping[str, Any], Mapping[str, Any]], Tensor]
Average = Callable[[Tensor], Tensor]


class Unrolled(NamedTuple):
    """What :func:`unrolled_gradient` needs to know of a search.

    Args:
        model: whose weights are stepped.
        optimizer: of the weights, as it stands before the step; None steps nothing.
        training_loss: runs ``model`` on the batch of the weight step.
        architecture_loss: runs ``model`` on the batch of the architecture step.
        average: the mean over all processes that train together.
    """

    model: nn.Module
    optimizer: Optimizer | None
    training_loss: Loss
    architecture_loss: Loss
    average: Average


def unrolled_gradient(
    of: Unrolled, parameters: Sequence[nn.Parameter], *, exact: bool = True
) -> tuple[Tensor, list[Tensor | None]] | None:
    """Return the architecture loss after a virtual weight step, and its total gradient.

    With the step ``w' = u(w, g)``, ``g`` the gradient of the training loss, it is::

        d/dα L_val(w', α) + (∂²/∂α∂w L_train(w, α)) · (∂u/∂g)ᵀ · ∂/∂w' L_val(w', α)

    For plain gradient descent ``∂u/∂g = -ξ``, which is the paper's equation 7.

    Args:
        of: the search.
        parameters: the architecture parameters ``α``.
        exact: the second term by differentiating twice; else by the difference of two
            gradients at ``w ± ε v``, with ``ε = 0.01 / |v|`` (the paper's equation 8).

    Returns:
        None if the user's ``training_step`` skipped the architecture batch.

    Source: Liu et al., "DARTS", arXiv:1806.09055, equations 6-8.
    """
    weights = stepped_weights(of.model, of.optimizer)
    loss = of.training_loss() if weights else None
    if loss is None:  # the weight step will change nothing
        value = of.architecture_loss()
        if value is None:
            return None
        return value, list(torch.autograd.grad(value, parameters, allow_unused=True))
    found = torch.autograd.grad(loss, list(weights.values()), create_graph=exact, allow_unused=True)
    used = {
        name: gradient
        for name, gradient in zip(weights, found, strict=True)
        if gradient is not None  # the optimizer leaves out what has no gradient
    }
    means = {name: of.average(g.detach().clone()).requires_grad_() for name, g in used.items()}
    assert of.optimizer is not None
    after = virtual_weights(of.optimizer, {weights[name]: g for name, g in means.items()})
    leaves = [w.detach().requires_grad_() for w in after]
    value = at_weights(of.model, dict(zip(used, leaves, strict=True)), of.architecture_loss)
    if value is None:
        return None
    gradients = torch.autograd.grad(value, [*parameters, *leaves], allow_unused=True)
    direct, back = gradients[: len(parameters)], gradients[len(parameters) :]
    back = tuple(
        of.average(torch.zeros_like(leaf) if g is None else g)
        for g, leaf in zip(back, leaves, strict=True)
    )
    pulled = torch.autograd.grad(after, list(means.values()), back)
    if exact:
        second = _exact(list(used.values()), parameters, pulled)
    else:
        vector = dict(zip(used, pulled, strict=True))
        second = _by_difference(of, weights, parameters, vector)
    return value, [_sum(one, two) for one, two in zip(direct, second, strict=True)]


def _exact(
    gradients: list[Tensor], parameters: Sequence[nn.Parameter], vector: Sequence[Tensor]
) -> Sequence[Tensor | None]:
    reached = [(g, v) for g, v in zip(gradients, vector, strict=True) if g.requires_grad]
    if not reached:  # the weights' gradient does not depend on the architecture
        return [None] * len(parameters)
    outputs, directions = zip(*reached, strict=True)
    return torch.autograd.grad(outputs, parameters, directions, allow_unused=True)


def _by_difference(
    of: Unrolled,
    weights: Mapping[str, Tensor],
    parameters: Sequence[nn.Parameter],
    vector: Mapping[str, Tensor],
) -> Sequence[Tensor | None]:
    norm = torch.stack([v.square().sum() for v in vector.values()]).sum().sqrt()
    if norm == 0:
        return [None] * len(parameters)
    epsilon = 0.01 / norm
    sides: list[Sequence[Tensor | None]] = []
    for sign in (1, -1):
        moved = {name: weights[name].detach() + sign * epsilon * v for name, v in vector.items()}
        loss = at_weights(of.model, moved, of.training_loss)
        assert loss is not None
        sides.append(torch.autograd.grad(loss, parameters, allow_unused=True))
    return [
        None if plus is None or minus is None else (plus - minus) / (2 * epsilon)
        for plus, minus in zip(*sides, strict=True)
    ]


def _sum(one: Tensor | None, two: Tensor | None) -> Tensor | None:
    return one if two is None else two if one is None else one + two


class _Run(nn.Module):
    """Gives ``functional_call`` a module whose forward pass is a loss."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self) -> Tensor | None:
        return self.loss()


def at_weights(model: nn.Module, weights: Mapping[str, Tensor], loss: Loss) -> Tensor | None:
    """Return ``loss()`` while ``model`` has other weights, under all their names.

    Args:
        model: gets its own weights back.
        weights: by name in ``model``; those left out stay.
        loss: runs ``model``.
    """
    run = _Run(model, loss)
    value: Tensor | None = functional_call(
        run, {f"model.{name}": weight for name, weight in weights.items()}, ()
    )
    return value


def stepped_weights(model: nn.Module, optimizer: Optimizer | None) -> dict[str, nn.Parameter]:
    """Return name -> weight for what ``optimizer`` trains in ``model``."""
    if optimizer is None:
        return {}
    trained = {p for group in optimizer.param_groups for p in group["params"]}
    return {
        name: weight
        for name, weight in model.named_parameters()
        if weight in trained and weight.requires_grad
    }


def virtual_weights(optimizer: Optimizer, gradients: Mapping[nn.Parameter, Tensor]) -> list[Tensor]:
    """Return what the next step of ``optimizer`` would make of weights; nothing is changed.

    Args:
        optimizer: with its present state and learning rates.
        gradients: weight -> gradient; the result is differentiable in it.

    Returns:
        The new weights, in the order of ``gradients``.
    """
    rule = RULES[type(optimizer)]
    groups = {p: group for group in optimizer.param_groups for p in group["params"]}
    return [
        rule(weight.detach(), gradient, groups[weight], optimizer.state.get(weight, {}))
        for weight, gradient in gradients.items()
    ]


def require_known_rule(optimizer: Optimizer) -> None:
    """Refuse an optimizer whose step cannot be written as a function of the gradient.

    Raises:
        StrategyError: it is none of :data:`RULES`.
    """
    if type(optimizer) not in RULES:
        raise StrategyError(
            f"order=2 cannot differentiate through a step of {type(optimizer).__name__}",
            expected=f"{', '.join(rule.__name__ for rule in RULES)} of torch.optim, and no "
            "subclass of them",
            fix="use one of them for the weights, or order=1",
        )


def _sgd(
    weight: Tensor, gradient: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]
) -> Tensor:
    if group["maximize"]:
        gradient = -gradient
    gradient = gradient + group["weight_decay"] * weight
    if group["momentum"]:
        buffer = state.get("momentum_buffer")
        if buffer is None:
            buffer = gradient
        else:
            buffer = group["momentum"] * buffer + (1 - group["dampening"]) * gradient
        gradient = gradient + group["momentum"] * buffer if group["nesterov"] else buffer
    after: Tensor = weight - group["lr"] * gradient
    return after


def _adam(
    weight: Tensor, gradient: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]
) -> Tensor:
    if group["maximize"]:
        gradient = -gradient
    if group.get("decoupled_weight_decay"):
        weight = weight * (1 - group["lr"] * group["weight_decay"])
    else:
        gradient = gradient + group["weight_decay"] * weight
    beta1, beta2 = group["betas"]
    step = float(state.get("step", 0)) + 1
    first = beta1 * state.get("exp_avg", 0) + (1 - beta1) * gradient
    second = beta2 * state.get("exp_avg_sq", 0) + (1 - beta2) * gradient.square()
    if group["amsgrad"]:
        second = torch.maximum(state.get("max_exp_avg_sq", torch.zeros_like(second)), second)
    # At a gradient of exactly 0 the root has no derivative; that of the whole step is finite.
    positive = second > 0
    root = torch.where(positive, second, 1).sqrt() * positive
    scale = root / (1 - beta2**step) ** 0.5 + group["eps"]
    after: Tensor = weight - group["lr"] / (1 - beta1**step) * first / scale
    return after


def _adamw(
    weight: Tensor, gradient: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]
) -> Tensor:
    return _adam(weight, gradient, {**group, "decoupled_weight_decay": True}, state)


RULES: dict[type[Optimizer], Rule] = {SGD: _sgd, Adam: _adam, AdamW: _adamw}
"""The steps that can be differentiated, each a function of (weight, gradient, group, state)."""
