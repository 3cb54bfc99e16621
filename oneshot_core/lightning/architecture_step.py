"""One step of the architecture parameters, which the user's training must not notice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor
from torch.optim import Optimizer

from ..errors import StrategyError
from ..space.running_network import running
from .batches import to_device
from .host import Host
from .isolation import (
    discarded_logs,
    isolated_attributes,
    isolated_buffers,
    isolated_metrics,
    isolated_rng,
)


def architecture_step(search: Host, batch: Any) -> Tensor | None:
    """Step the architecture optimizers of ``search`` on ``batch``; None is its next batch.

    Returns:
        The loss, detached; None if there was none, or nothing to train.

    Raises:
        StrategyError: an architecture optimizer holds weights, there is no batch, or the loss or
            its gradient is no number.
    """
    optimizers = listed(search.architecture_optimizers())
    parameters = [p for p in search.decisions.parameters() if p.requires_grad]
    if not parameters or not optimizers:
        return None
    _require_no_weights(search.model, optimizers)
    trainer = search.trainer
    batches = search.architecture_batches
    if batch is not None or batches is None:
        index = trainer.fit_loop.epoch_loop.total_batch_idx
    else:
        index = batches.drawn
        batch = to_device(batches.next(), search, trainer)
    scale = _loss_scale(trainer)
    with unnoticed(search, batch, index):
        found = search.architecture_gradient(batch, index, parameters, scale)
        if found is None:
            return None
        loss, gradients = found
    if scale == 1:
        _require_numbers(loss, gradients, index)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is None:
            parameter.grad = None
            continue
        # Memory of its own: that of a sum is one number expanded, and may be several parameters'.
        own = gradient.clone(memory_format=torch.contiguous_format)
        own = cast(Tensor, trainer.strategy.reduce(own, reduce_op="mean"))
        parameter.grad = own.div_(scale)
    if scale == 1 or all(p.grad is None or p.grad.isfinite().all() for p in parameters):
        for optimizer in optimizers:
            optimizer.step()
    for parameter in parameters:
        parameter.grad = None
    return loss.detach()


@contextmanager
def unnoticed(search: Host, batch: Any, index: int) -> Iterator[None]:
    """Let nothing that runs inside be seen by the user's training, nor draw with its generators.

    Args:
        search: whose user's module is run.
        batch: what it is run on.
        index: with the search's seed, determines what is drawn inside.
    """
    with ExitStack() as isolation:
        isolation.enter_context(
            isolated_rng(search.model, (search.seed * 1_000_003 + index) % 2**63)
        )
        isolation.enter_context(isolated_buffers(search.model))
        isolation.enter_context(isolated_metrics(search.model))
        isolation.enter_context(isolated_attributes(search.model))
        isolation.enter_context(discarded_logs(search.model, batch))
        yield


def users_loss(model: LightningModule, batch: Any, batch_idx: int) -> Tensor | None:
    """Return the loss that the user's ``training_step`` gives for a batch; None if it skips it.

    Raises:
        StrategyError: it returned something else.
    """
    hook = model.training_step
    with running:
        if is_param_in_hook_signature(hook, "dataloader_iter", explicit=True):
            output = hook(iter([(batch, batch_idx, 0)]))
        elif is_param_in_hook_signature(hook, "batch_idx", min_args=2):
            output = hook(batch, batch_idx)
        else:
            output = hook(batch)
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if loss is not None and not isinstance(loss, Tensor):
        raise StrategyError(
            f"training_step of {type(model).__name__} returned {type(output).__name__}",
            expected="a loss tensor, a dict with 'loss', or None",
            fix="return the loss; its gradient trains the architecture",
        )
    return loss


def listed(optimizers: Optimizer | list[Optimizer] | None) -> list[Optimizer]:
    """Return what ``architecture_optimizers()`` returned as a list."""
    if optimizers is None:
        return []
    return optimizers if isinstance(optimizers, list) else [optimizers]


def _require_no_weights(model: LightningModule, optimizers: Iterable[Optimizer]) -> None:
    weights = set(model.parameters())
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    if any(parameter in weights for group in groups for parameter in group["params"]):
        raise StrategyError(
            f"an architecture optimizer holds weights of {type(model).__name__}",
            expected="architecture parameters only",
            fix="if a callback added them to every optimizer, as BaseFinetuning does, let it "
            "leave out those for which pl_module.is_architecture_optimizer(optimizer)",
        )


def _require_numbers(loss: Tensor, gradients: Iterable[Tensor | None], index: int) -> None:
    """Refuse what would make every architecture parameter NaN for good."""
    parts = [loss.detach(), *(g for g in gradients if g is not None)]
    if bool(torch.cat([part.reshape(-1).float() for part in parts]).isfinite().all()):
        return
    what = "a gradient that is not finite" if loss.isfinite() else f"the loss {loss.item():g}"
    raise StrategyError(
        f"architecture batch {index} has {what}",
        expected="numbers; the architecture parameters are as they were before this batch",
        fix="go on from the last checkpoint with a smaller learning rate or gradient_clip_val, or "
        "look into the batch",
    )


def _loss_scale(trainer: Trainer) -> float:
    # float16 gradients vanish without a scale. The user's scaler is read, never updated.
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return 1.0 if scaler is None else float(scaler.get_scale())
