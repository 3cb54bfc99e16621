"""How important each item of a size is: each head, channel or feature of a pretrained model.

The functions are components of the kind ``importance``. Each takes a model, the extents of its
tensors and batches, and returns scores: the items that score higher are to be kept longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from oneshot_core.errors import SpaceError
from oneshot_plugins.elastic.extent import Extent, Size

from .arrangement import Extents, extents_of, items, outer_sizes
from .consuming import Consumer, Watch
from .feeding import forward, observing, require_batches

__all__ = ["activation", "head_output", "magnitude", "taylor"]

Scores = dict[Size, Tensor]
"""Size -> float64 on the CPU, shape ``(size.full,)``, larger is more important. A size that is
always multiplied with others, such as the queries of a group of keys and values, has scores for
each item of those: shape ``(groups.full, queries.full)``."""


def activation(model: nn.Module, extents: Extents, batches: Iterable[Any]) -> Scores:
    """Score items by the norm of their activations times the norm of the weights these go into.

    Index ``j`` of a dimension that a weight sums over scores ``|x_j| * |w_j|``: ``x_j`` holds the
    activations of all positions in all batches, ``w_j`` the weights that they are multiplied with.
    An item scores the sum over its indices, in all weights that it goes into. A size that goes
    into no weight, such as features of keys, is scored by :func:`magnitude`.

    Args:
        model: any module; it runs once on each batch in eval mode, and is left as it was.
        extents: dotted tensor name -> dimension -> extent.
        batches: each a tensor, a tuple of positional or a mapping of keyword arguments. Padding
            counts as any position does, so give batches without it.

    Returns:
        size -> float64 on the CPU, shape ``(size.full,)``; if a size is always multiplied with
        others, ``(*[o.full for o in others], size.full)``.

    Raises:
        SpaceError: there are no batches, or the extents are not those of the model.

    Source:
        Sun et al., "A Simple and Effective Pruning Approach for Large Language Models" (Wanda),
        section 3, summed over the outputs.

    >>> net, size = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1)), Size("width", 2)
    >>> _ = net[0].weight.data.copy_(torch.tensor([[1.0], [2.0]])), net[1].weight.data.fill_(3.0)
    >>> extents = {"0.weight": {0: Extent.of(size)}, "1.weight": {1: Extent.of(size)}}
    >>> activation(net, extents, [torch.ones(1, 1)])
    {Size('width', 2): tensor([3., 6.], dtype=torch.float64)}
    """
    watch = _Norms(_parameters(model, extents))
    _run(model, batches, watch, "the importance 'activation'")
    scores = _Scores(extents)
    for key, consumer in watch.consumers.items():
        norms = watch.squares[key].sqrt() * _double(consumer.weight).norm(dim=2).cpu()
        extent = extents[consumer.name].get(consumer.dim)
        if extent is not None:
            whole = torch.zeros(extent.full, dtype=torch.float64)
            part = norms.sum(0)
            whole[consumer.start : consumer.start + len(part)] = part
            scores.add_sums(extent, whole)
    return scores.complete(model, extents)


def head_output(model: nn.Module, extents: Extents, batches: Iterable[Any]) -> Scores:
    """Score items by the norm of what they add to the outputs of the weights they go into.

    An item with the activations ``X`` (positions, n) and the weights ``W`` (n, outputs) scores the
    Frobenius norm ``|X @ W|``, over all positions of all batches, summed over the weights that it
    goes into. For a head this is the norm of the head's own output, after the projection. For an
    item of one feature it equals :func:`activation`. Where a convolution sums over its kernel, the
    score is the root of the sum of ``|x_j|^2 * |w_j|^2`` over the item's channels.

    Args:
        model: any module; it runs once on each batch in eval mode, and is left as it was.
        extents: dotted tensor name -> dimension -> extent.
        batches: as for :func:`activation`.

    Returns:
        as :func:`activation`.

    Raises:
        SpaceError: there are no batches, or the extents are not those of the model.

    >>> net, size = nn.Linear(4, 1, bias=False), Size("heads", 2)
    >>> _ = net.weight.data.copy_(torch.tensor([[1.0, -1.0, 1.0, 1.0]]))
    >>> head_output(net, {"weight": {1: Extent.of(size, 2)}}, [torch.ones(1, 4)])
    {Size('heads', 2): tensor([0., 2.], dtype=torch.float64)}
    """
    scores = _Scores(extents)
    watch = _Outputs(_parameters(model, extents), extents, scores)
    _run(model, batches, watch, "the importance 'head-output'")
    for (_, size), total in watch.totals.items():
        # What cancels exactly may come out a little below zero.
        scores.add(size, total.clamp(min=0).sqrt())
    return scores.complete(model, extents)


def taylor(
    model: nn.Module,
    extents: Extents,
    batches: Iterable[Any],
    *,
    loss: Callable[[Any], Tensor] | None = None,
) -> Scores:
    """Score items by how much the loss would change without their weights, to first order.

    An item scores the sum of ``|gradient * weight|`` over its weights in all tensors, where the
    gradient is that of the loss, summed over the batches. The model has no gradients afterwards
    that it did not have before.

    Args:
        model: any module; it runs once on each batch in eval mode, and is left as it was.
        extents: dotted tensor name -> dimension -> extent.
        batches: as for :func:`activation`.
        loss: from the result of the model to a scalar. By default the ``loss`` of the result, as
            models of transformers have where the batch holds labels; otherwise half the mean
            square of the first tensor of the result, which needs no labels.

    Returns:
        as :func:`activation`.

    Raises:
        SpaceError: there are no batches, the extents are not those of the model, or the loss does
            not depend on its parameters.

    Source:
        Molchanov et al., "Importance Estimation for Neural Network Pruning", equation 8, with the
        sum over the weights of an item outside the absolute value.

    >>> net, size = nn.Linear(2, 1, bias=False), Size("width", 2)
    >>> _ = net.weight.data.copy_(torch.tensor([[1.0, -2.0]]))
    >>> taylor(net, {"weight": {1: Extent.of(size)}}, [torch.ones(1, 2)], loss=torch.sum)
    {Size('width', 2): tensor([1., 2.], dtype=torch.float64)}
    """
    tensors = _parameters(model, extents)
    gradients = {name: torch.zeros_like(t, dtype=torch.float64) for name, t in tensors.items()}
    flags = [(tensor, tensor.requires_grad) for tensor in tensors.values()]
    given = require_batches(batches, "the importance 'taylor'")
    with observing(model), torch.enable_grad():
        try:
            for tensor in tensors.values():
                tensor.requires_grad_(tensor.is_floating_point())
            wanted = {name: t for name, t in tensors.items() if t.requires_grad}
            for batch in given:
                value = (loss or _own_loss)(forward(model, batch))
                found = _gradients(value, list(wanted.values()))
                for name, gradient in zip(wanted, found, strict=True):
                    if gradient is not None:
                        gradients[name] += gradient
        finally:
            for tensor, flag in flags:
                tensor.requires_grad_(flag)
    scores = _Scores(extents)
    for name, gradient in gradients.items():
        change = (gradient * _double(tensors[name])).abs()
        for dim, extent in extents[name].items():
            scores.add_sums(extent, _along(change, dim))
    return scores.complete(model, extents)


def magnitude(model: nn.Module, extents: Extents, batches: Iterable[Any] | None = None) -> Scores:
    """Score items by the norm of their weights.

    An item scores the Euclidean norm of its part of a tensor, summed over all parameters.

    Args:
        model: any module; it is not run.
        extents: dotted tensor name -> dimension -> extent.
        batches: not used.

    Returns:
        as :func:`activation`.

    Raises:
        SpaceError: the extents are not those of the model.

    >>> net, size = nn.Linear(2, 2, bias=False), Size("width", 2)
    >>> _ = net.weight.data.copy_(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    >>> magnitude(net, {"weight": {0: Extent.of(size)}})
    {Size('width', 2): tensor([5., 1.], dtype=torch.float64)}
    """
    return _magnitude(_Scores(extents), _parameters(model, extents), extents)


def _magnitude(scores: _Scores, tensors: Mapping[str, Tensor], extents: Extents) -> Scores:
    for name, tensor in tensors.items():
        squares = _double(tensor).square()
        for dim, extent in extents[name].items():
            along = _along(squares, dim)
            for size in extent.sizes:
                scores.add(size, along[scores.items(extent, size)].sum(-1).sqrt())
    return scores.found


class _Scores:
    """Scores of all sizes, to be added to."""

    def __init__(self, extents: Extents) -> None:
        self.outer = outer_sizes(extents_of(extents))
        self.found: Scores = {
            size: torch.zeros(*(o.full for o in outer), size.full, dtype=torch.float64)
            for size, outer in self.outer.items()
        }
        self.touched: set[Size] = set()
        self._items: dict[tuple[Extent, Size], Tensor] = {}

    def items(self, extent: Extent, size: Size) -> Tensor:
        """Return which indices belong to each item; made once."""
        key = extent, size
        if key not in self._items:
            self._items[key] = items(extent, size, self.outer[size])
        return self._items[key]

    def add(self, size: Size, values: Tensor) -> None:
        """Add scores of the items of one size."""
        self.touched.add(size)
        self.found[size] += values.cpu().reshape(self.found[size].shape)

    def add_sums(self, extent: Extent, values: Tensor) -> None:
        """Add the sum over each item's indices, for all sizes of ``extent``."""
        for size in extent.sizes:
            self.add(size, values[self.items(extent, size)].sum(-1))

    def complete(self, model: nn.Module, extents: Extents) -> Scores:
        """Return the scores; those of sizes that nothing was added to are of weights alone."""
        missing = [size for size in self.found if size not in self.touched]
        if missing:
            weights = _magnitude(_Scores(extents), _parameters(model, extents), extents)
            self.found.update({size: weights[size] for size in missing})
        return self.found


class _Norms(Watch):  # type: ignore[no-untyped-call]
    """Sum the squares of what goes into each weight: ``squares``, shape ``(groups, inputs)``."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(tensors)
        self.consumers: dict[tuple[Any, ...], Consumer] = {}
        self.squares: dict[tuple[Any, ...], Tensor] = {}

    def seen(self, key: tuple[Any, ...], consumer: Consumer, inputs: Tensor) -> None:
        squares = _double(inputs).square().sum(0).cpu()
        self.consumers[key] = consumer
        self.squares[key] = self.squares[key] + squares if key in self.squares else squares


class _Outputs(Watch):  # type: ignore[no-untyped-call]
    """Sum the squares of what each item adds to the outputs of a weight: ``totals``."""

    def __init__(self, tensors: Mapping[str, Tensor], extents: Extents, scores: _Scores) -> None:
        super().__init__(tensors)
        self.extents, self.scores = extents, scores
        self.totals: dict[tuple[tuple[Any, ...], Size], Tensor] = {}

    def seen(self, key: tuple[Any, ...], consumer: Consumer, inputs: Tensor) -> None:
        extent = self.extents[consumer.name].get(consumer.dim)
        weight, values = _double(consumer.weight), _double(inputs)
        if extent is None:
            return
        for size in extent.sizes:
            own = self.scores.items(extent, size)
            if consumer.is_product and weight.shape[1] == extent.full:
                # |X W|^2 of an item: the sum of (X'X) * (W W') over its own indices.
                of_item = own.flatten(0, -2)
                x = values[:, 0, of_item].movedim(0, 1)
                w = weight[0][of_item]
                squares = (x.mT @ x * (w @ w.mT)).sum((1, 2)).reshape(own.shape[:-1])
            else:
                along = torch.zeros(extent.full, dtype=torch.float64, device=weight.device)
                each = (values.square().sum(0) * weight.square().sum(2)).sum(0)
                along[consumer.start : consumer.start + len(each)] = each
                squares = along[own].sum(-1)
            place, squares = (key, size), squares.cpu()
            self.totals[place] = self.totals[place] + squares if place in self.totals else squares


def _run(model: nn.Module, batches: Iterable[Any], watch: Watch, why: str) -> None:
    given = require_batches(batches, why)
    with observing(model), torch.no_grad(), watch:
        for batch in given:
            forward(model, batch)


def _parameters(model: nn.Module, extents: Extents) -> dict[str, Tensor]:
    """Return the parameters that ``extents`` names; of a tied one only the first name."""
    named = dict(model.named_parameters(remove_duplicate=False))
    buffers = dict(model.named_buffers(remove_duplicate=False))
    found: dict[int, str] = {}
    for name, dims in extents.items():
        tensor = named.get(name, buffers.get(name))
        wrong = tensor is None or any(
            dim >= tensor.dim() or tensor.shape[dim] != extent.full for dim, extent in dims.items()
        )
        if wrong:
            shape = "no tensor" if tensor is None else f"a tensor of shape {tuple(tensor.shape)}"
            raise SpaceError(
                f"the extents of {name!r} are {dict(dims)}, where the model has {shape}",
                expected="the name of a parameter or buffer, with dimensions that have the length "
                "of their extents",
                fix="make the extents of this model, by oneshot_plugins.pretrained.trace.trace",
            )
        if name in named:
            found.setdefault(id(named[name]), name)
    return {name: named[name] for name in found.values()}


def _own_loss(result: Any) -> Tensor:
    loss = getattr(result, "loss", None)
    if isinstance(loss, Tensor):
        return loss
    tensors = [result] if isinstance(result, Tensor) else _with_gradient(result)
    if not tensors:
        raise SpaceError(
            f"the result of the model is a {type(result).__name__} without tensors of real numbers",
            expected="a tensor to make a loss of",
            fix="give loss=, a function from the result to a scalar",
        )
    return tensors[0].square().mean() / 2


def _with_gradient(result: Any) -> list[Tensor]:
    values = list(result.values()) if isinstance(result, Mapping) else result
    leaves = torch.utils._pytree.tree_leaves(values)
    return [x for x in leaves if isinstance(x, Tensor) and x.is_floating_point()]


def _gradients(value: Tensor, tensors: list[Tensor]) -> tuple[Tensor | None, ...]:
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        raise SpaceError(
            "the loss does not depend on the parameters that the extents name",
            expected="a scalar tensor with a gradient",
            fix="correct loss=, and let the model compute with gradients",
        )
    return torch.autograd.grad(value, tensors, allow_unused=True)


def _along(values: Tensor, dim: int) -> Tensor:
    """Return the sums over all other dimensions."""
    return values.movedim(dim, 0).flatten(1).sum(1) if values.dim() > 1 else values


def _double(tensor: Tensor) -> Tensor:
    detached = tensor.detach()
    return (detached.cpu() if detached.device.type == "mps" else detached).to(torch.float64)
