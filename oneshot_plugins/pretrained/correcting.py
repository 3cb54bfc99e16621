"""Correct the frozen network: number its blocks anew, and write its sizes into its config.

A model of transformers holds one ``config``, which all of its submodules share and which says how
it is built again. The frozen network is a copy with a config of its own, in which the numbers are
those of its tensors; the config of the original stays as it is.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from oneshot_core.errors import OneShotError
from oneshot_core.space import Patch

from .adapter import ROLES, Adapter, Blocks, Role
from .adapting import Adapters
from .expression import matching, number_of, parse, tensors_of

__all__ = ["Correction", "attach", "unsaid"]

_LOG = logging.getLogger(__name__)

ATTRIBUTE = "_oneshot_correction"
"""Where a module keeps its correction; freezing takes it off the copy."""

ADVICE = (
    "a folder that save_pretrained writes would not be loaded by from_pretrained; "
    "oneshot.save_network(network, folder) writes one that can be loaded"
)


class Correction(Patch):
    """Stands on a module that an adapter is for, and corrects each copy that is frozen of it.

    Args:
        adapter: what knows the module.
        module: the module as it is, before any size is chosen.
    """

    def __init__(self, adapter: Adapter, module: nn.Module) -> None:
        self.adapter = adapter
        self.numbers, _ = _numbers(adapter, module)
        self.counts = {said.path: _count(module, said.path) for said in adapter.blocks}
        self.told: set[str] = set()

    def finish(self, network: nn.Module) -> None:
        """Correct ``network``, the plain copy of the module on which this stands, in place."""
        for said in self.adapter.blocks:
            if _count(network, said.path) != self.counts[said.path]:
                _shorten_lists(network, said, self.counts[said.path])
            _renumber(network, said)
        _recount(network, self.adapter)
        reasons = self._write_numbers(network)
        new = [reason for reason in reasons if reason not in self.told]
        self.told.update(new)
        if new:
            _LOG.warning("%s, which its config cannot say: %s", "; ".join(new), ADVICE)

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
        return [f"a frozen {type(network).__name__} has {reason}" for reason in reasons]


def attach(model: nn.Module, adapters: Adapters) -> None:
    """Let networks that are frozen from ``model`` be corrected; replaces what stood there.

    Must be called before sizes are chosen. Only an attribute is added, to each module that an
    adapter is for and that has blocks to be numbered or a config.

    Args:
        model: whose submodules the adapters were found for.
        adapters: of :func:`~oneshot_plugins.pretrained.adapting.find_adapters`.
    """
    for path, adapter, _ in adapters.found:
        if adapter.config or adapter.blocks:
            module = model.get_submodule(path)
            # Not setattr: a module's own __setattr__ may have an opinion.
            module.__dict__[ATTRIBUTE] = Correction(adapter, module)


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
    here = {name: tuple(t.shape) for name, t in tensors_of(network).items()}
    there = {name: tuple(t.shape) for name, t in tensors_of(built).items()}
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
            shown = ", ".join(map(str, found[several[0]]))  # type: ignore[index]
            reasons.append(f"{shown} as {name}, not one number")
            continue
        try:
            numbers[name] = parsed.evaluate(lambda dim: tensors[dim.tensor].shape[dim.dim], number)
        except OneShotError as error:
            reasons.append(f"no whole number for {name} ({error.what})")
    for left, right in adapter.needs:
        try:
            a, b = (
                parse(t).evaluate(lambda d: tensors[d.tensor].shape[d.dim], number)
                for t in (left, right)
            )
        except OneShotError:
            a, b = 0, 1
        if a != b and not any(len(values) > 1 for values in found.values()):
            reasons.append(f"sizes in which {left} is not {right}")
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


def _blocks(network: nn.Module, said: Blocks) -> list[nn.Module]:
    modules = dict(network.named_modules(remove_duplicate=False))
    return [modules[path] for path in matching(modules, said.path)]


def _shorten_lists(network: nn.Module, said: Blocks, count: int) -> None:
    """Keep the items of the blocks that are left, of lists in the config."""
    config = getattr(network, "config", None)
    if config is None or not said.lists:
        return
    left = [_index(block, said.index[0]) for block in _blocks(network, said)]
    for name in said.lists:
        items = getattr(config, name, None)
        if isinstance(items, (list, tuple)) and len(items) == count:
            setattr(config, name, [items[number] for number in left])


def _index(block: nn.Module, attribute: str) -> int:
    *path, name = attribute.split(".")
    number: int = getattr(block.get_submodule(".".join(path)), name)
    return number


def _recount(network: nn.Module, adapter: Adapter) -> None:
    modules = dict(network.named_modules(remove_duplicate=False))
    for pattern, said in adapter.follows.items():
        for path in matching(modules, pattern):
            for attribute, text in said.items():
                if isinstance(text, str) and text.startswith("#"):
                    modules[path].__dict__[attribute] = _count(modules[path], text[1:])


def _renumber(network: nn.Module, said: Blocks) -> None:
    for number, block in enumerate(_blocks(network, said)):
        for attribute in said.index:
            *path, name = attribute.split(".")
            for place in matching(
                [p for p, _ in block.named_modules(remove_duplicate=False)], ".".join(path)
            ):
                module = block.get_submodule(place)
                if name in module.__dict__:
                    module.__dict__[name] = number
