"""Correct the frozen network: number its blocks anew, and write its sizes into its config.

A model of transformers holds one ``config``, which all of its submodules share and which says how
it is built again. The frozen network is a copy with a config of its own, in which the numbers are
those of its tensors; the config of the original stays as it is.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from oneshot_core.errors import OneShotError
from oneshot_core.space import Patch

from .adapter import ROLES, Adapter, Role
from .adapting import Adapters, Found, Stack
from .expression import matching, number_of, parse, tensors_of
from .per_block import Link, PerBlock

__all__ = ["Correction", "attach", "detach", "quietly", "unsaid"]

_LOG = logging.getLogger(__name__)

ATTRIBUTE = "_oneshot_correction"
"""Where a module keeps its correction; freezing takes it off the copy."""
POSITION = "_oneshot_position"
"""Where a block keeps its position in the model as it was."""

ADVICE = (
    "it cannot be built again from its config, as from_pretrained does; "
    "oneshot.save_network(network, folder) saves it"
)


class Correction(Patch):
    """Stands on a module that an adapter is for, and corrects each copy that is frozen of it.

    Args:
        adapter: what knows the module.
        module: the module as it is, before any size is chosen.
        stacks: of blocks in the module, as paths from it.
    """

    def __init__(self, adapter: Adapter, module: nn.Module, stacks: Sequence[Stack] = ()) -> None:
        self.adapter = adapter
        self.numbers, _ = _numbers(adapter, module)
        self.told: set[str] = set()
        self.stacks = tuple(stack for stack in stacks if stack.lists)
        self.containers = [module.get_submodule(stack.path) for stack in self.stacks]
        self.links = [Link(container) for container in self.containers]
        config = getattr(module, "config", None)
        for stack, link in zip(self.stacks, self.links, strict=True):
            differing = _lists(config, stack)
            for name, items in differing.items():
                setattr(config, name, PerBlock(items, link))
            for number, path in enumerate(stack.blocks if differing else ()):
                module.get_submodule(path).__dict__[POSITION] = _Position(number)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for link, container in zip(self.links, self.containers, strict=True):
            link.container = container  # of the copied model, which the copied config lacks

    def finish(self, network: nn.Module) -> None:
        """Correct ``network``, the plain copy of the module on which this stands, in place."""
        for stack in self.stacks:
            blocks = list(network.get_submodule(stack.path)._modules.values())
            left = [block.__dict__.pop(POSITION, n) for n, block in enumerate(blocks) if block]
            for name in stack.lists:
                items = getattr(network.config, name, None)
                every = items.all_items() if isinstance(items, PerBlock) else items
                if every is not None and len(every) == len(stack.blocks):
                    setattr(network.config, name, [every[number] for number in left])
        _recount(network, self.adapter)
        reasons = self._write_numbers(network)
        new = [reason for reason in reasons if reason not in self.told]
        self.told.update(new)
        if new:
            _LOG.warning("%s: %s", "; ".join(new), ADVICE)

    def _write_numbers(self, network: nn.Module) -> list[str]:
        config = getattr(network, "config", None)
        if config is None or not self.adapter.config:
            return []
        numbers, reasons = _numbers(self.adapter, network)
        if numbers == self.numbers:
            return []
        for name, number in numbers.items():
            if number is not None:
                setattr(config, name, number)
        _shorten_stages(config)
        return [f"a frozen {type(network).__name__} has {reason}" for reason in reasons]


def attach(model: nn.Module, adapters: Adapters) -> None:
    """Let networks that are frozen from ``model`` be corrected; replaces what stood there.

    Must be called before sizes are chosen. Only an attribute is added, to each module that an
    adapter is for and that has blocks to be numbered or a config.

    Args:
        model: whose submodules the adapters were found for.
        adapters: of :func:`~oneshot_plugins.pretrained.adapting.find_adapters`.
    """
    for found in adapters.found:
        if found.adapter.config or found.adapter.blocks or found.adapter.follows:
            module = model.get_submodule(found.path)
            stacks = Adapters((Found("", found.adapter, found.name),)).stacks(module)
            # Not setattr: a module's own __setattr__ may have an opinion.
            module.__dict__[ATTRIBUTE] = Correction(found.adapter, module, stacks)


def detach(model: nn.Module) -> None:
    """Take back what :func:`attach` did."""
    for module in model.modules():
        correction = module.__dict__.pop(ATTRIBUTE, None)
        module.__dict__.pop(POSITION, None)
        if isinstance(correction, Correction):
            config = getattr(module, "config", None)
            for name in {name for stack in correction.stacks for name in stack.lists}:
                if isinstance(items := getattr(config, name, None), PerBlock):
                    setattr(config, name, items.all_items())


@contextmanager
def quietly() -> Iterator[None]:
    """Say nothing of networks that are frozen in this block, as where they are only tried."""

    def never(record: logging.LogRecord) -> bool:
        return False

    _LOG.addFilter(never)
    try:
        yield
    finally:
        _LOG.removeFilter(never)


def unsaid(network: nn.Module) -> list[str]:
    """Return what of a network its config does not say: why it cannot be built from the config.

    The class is built anew from a copy of the config, on the meta device, and compared. A network
    without a config, or of a class that does not take one, says nothing: that is one reason.

    Args:
        network: a plain model of transformers.

    Returns:
        One sentence for each tensor or reason, empty if the config says all.
    """
    config = getattr(network, "config", None)
    if config is None:
        return [f"a {type(network).__name__} has no config"]
    try:
        as_read = type(config).from_dict(copy.deepcopy(config).to_dict())
        with torch.device("meta"):
            built = type(network)(as_read)
    except Exception as error:  # whatever the constructor of somebody's class raises
        return [f"{type(network).__name__}(config) raises {type(error).__name__}: {error}"]
    here = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    there = {name: tuple(t.shape) for name, t in built.state_dict().items()}
    reasons = [f"{name} is missing in a network built anew" for name in here.keys() - there.keys()]
    reasons += [f"{name} is only in a network built anew" for name in there.keys() - here.keys()]
    reasons += [
        f"{name} has the shape {here[name]}, and {there[name]} in a network built anew"
        for name in here.keys() & there.keys()
        if here[name] != there[name]
    ]
    return sorted(reasons)


def _numbers(adapter: Adapter, network: nn.Module) -> tuple[dict[str, int | None], list[str]]:
    """Return config name -> number of ``network``, None if it is not one number; and why."""
    tensors = tensors_of(network)
    found = {role: _values(adapter, role, network, tensors) for role in ROLES}
    reasons: list[str] = []
    numbers: dict[str, int | None] = {}

    def number(name: str) -> int:
        values = found.get(name)  # type: ignore[call-overload]
        return values[0] if values else number_of(network, "", name)

    for name, text in adapter.config.items():
        if text.startswith("#"):
            numbers[name] = _count(network, text[1:]) or None  # a variant without such blocks
            continue
        parsed = parse(text)
        if not all(dim.tensor in tensors for dim in parsed.dims):
            continue
        used = [f.value for f in parsed.factors if isinstance(f.value, str)]
        several = [n for n in used if len(found.get(n, [])) > 1]  # type: ignore[call-overload]
        numbers[name] = None
        if several:
            reasons.append(f"{several[0]} sizes that differ, and the config has one {name}")
            continue
        try:
            numbers[name] = parsed.evaluate(lambda dim: tensors[dim.tensor].shape[dim.dim], number)
        except OneShotError:
            reasons.append(f"no whole number that {name} could be")
    for left, right in adapter.needs:
        try:
            a, b = (
                parse(t).evaluate(lambda d: tensors[d.tensor].shape[d.dim], number)
                for t in (left, right)
            )
        except OneShotError:
            a, b = 0, 1
        if a != b and not any(len(values) > 1 for values in found.values()):
            reasons.append(f"sizes for which {left} is not {right}")
    return numbers, reasons


def _values(
    adapter: Adapter, role: Role, network: nn.Module, tensors: Mapping[str, Any]
) -> list[int]:
    """Return the different values that a role has in ``network``, ascending."""
    values: set[int] = set()
    for text in adapter.seeds(role):
        parsed = parse(text)
        (dim,) = parsed.dims
        for name in matching(tensors, dim.tensor):
            length = tensors[name].shape[dim.dim]
            values.add(
                parsed.evaluate({dim: length}.__getitem__, partial(number_of, network, name))
            )
    return sorted(values)


def _count(network: nn.Module, path: str) -> int:
    return len(matching(dict(network.named_modules(remove_duplicate=False)), path))


def _lists(config: Any, stack: Stack) -> dict[str, list[Any]]:
    """Return the lists of a config that have an item for each block, and not all the same."""
    found = {name: getattr(config, name, None) for name in stack.lists}
    return {
        name: [*items]
        for name, items in found.items()
        if isinstance(items, (list, tuple))
        and len(items) == len(stack.blocks)
        and any(item != items[0] for item in items)
    }


def _shorten_stages(config: Any) -> None:
    """Take the stages of blocks that are gone out of a config that can be that of a backbone.

    Such a config counts its blocks when it is made, and refuses to be read with other names.
    """
    names, count = getattr(config, "stage_names", None), getattr(config, "num_hidden_layers", None)
    if isinstance(names, list) and isinstance(count, int) and len(names) > count + 1:
        config.stage_names = names[: count + 1]
        kept = [name for name in config.out_features if name in config.stage_names]
        config.set_output_features_output_indices(out_features=kept or None, out_indices=None)


def _recount(network: nn.Module, adapter: Adapter) -> None:
    modules = dict(network.named_modules(remove_duplicate=False))
    for pattern, said in adapter.follows.items():
        for path in matching(modules, pattern):
            for attribute, text in said.items():
                if isinstance(text, str) and text.startswith("#"):
                    modules[path].__dict__[attribute] = _count(modules[path], text[1:])


class _Position(Patch):
    """Stands on a block, and leaves on the frozen block which of the original ones it is."""

    def __init__(self, number: int) -> None:
        self.number = number

    def finish(self, network: nn.Module) -> None:
        network.__dict__[POSITION] = self.number
