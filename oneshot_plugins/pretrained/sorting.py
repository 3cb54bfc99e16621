"""Put the items of sizes in the order of their importance, without changing what a model computes.

The largest network stays equal, and every prefix holds the items that matter most.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from oneshot_core.errors import SpaceError
from oneshot_plugins.elastic.extent import Size

from .arrangement import Extents, extents_of, outer_sizes, positions
from .feeding import floating, forward, observing, require_batches

__all__ = ["Sorted", "sort_by_importance"]


@dataclass(frozen=True, slots=True)
class Sorted:
    """What :func:`sort_by_importance` did.

    Args:
        orders: size -> which item came first, second, ...: int64, in the shape of the scores.
        left: sizes whose items stay where they are, because the model needs their order.
        tensors: the names of the tensors whose values were moved, each tensor once.
        deviation: largest difference between the results of the model before and after, relative
            to the largest result; None where no batches were given to measure it.
    """

    orders: dict[Size, Tensor]
    left: tuple[Size, ...]
    tensors: tuple[str, ...]
    deviation: float | None

    def __str__(self) -> str:
        names = ", ".join(size.name for size in self.orders) or "nothing"
        left = f"; left as they are: {', '.join(s.name for s in self.left)}" if self.left else ""
        measured = "not measured" if self.deviation is None else f"{self.deviation:.1e}"
        return f"sorted by importance: {names}{left}; deviation of the results: {measured}"


class _Move(NamedTuple):
    """A dimension of a tensor, and the index that each of its places is filled from."""

    name: str
    tensor: Tensor
    dim: int
    source: Tensor


def sort_by_importance(
    model: nn.Module,
    extents: Extents,
    scores: Mapping[Size, Tensor],
    *,
    batches: Iterable[Any] | None = None,
    optimizers: Sequence[Optimizer] = (),
    tolerance: float | None = None,
    strict: bool = True,
    permuted: Collection[Size] = (),
) -> Sorted:
    """Sort the items of each size by their scores, largest first, in all tensors, in place.

    Gradients and the state of ``optimizers`` move with their parameters. Integers in an extent,
    such as the features of a head, do not move. Items with equal scores keep their order. If this
    raises, the model, its gradients and the optimizers are as they were, bit for bit.

    Args:
        model: any module whose tensors are its own: not sharded, and not parametrized under a name
            in ``extents``.
        extents: dotted tensor name -> dimension -> extent, of all tensors that have a size.
        scores: size -> shape ``(size.full,)``. A size that is always multiplied with others may
            have scores for each item of those, ``(*[o.full for o in others], size.full)``: then its
            items are ordered anew for each of them. Sizes without scores stay as they are.
        batches: to compare the results of the model before and after, in eval mode. Without them,
            nothing tells whether the extents allow to change the order.
        optimizers: whose state is about parameters of the model.
        tolerance: the largest deviation, relative to the largest result. None for 1e-5, or 16
            times the precision of half-precision results.
        strict: whether a larger deviation is an error; if not, the sizes that cause it stay as
            they are.
        permuted: sizes of the results of the model, such as the hidden size of an encoder, whose
            items may change places in the results, too. Without them the results stay as they are,
            so that such a size is one that cannot be sorted.

    Returns:
        the orders, and the measured deviation.

    Raises:
        SpaceError: scores or extents do not fit the model, a tensor cannot be permuted, or the
            deviation is larger than ``tolerance``.

    >>> from oneshot_plugins.elastic.extent import Extent
    >>> net, size = nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1)), Size("width", 2)
    >>> _ = net[0].weight.data.copy_(torch.tensor([[1.0], [2.0]]))
    >>> extents = {"0.weight": {0: Extent.of(size)}, "0.bias": {0: Extent.of(size)},
    ...            "1.weight": {1: Extent.of(size)}}
    >>> done = sort_by_importance(net, extents, {size: torch.tensor([0.1, 0.9])})
    >>> net[0].weight.flatten().tolist(), done.orders
    ([2.0, 1.0], {Size('width', 2): tensor([1, 0])})
    """
    outer = outer_sizes(extents_of(extents))
    orders = {size: _order(size, values, outer) for size, values in scores.items()}
    orders = {size: order for size, order in orders.items() if not _is_identity(order)}
    given = None if batches is None else require_batches(batches, "measuring the deviation")
    work = _Work(model, extents, outer, optimizers, given, tolerance, permuted)
    with work.undone_on_error():
        deviation = work.sort(orders)
        if work.allows(deviation):
            return Sorted(orders, (), work.names(), deviation)
        work.undo()
        bad = []
        for size, order in orders.items():
            bad += [] if work.allows(work.sort({size: order})) else [size]
            work.undo()
        if strict:
            raise _deviates(bad or list(orders), deviation, work)
        kept = {size: order for size, order in orders.items() if bad and size not in bad}
        deviation = work.sort(kept)
        if not work.allows(deviation):  # each alone would do, all together do not
            work.undo()
            kept = {}
            deviation = work.sort(kept)
    left = tuple(size for size in orders if size not in kept)
    return Sorted(kept, left, work.names(), deviation)


class _Work:
    """The tensors of one model, permuted and put back.

    Args:
        model: the model.
        extents: of its tensors.
        outer: as of :func:`~.arrangement.outer_sizes`.
        optimizers: with state about its parameters.
        batches: to measure on; None measures nothing.
        tolerance: as given.
        permuted: as given.
    """

    def __init__(
        self,
        model: nn.Module,
        extents: Extents,
        outer: Mapping[Size, tuple[Size, ...]],
        optimizers: Sequence[Optimizer],
        batches: list[Any] | None,
        tolerance: float | None,
        permuted: Collection[Size],
    ) -> None:
        self.model, self.extents, self.outer = model, extents, outer
        self.optimizers, self.batches, self.permuted = optimizers, batches, permuted
        self.tensors = _tensors(model, extents)
        self.applied: list[_Move] = []
        self.before = None if batches is None else self._results()
        half = {x.dtype for x in self.before or []} & {torch.float16, torch.bfloat16}
        precision = max((torch.finfo(dtype).eps for dtype in half), default=0.0)
        self.tolerance = max(1e-5, 16 * precision) if tolerance is None else tolerance

    def sort(self, orders: Mapping[Size, Tensor]) -> float | None:
        """Permute all tensors; return how far the results deviate, if there are batches."""
        moves = list(_moves(self.tensors, self.extents, orders, self.outer))
        moves += [move for each in moves for move in _followers(each, self.optimizers)]
        _apply(moves)
        self.applied = moves
        if self.before is None:
            return None
        free = {size: orders[size] for size in self.permuted if size in orders}
        return _deviation(self.before, self._results(), free)

    def undo(self) -> None:
        """Put everything back."""
        applied, self.applied = self.applied, []
        _apply([m._replace(source=m.source.argsort()) for m in reversed(applied)])

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Put everything back if the block raises."""
        try:
            yield
        except BaseException:
            self.undo()
            raise

    def allows(self, deviation: float | None) -> bool:
        """Say whether the results are equal; NaN is not."""
        return deviation is None or deviation <= self.tolerance

    def names(self) -> tuple[str, ...]:
        """Return the tensors that are permuted now."""
        return tuple(dict.fromkeys(move.name for move in self.applied if move.name in self.extents))

    def _results(self) -> list[Tensor]:
        with observing(self.model), torch.no_grad():
            results = [forward(self.model, batch) for batch in self.batches or []]
        # A model may give back one of its parameters, which is about to change.
        return [tensor.clone() for result in results for tensor in floating(result)]


