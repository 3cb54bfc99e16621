"""Blocks that can be skipped: which they are, what is wanted, and how they become optional."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from oneshot_core.errors import SpaceError

from ..elastic.optional import make_optional
from .adapting import Adapters, Stack
from .blocks import block_importance
from .feeding import observing
from .inputs import Call
from .naming import glob_of
from .plan import Depth, plain_class
from .sizes import Wanted, check_wanted

__all__ = ["apply_depth", "plan_depth", "stacks_of", "stacks_of_paths"]

_LAYERS_OF_TORCH = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


def stacks_of(model: nn.Module, adapters: Adapters, call: Call) -> list[Stack]:
    """Return the stacks of ``model``: those that adapters declare, else those that are found.

    Found are lists of at least two modules of one class that have submodules, and of which each is
    called once and returns what is like its first argument.

    Args:
        model: it is called once, in eval mode, unless an adapter knows its stacks.
        adapters: of the model.
        call: what it is called with.
    """
    if declared := adapters.stacks(model):
        return declared
    groups: list[list[str]] = []
    for path, module in model.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential):
            continue
        same: dict[type, list[str]] = defaultdict(list)
        for name, block in module.named_children():
            if _may_be_block(block):
                same[type(block)].append(f"{path}.{name}".lstrip("."))
        groups += [paths for paths in same.values() if len(paths) > 1]
    changed = _changing(model, list(chain.from_iterable(groups)), call)
    stacks = []
    for paths in groups:
        optional = tuple(path for path in paths if path not in changed)
        if optional:
            holder = paths[0].rpartition(".")[0]
            stacks.append(Stack(holder, tuple(paths), optional, None, (), (), ""))
    return stacks


def stacks_of_paths(
    model: nn.Module, adapters: Adapters, paths: Sequence[str], call: Call | None
) -> list[Stack]:
    """Return the stacks of the blocks that the user named.

    Args:
        model: the model; it is called once if ``call`` is given.
        adapters: of the model; what they say about these blocks counts.
        paths: of blocks.
        call: what the model is called with, to see whether blocks can be skipped.

    Raises:
        SpaceError: a block must stay, or changes the shape of its argument.
    """
    declared = adapters.stacks(model)
    groups: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        groups[path.rpartition(".")[0]].append(path)
    stacks = []
    for holder, blocks in groups.items():
        known = next((stack for stack in declared if stack.path == holder), None)
        if known is None:
            every = [f"{holder}.{n}".lstrip(".") for n, _ in _get(model, holder).named_children()]
            stacks.append(Stack(holder, tuple(every), tuple(blocks), None, (), (), ""))
            continue
        if must_stay := [path for path in blocks if path not in known.optional]:
            raise SpaceError(
                f"{must_stay[0]!r} cannot be skipped, says {known.name}",
                expected=f"blocks of {', '.join(known.optional)}",
                fix="name only these",
            )
        stacks.append(replace(known, optional=tuple(blocks)))
    if call is not None:
        unknown = [p for stack in stacks if not stack.name for p in stack.optional]
        for path, why in _changing(model, unknown, call).items():
            raise SpaceError(
                f"the block {path!r} of {plain_class(model)} cannot be skipped: {why}",
                expected="a block whose result has the shape of its first argument",
                fix="leave it out, as in oneshot.optional(net, 'layer2.[1-9]')",
            )
    return stacks


def plan_depth(
    model: nn.Module,
    stacks: Sequence[Stack],
    wanted: Wanted,
    ratios: Sequence[float],
    *,
    per_layer: bool,
    label: str = "depth",
    batches: Iterable[Any] | None = None,
) -> tuple[Depth, ...]:
    """Decide which selections of blocks can be chosen.

    Which blocks run at a number of blocks is decided by their importance where there are
    ``batches``, and else so that those that are skipped lie evenly among the others.

    Args:
        model: the model.
        stacks: its blocks.
        wanted: ratios of the number of blocks, numbers of blocks, or True for ``ratios``.
        ratios: see above.
        per_layer: whether each block has a choice of its own, yes or no.
        label: of the one choice of a stack; several stacks have their paths before it.
        batches: what the model is called with, to measure the importance of blocks.

    Raises:
        SpaceError: there are not so many blocks, or fewer stay than must.
    """
    check_wanted("depth", wanted)
    found = []
    for stack in stacks:
        optional = stack.optional
        if per_layer:
            if len(optional) == len(stack.blocks):
                optional = optional[1:]  # the first one stays: a stack is never empty
            if optional:
                found.append(Depth(optional, optional, {}))
            continue
        own = label if len(stacks) == 1 else f"{stack.path}.{label}".lstrip(".")
        counts = _counts(stack, wanted, ratios)
        if len(counts) > 1:
            kept = _kept(model, stack, counts, batches)
            found.append(Depth((own,), optional, kept))
    return tuple(found)


def apply_depth(model: nn.Module, stacks: Sequence[Stack], depth: Sequence[Depth]) -> None:
    """Make the blocks of ``depth`` optional, in place."""
    by_block = {path: stack for stack in stacks for path in stack.blocks}
    for one in depth:
        stack = by_block[one.blocks[0]]
        positions = {path: number for number, path in enumerate(one.blocks)}
        kept = {count: [positions[p] for p in paths] for count, paths in one.kept.items()}
        make_optional(
            model,
            one.blocks,
            label=one.labels[0] if kept else None,
            kept=kept or None,
            names=None if kept else one.labels,
            give=stack.give,
            index=stack.index,
        )


def _counts(stack: Stack, wanted: Wanted, ratios: Sequence[float]) -> list[int]:
    """Return the numbers of blocks that can run, ascending; all of them is the last."""
    total, least = len(stack.blocks), len(stack.blocks) - len(stack.optional)
    values = ratios if wanted is None or isinstance(wanted, bool) else wanted
    if any(isinstance(value, float) for value in values):
        counts = {min(total, max(least, 1, int(total * ratio + 0.5))) for ratio in values}
        return sorted(counts | {total})
    for value in values:
        if not max(least, 1) <= value <= total:
            raise SpaceError(
                f"depth holds {value}, and {glob_of(stack.blocks)} has {total} blocks, of which "
                f"{least} must run",
                expected=f"numbers from {max(least, 1)} to {total}",
                fix="correct depth=, or give ratios (floats)",
            )
    return sorted({int(value) for value in values} | {total})


def _kept(
    model: nn.Module, stack: Stack, counts: Sequence[int], batches: Iterable[Any] | None
) -> dict[int, tuple[str, ...]]:
    optional = stack.optional
    always = len(stack.blocks) - len(optional)
    found: dict[int, tuple[str, ...]] = {}
    measured = None
    if batches is not None:
        measured = block_importance(model, optional, batches, give=stack.give)
    for count in counts:
        free = count - always
        places = evenly(len(optional), free) if measured is None else measured.best(free)
        found[count] = tuple(optional[place] for place in places)
    return found


def evenly(total: int, count: int) -> tuple[int, ...]:
    """Return ``count`` positions out of ``total`` that lie evenly, the first among them.

    >>> evenly(6, 3), evenly(6, 4)
    ((0, 2, 5), (0, 2, 3, 5))
    """
    if count == 0:
        return ()
    if count == 1:
        return (0,)
    return tuple(round(number * (total - 1) / (count - 1)) for number in range(count))


def _may_be_block(block: nn.Module) -> bool:
    """Say whether a module may have a residual connection: parts, and a forward of its own."""
    if isinstance(block, _LAYERS_OF_TORCH):
        return True
    ours = type(block).__module__.startswith("torch.nn")
    return not ours and not isinstance(block, nn.Sequential) and any(block.children())


def _changing(model: nn.Module, paths: Sequence[str], call: Call) -> dict[str, str]:
    """Return path -> why a block cannot be skipped, found by one call of the model."""
    if not paths:
        return {}
    seen: dict[str, list[str]] = {path: [] for path in paths}
    handles = []
    for path in paths:

        def hook(block: nn.Module, args: Any, kwargs: Any, result: Any, path: str = path) -> None:
            seen[path].append(_unlike((*args, *kwargs.values()), result))

        handles.append(_get(model, path).register_forward_hook(hook, with_kwargs=True))
    try:
        with observing(model), torch.no_grad():
            model(*call.args, **call.kwargs)
    finally:
        for handle in handles:
            handle.remove()
    why = {path: reasons or ["it is never called"] for path, reasons in seen.items()}
    return {path: next(filter(None, r)) for path, r in why.items() if any(r)}


def _unlike(given: Sequence[Any], result: Any) -> str:
    """Return how the result of a block differs from its first argument; empty if it does not."""
    if not given or not isinstance(given[0], Tensor):
        return "its first argument is no tensor"
    first = result[0] if isinstance(result, tuple) and result else result
    if not isinstance(first, Tensor):
        return f"it returns a {type(result).__name__}"
    if first.shape != given[0].shape or first.dtype != given[0].dtype:
        return f"it is given {_shown(given[0])}, and returns {_shown(first)}"
    return ""


def _shown(tensor: Tensor) -> str:
    return f"{'x'.join(map(str, tensor.shape))} {str(tensor.dtype).removeprefix('torch.')}"


def _get(model: nn.Module, path: str) -> nn.Module:
    return model.get_submodule(path)
