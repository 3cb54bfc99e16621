"""Several sizes at once: what a module with weighted candidates computes.

Superposing a module over sizes is defined as the weighted sum of its outputs, every feature in the
place that it has in the largest of them, and zero where a smaller one has none. What is affine in
its tensors takes one pass, with the weighted sum of tensors that are zero outside of each part.
Norms take one pass for each size, since they average over the features that are present. Whatever
else there is is refused before training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from oneshot_core.decision import Decision
from oneshot_core.errors import StrategyError
from oneshot_plugins.supernets.joint import joint

from .cutting import check_length, compact, cut
from .layout import Extents, Layout, Plan, Setting
from .skipping import KEY, computing
from .supernet import _Weighted

_AFFINE: tuple[type[nn.Module], ...] = (
    nn.Linear, nn.Bilinear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d,
    nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Embedding,
)  # fmt: skip
_TRAILING: tuple[type[nn.Module], ...] = (nn.LayerNorm, nn.RMSNorm)
_INSTANCE: dict[type[nn.Module], int] = {
    nn.InstanceNorm1d: 2,
    nn.InstanceNorm2d: 3,
    nn.InstanceNorm3d: 4,
}
"""Class -> number of dimensions of an input without a batch."""
_NORMS: tuple[type[nn.Module], ...] = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm, *_INSTANCE,
    *_TRAILING,
)  # fmt: skip


def is_mixed(module: nn.Module) -> bool:
    """Say whether ``module`` is computed with several sizes at once at present."""
    own = module.__dict__
    decisions = own.get("_decisions")
    return bool(decisions) and own[KEY].setting(decisions) is None and computing()


def is_affine(plain: type[nn.Module], layout: Layout) -> bool:
    """Say whether the output of a module is affine in all its tensors together."""
    if layout.linear:
        return True
    for cls in _AFFINE:
        if issubclass(plain, cls):
            return plain.forward is cls.forward
    return False


def is_norm(plain: type[nn.Module]) -> bool:
    """Say whether a class is one of torch's norms."""
    return any(issubclass(plain, cls) and plain.forward is cls.forward for cls in _NORMS)


def require_mixable(
    module: nn.Module, plain: type[nn.Module], decisions: Sequence[Decision], path: str
) -> None:
    """Refuse to weight candidates where the result would be no sum of networks.

    Raises:
        StrategyError: they are to be weighted, and cannot be.
    """
    layout: Layout = module.__dict__[KEY]
    weighted = [d.superposes and d.spec.size > 1 for d in decisions]
    why = None
    if any(weighted[: len(layout.specs)]):
        if not layout.tensors:
            why = "what follows its sizes are not its tensors but its attributes"
        elif not (is_affine(plain, layout) or is_norm(plain)):
            why = "it is not known to be affine in its tensors, as torch's linear layers are"
        elif getattr(module, "max_norm", None) is not None:
            why = "max_norm changes its table"
    depth = layout.depth
    if depth is not None:
        for vote, superposed in zip(depth.votes, weighted[len(layout.specs) :], strict=True):
            if superposed and len(vote.about) > 1:
                why = f"the choice {vote.label!r} is about {len(vote.about)} blocks at once"
    if why is not None:
        raise StrategyError(
            f"the {plain.__name__} at {path!r} cannot be superposed: {why}",
            expected="sizes of linear layers, convolutions, embeddings and norms, or blocks that "
            "are chosen one by one, for a strategy that weights candidates",
            fix="use a strategy that samples, such as 'random' or 'sandwich'; give paths of "
            "modules that are affine in their tensors as make_elastic(..., linear=[...])",
        )


def settings(module: nn.Module) -> list[tuple[Setting, Tensor | None]]:
    """Return the settings that take part at present, each with its weight."""
    layout: Layout = module.__dict__[KEY]
    decisions = module.__dict__["_decisions"][: len(layout.specs)]
    return [
        (tuple(chosen[spec.label] for spec in layout.specs), weight)  # type: ignore[misc]
        for chosen, weight in joint(decisions)
    ]