def _order(size: Size, scores: Tensor, outer: Mapping[Size, tuple[Size, ...]]) -> Tensor:
    if size not in outer:
        raise SpaceError(
            f"there are scores of {size!r}, which no extent has",
            expected=f"one of {', '.join(known.name for known in outer) or 'no sizes'}",
            fix="give the extents that the scores were made with",
        )
    whole = (*(o.full for o in outer[size]), size.full)
    values = torch.as_tensor(scores).detach().cpu()
    if tuple(values.shape) not in {(size.full,), whole} or bool(values.isnan().any()):
        what = "hold NaN" if tuple(values.shape) in {(size.full,), whole} else "have another shape"
        raise SpaceError(
            f"the scores of {size!r}, of shape {tuple(values.shape)}, {what}",
            expected=f"a number for each item: shape {(size.full,)}"
            + (f" or {whole}" if outer[size] else ""),
            fix="correct what computes the importance",
        )
    return values.argsort(dim=-1, descending=True, stable=True)


def _is_identity(order: Tensor) -> bool:
    return bool((order == torch.arange(order.shape[-1])).all())


def _tensors(model: nn.Module, extents: Extents) -> dict[str, Tensor]:
    """Return the tensors that ``extents`` names, of which each can be permuted."""
    known: dict[str, Tensor] = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    for name, dims in extents.items():
        if name not in known:
            parent, _, attribute = name.rpartition(".")
            raise SpaceError(
                f"the model has no parameter or buffer {name!r}"
                + (
                    ", it is computed from others" if _is_computed(model, parent, attribute) else ""
                ),
                expected="extents of parameters and buffers",
                fix="sort first, and parametrize the model afterwards",
            )
        tensor = known[name]
        if hasattr(tensor, "full_tensor") or nn.parameter.is_lazy(tensor) or tensor.is_meta:
            raise SpaceError(
                f"the values of {name!r} cannot be permuted: it is a {type(tensor).__name__} on "
                f"{tensor.device.type!r}",
                expected="a whole tensor with values",
                fix="sort the model before it is sharded, and after it has its weights",
            )
        for dim, extent in dims.items():
            if not -tensor.dim() <= dim < tensor.dim() or tensor.shape[dim] != extent.full:
                raise SpaceError(
                    f"dimension {dim} of {name!r}, of shape {tuple(tensor.shape)}, is not {extent}",
                    expected=f"the length {extent.full}",
                    fix="make the extents of this model, before any of it is cut",
                )
    return {name: known[name] for name in extents}


