"""Find the choices that together decide how often a tensor is in a network.

A table adds up parts, and a tensor that several parts hold would be counted in each. How much that
is depends on the choices of all of these parts together, and on those around them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from torch import Tensor, nn

from oneshot_core import BaseSuperNetModule


def labels_of_shared_tensors(root: nn.Module) -> list[tuple[str, ...]]:
    """Return, for tensors in more than one part of ``root``, the labels that decide about them.

    A part is what belongs to a supernet module and to none below it; what is in no supernet module
    is a part, too. Each result is the labels of the parts that hold one tensor, and of what is
    around these. Results that are in another one are left out.
    """
    regions = _regions(root)
    above: dict[nn.Module, set[nn.Module]] = {}
    for owner, (_, nested) in regions.items():
        for module in nested:
            above.setdefault(module, set()).add(owner)
    holders: dict[int, dict[nn.Module, None]] = {}
    for owner, (tensors, _) in regions.items():
        for tensor in tensors:
            holders.setdefault(id(tensor), {})[owner] = None
    found: dict[frozenset[str], tuple[str, ...]] = {}
    for owners in holders.values():
        around = list(_upwards(owners, above))
        if len(owners) == 1 and all(len(above.get(module, ())) < 2 for module in around):
            continue  # in one place
        labels = tuple(dict.fromkeys(chain.from_iterable(map(_labels, around))))
        found[frozenset(labels)] = labels
    return [labels for key, labels in found.items() if not any(key < other for other in found)]


def _regions(root: nn.Module) -> dict[nn.Module, tuple[list[Tensor], list[nn.Module]]]:
    """Return part -> its own tensors, and the supernet modules next below it."""
    regions: dict[nn.Module, tuple[list[Tensor], list[nn.Module]]] = {}
    owners = [root]
    while owners:
        owner = owners.pop()
        if owner in regions:
            continue
        tensors: list[Tensor] = []
        nested: list[nn.Module] = []
        seen: set[nn.Module] = set()
        stack = [owner]
        while stack:
            module = stack.pop()
            if module in seen:
                continue
            seen.add(module)
            if module is not owner and isinstance(module, BaseSuperNetModule):
                nested.append(module)
                continue
            own = (*module._parameters.values(), *module._buffers.values())
            tensors += [tensor for tensor in own if tensor is not None]
            stack += module.children()
        regions[owner] = (tensors, nested)
        owners += nested
    return regions


def _upwards(
    modules: Iterable[nn.Module], above: dict[nn.Module, set[nn.Module]]
) -> Iterator[nn.Module]:
    stack, seen = list(modules), set[nn.Module]()
    while stack:
        module = stack.pop()
        if module not in seen:
            seen.add(module)
            yield module
            stack += above.get(module, ())


def _labels(module: nn.Module) -> Iterator[str]:
    if isinstance(module, BaseSuperNetModule):
        yield from module.search_space_spec()
        for condition, _ in module.gates():
            yield from condition.specs


__all__ = ["labels_of_shared_tensors"]