def largest_plan(module: nn.Module) -> Plan:
    """Return the plan of the largest value of each size that takes part at present."""
    layout: Layout = module.__dict__[KEY]
    decisions: Sequence[Decision] = module.__dict__["_decisions"]
    largest: list[Any] = [
        max(active.candidate for active in decision.active())  # type: ignore[type-var]
        for decision in decisions[: len(layout.specs)]
    ]
    return layout.plan(tuple(largest))


def weighted_tensor(module: nn.Module, name: str, full: Tensor) -> Tensor:
    """Return the weighted sum of the parts of a tensor that take part at present.

    As large as the largest of them. Of a norm, which no sum of tensors stands for, all of the
    tensor, to be looked at and not computed with.
    """
    layout: Layout = module.__dict__[KEY]
    if not is_affine(type(module)._oneshot_plain, layout):  # type: ignore[attr-defined]
        return full.as_subclass(_Weighted)
    extents = layout.tensors[name]
    check_length(full, extents, name)
    plan = largest_plan(module)
    total: Tensor | None = None
    # Over all sizes of the module, though the tensor may depend on fewer: so the gradient of each
    # weight is that of the sum of networks.
    for setting, weight in settings(module):
        mask = _mask(extents, layout.plan(setting).values, plan, full)
        term = mask if weight is None else weight.to(mask.dtype) * mask
        total = term if total is None else total + term
    assert total is not None
    part = compact(cut(full, extents, plan.cuts[name], plan.values), full)
    return part * total


def _mask(extents: Extents, values: Any, plan: Plan, full: Tensor) -> Tensor:
    """Return 1 where a tensor is within the part of ``values`` and 0 elsewhere, by broadcasting.

    Its dimensions are those of the part of ``plan``, or 1.
    """
    mask = torch.ones([1] * len(extents), dtype=full.dtype, device=full.device)
    for dim, extent in enumerate(extents):
        if extent is not None:
            inside = _inside(extent, values, plan, full)
            mask = mask * inside.reshape([-1 if d == dim else 1 for d in range(len(extents))])
    return mask


def _inside(extent: Any, values: Any, plan: Plan, like: Tensor) -> Tensor:
    inside = torch.zeros(extent.full, dtype=like.dtype, device=like.device)
    inside[extent.kept(values).to(like.device)] = 1
    part: Tensor = extent.cut(inside, 0, plan.values)
    return part


def weighted_norm(module: nn.Module, plain: type[nn.Module], x: Tensor) -> Tensor:
    """Return the weighted sum of what a norm computes at each of its sizes."""
    layout: Layout = module.__dict__[KEY]
    largest = largest_plan(module)
    extents = next(iter(layout.tensors.values()))
    first = -len(extents) if issubclass(plain, _TRAILING) else 1
    if any(issubclass(plain, cls) and x.dim() == dims for cls, dims in _INSTANCE.items()):
        first = 0  # without a batch
    total: Tensor | None = None
    for setting, weight in settings(module):
        values = layout.plan(setting).values
        kept = [
            None if e is None else _inside(e, values, largest, x.detach()).nonzero().flatten()
            for e in extents
        ]
        dims = [(first + d) % x.dim() for d in range(len(extents))]
        narrow = x
        for dim, index in zip(dims, kept, strict=True):
            narrow = narrow if index is None else narrow.index_select(dim, index)
        layout.override = setting
        try:
            output = plain.forward(module, narrow)
        finally:
            layout.override = None
        for dim, index in zip(dims, kept, strict=True):
            if index is not None and len(index) < x.shape[dim]:
                shape = list(output.shape)
                shape[dim] = x.shape[dim]
                output = output.new_zeros(shape).index_copy(dim, index, output)
        term = output if weight is None else weight * output
        total = term if total is None else total + term
    assert total is not None
    return total