def _is_computed(model: nn.Module, path: str, attribute: str) -> bool:
    try:
        return isinstance(getattr(model.get_submodule(path), attribute, None), Tensor)
    except AttributeError:
        return False


def _moves(
    tensors: Mapping[str, Tensor],
    extents: Extents,
    orders: Mapping[Size, Tensor],
    outer: Mapping[Size, tuple[Size, ...]],
) -> Iterator[_Move]:
    """Yield what moves where. A tensor with several names moves once."""
    indices: dict[Any, Tensor] = {}
    done: dict[tuple[int, int], tuple[str, Tensor]] = {}
    for name, dims in extents.items():
        for dim, extent in dims.items():
            if extent not in indices:
                indices[extent] = positions(extent, orders, outer)
            key, index = (id(tensors[name]), dim % tensors[name].dim()), indices[extent]
            if key in done and not torch.equal(done[key][1], index):
                raise SpaceError(
                    f"{name!r} and {done[key][0]!r} are one tensor, and dimension {dim} of it is "
                    "to be in two orders",
                    expected="one extent for all names of a tensor",
                    fix="use one size for both names",
                )
            if key not in done and not _is_identity(index):
                yield _Move(name, tensors[name], dim, index)
            done.setdefault(key, (name, index))


def _followers(move: _Move, optimizers: Sequence[Optimizer]) -> Iterator[_Move]:
    """Yield the same move for the gradient and for what optimizers remember of a parameter."""
    tensor = move.tensor
    if tensor.grad is not None:
        yield move._replace(name=f"gradient of {move.name}", tensor=tensor.grad)
    for optimizer in optimizers:
        for key, value in optimizer.state.get(tensor, {}).items():
            if isinstance(value, Tensor) and value.shape == tensor.shape:
                yield move._replace(name=f"{key} of {move.name}", tensor=value)
            elif isinstance(value, (Tensor, list, tuple, dict)) and not _is_scalar(value):
                raise SpaceError(
                    f"{type(optimizer).__name__} remembers {key!r} of {move.name!r} in another "
                    "shape than that of the parameter",
                    expected="state in the shape of the parameter, as of SGD and Adam",
                    fix="sort before the first step of the optimizer",
                )


def _is_scalar(value: object) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1


def _apply(moves: Sequence[_Move]) -> None:
    """Permute all or none. The version of each tensor tells autograd that it changed."""
    done: list[_Move] = []
    try:
        with torch.no_grad():
            for move in moves:
                index = move.source.to(move.tensor.device)
                move.tensor.copy_(move.tensor.index_select(move.dim, index))
                done.append(move)
    except BaseException as error:
        _apply([m._replace(source=m.source.argsort()) for m in reversed(done)])
        if isinstance(error, RuntimeError):
            name = moves[len(done)].name
            raise SpaceError(
                f"the values of {name!r} cannot be permuted: {str(error).splitlines()[0]}",
                expected="a tensor that can be written in place",
                fix="give it memory of its own, such as by tensor.clone(), before sorting",
            ) from error
        raise


def _deviation(
    before: list[Tensor], after: list[Tensor], free: Mapping[Size, Tensor] | None = None
) -> float:
    """Return the largest difference, relative to the largest result; NaN equals NaN.

    The items of the sizes in ``free`` may have changed places in the results.
    """
    largest = difference = 0.0
    for old, new in zip(before, after, strict=True):
        if old.numel():
            allowed = [old] + [
                old.index_select(dim, order.to(old.device))
                for size, order in (free or {}).items()
                for dim in range(old.dim())
                if old.shape[dim] == size.full and order.dim() == 1
            ]
            difference = max(difference, min(_difference(each, new) for each in allowed))
            largest = max(largest, float(old.double().abs().nan_to_num(0.0, 0.0, 0.0).max()))
    return difference / largest if largest else difference


def _difference(old: Tensor, new: Tensor) -> float:
    same = (old == new) | (old.isnan() & new.isnan())
    apart = (old.double() - new.double()).abs().masked_fill(same, 0.0)
    return float(apart.nan_to_num(nan=float("inf")).max())


def _deviates(sizes: Sequence[Size], deviation: float | None, work: _Work) -> SpaceError:
    names = ", ".join(repr(size.name) for size in sizes)
    return SpaceError(
        f"the model computes something else when the items of {names} change places: its results "
        f"deviate by {deviation:.1e}",
        expected=f"at most {work.tolerance:.1e} of the largest result",
        fix="give no scores of these sizes, or strict=False, which leaves them as they are; sizes "
        "of the results may move with permuted=[...]",
    )
