"""What is different in a network from the original that it was made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .originals import SavingError

__all__ = ["Differences", "compare"]

_INTERNAL = frozenset(vars(nn.Module())) | {
    # Notes of transformers to itself about how the weights were loaded.
    "_is_hf_initialized",
    "_weight_conversions",
    "_use_kernels",
    "name_or_path",
    "warnings_issued",
}
_HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip


@dataclass(slots=True)
class Differences:
    """What turns the original into the network, as plain data.

    Args:
        blocks: path of a list of modules -> name of a module -> its name in the original.
        identities: paths of modules that an ``nn.Identity`` has taken the place of.
        attributes: path of a module -> attribute -> value.
        missing: names of tensors that the network is without.
    """

    blocks: dict[str, dict[str, str]] = field(default_factory=dict)
    identities: list[str] = field(default_factory=list)
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


class _Same:
    """Whether values of a network and of its original mean the same.

    Args:
        pairs: modules of the network -> their counterparts.
    """

    def __init__(self, pairs: Mapping[nn.Module, nn.Module]) -> None:
        self.pairs = pairs
        self.tensors = {
            id(t): other._parameters.get(name, other._buffers.get(name))
            for module, other in pairs.items()
            for name, t in [*module._parameters.items(), *module._buffers.items()]
            if t is not None
        }
        self.looking: set[tuple[int, int]] = set()

    def __call__(self, a: Any, b: Any) -> bool:
        if a is b:
            return True
        if isinstance(a, nn.Module):
            return self.pairs.get(a) is b
        if type(a) is not type(b) and not isinstance(a, Tensor):
            return False
        key = id(a), id(b)
        if key in self.looking:  # in a circle: equal unless something else says otherwise
            return True
        self.looking.add(key)
        try:
            return self._equal(a, b)
        finally:
            self.looking.discard(key)

    def _equal(self, a: Any, b: Any) -> bool:
        if isinstance(a, Tensor):
            if id(a) in self.tensors:
                return self.tensors[id(a)] is b
            return (
                isinstance(b, Tensor)
                and not (a.is_meta or b.is_meta)
                and (a.shape, a.dtype) == (b.shape, b.dtype)
                and torch.equal(a, b.to(a.device))
            )
        if isinstance(a, Mapping):
            return a.keys() == b.keys() and all(self(a[k], b[k]) for k in a)
        if isinstance(a, (list, tuple)):
            return len(a) == len(b) and all(map(self, a, b))
        if isinstance(a, partial):
            return self((a.func, a.args, a.keywords), (b.func, b.args, b.keywords))
        if isinstance(a, MethodType):
            return a.__func__ is b.__func__ and self(a.__self__, b.__self__)
        if isinstance(a, FunctionType):
            cells = [
                tuple(c.cell_contents for c in f.__closure__ or ()) for f in (a, b)
            ]
            return a.__code__ == b.__code__ and self(a.__defaults__, b.__defaults__) and self(*cells)
        if hasattr(a, "to_dict") and hasattr(a, "from_dict"):  # configs of transformers
            return bool(a.to_dict() == b.to_dict())
        if type(a).__eq__ is not object.__eq__:
            try:
                return bool(a == b)
            except Exception:  # numpy arrays and the like: no single answer
                return False
        return hasattr(a, "__dict__") and self(vars(a), vars(b))


def compare(network: nn.Module, original: nn.Module) -> Differences:
    """Return what turns ``original`` into ``network``, apart from the values of tensors.

    ``original`` loses the blocks that the network does not have.

    Raises:
        SavingError: something is different that a file of plain data cannot say.
    """
    found = Differences()
    _match(network, original, "", found)
    pairs = {}
    for path, module in network.named_modules(remove_duplicate=False):
        if path not in found.identities:
            pairs[module] = original.get_submodule(path)
    same = _Same(pairs)
    for path, module in network.named_modules():
        if path in found.identities:
            continue
        other = original.get_submodule(path)
        _require_equal_hooks(module, other, path)
        if changed := _attributes(module, other, path, same):
            found.attributes[path] = changed
        found.missing += _missing(module, other, path)
    return found


def _match(network: nn.Module, original: nn.Module, path: str, found: Differences) -> None:
    """Find the counterpart of every module; take away blocks that have none."""
    if _class_of(network) != _class_of(original):
        if type(network) is nn.Identity and path:
            parent, _, name = path.rpartition(".")
            found.identities.append(path)
            return
        raise SavingError(
            f"{path or 'the network'!r} is a {_described(network)}, and a {_described(original)} in "
            "the original",
            expected="modules of the same classes",
            fix="freeze the network first if it is a search or elastic; or let build= name a "
            "function that builds it with these modules",
        )
    own, others = network._modules, original._modules
    names = _names(own, others, path)
    if names != {name: name for name in others}:
        found.blocks[path] = names
        original._modules = {name: others[old] for name, old in names.items()}
    for name, child in own.items():
        counterpart = original._modules[name]
        if (child is None) != (counterpart is None):
            raise SavingError(
                f"{_join(path, name)!r} is there in only one of the network and the original",
                expected="the modules of the original, or an nn.Identity in their place",
                fix="let build= name a function that builds the network with these modules",
            )
        if child is not None and counterpart is not None:
            _match(child, counterpart, _join(path, name), found)


def _names(
    own: Mapping[str, nn.Module | None], others: Mapping[str, nn.Module | None], path: str
) -> dict[str, str]:
    """Return which module of the original each module of the network is."""
    counted = list(own) == [str(i) for i in range(len(own))] and len(own) < len(others)
    if not counted and set(own) <= set(others):
        return {name: name for name in own}
    if not counted or list(others) != [str(i) for i in range(len(others))]:
        raise SavingError(
            f"{path or 'the network'!r} has the modules {sorted(set(own) - set(others))}, which "
            "the original does not have",
            expected="no other modules than those of the original",
            fix="let build= name the function that the network comes from, with its arguments",
        )
    blocks, originals = list(own.values()), list(others.values())
    # Blocks that are left have moved up. Of those that could be it, the most similar is.
    spare = len(originals) - len(blocks)
    best: list[dict[int, tuple[int, tuple[int, ...]]]] = [{-1: (0, ())}]
    for i, block in enumerate(blocks):
        row = {}
        for j in range(i, i + spare + 1):
            before = [best[-1][k] for k in best[-1] if k < j]
            if before:
                cost, chosen = min(before, key=lambda one: one[0])
                row[j] = cost + _distance(block, originals[j]), (*chosen, j)
        best.append(row)
    chosen = min(best[-1].values(), key=lambda one: one[0])[1]
    return {str(i): str(j) for i, j in enumerate(chosen)}


def _distance(block: nn.Module | None, other: nn.Module | None) -> int:
    """Count what is different in two blocks."""
    if block is None or other is None:
        return 0 if block is other else 1_000_000
    if _class_of(block) != _class_of(other):
        return 100 if type(block) is nn.Identity else 10_000
    plain = {k: v for k, v in vars(block).items() if k not in _INTERNAL and _is_plain(v)}
    attributes = sum(vars(other).get(name, other) != value for name, value in plain.items())
    if block._modules.keys() != other._modules.keys():
        return attributes + 1_000
    return attributes + sum(
        _distance(child, other._modules[name]) for name, child in block._modules.items()
    )


def _attributes(module: nn.Module, other: nn.Module, path: str, same: _Same) -> dict[str, Any]:
    """Return the attributes that are different, in a form that JSON can say."""
    changed = {}
    own, others = vars(module), vars(other)
    for name in sorted((own.keys() | others.keys()) - _INTERNAL):
        if name in own and name in others and same(own[name], others[name]):
            continue
        where = f"the attribute {name!r} of {path or 'the network'!r}"
        if name not in own:
            raise SavingError(
                f"{where} is there only in the original",
                expected="the attributes of the original",
                fix="let build= name a function that builds the network without it",
            )
        if not _is_plain(own[name]) or name.startswith("__"):
            raise SavingError(
                f"{where} is {str(own[name])[:80]!r}, a {type(own[name]).__name__}, and "
                + ("another one in the original" if name in others else "not in the original"),
                expected="numbers, texts, None, and lists, tuples and dicts of them, where the "
                "network is different from the original",
                fix="let build= name a function that builds the network with this attribute",
            )
        changed[name] = _encoded(own[name])
    return changed


def _missing(module: nn.Module, other: nn.Module, path: str) -> list[str]:
    missing = []
    for own, others in [
        (module._parameters, other._parameters), (module._buffers, other._buffers)
    ]:  # fmt: skip
        for name in own.keys() | others.keys():
            tensor, original = own.get(name), others.get(name)
            if tensor is not None and original is None:
                raise SavingError(
                    f"the original has no tensor {_join(path, name)!r}",
                    expected="no other tensors than those of the original",
                    fix="let build= name a function that builds the network with this tensor",
                )
            if tensor is None and original is not None:
                missing.append(_join(path, name))
    return sorted(missing)


def _require_equal_hooks(module: nn.Module, other: nn.Module, path: str) -> None:
    for kind in _HOOKS:
        own, others = (
            [getattr(hook, "__qualname__", type(hook).__qualname__) for hook in hooks.values()]
            for hooks in (getattr(module, kind), getattr(other, kind))
        )
        if own != others:
            raise SavingError(
                f"{path or 'the network'!r} has hooks, {', '.join(own) or 'none'}, and the "
                f"original has {', '.join(others) or 'none'}",
                expected="the same hooks: a file of plain data cannot hold functions",
                fix="remove them before saving, and register them after loading",
            )


def _class_of(module: nn.Module) -> object:
    """Return the class; parametrized modules have one each, so the class that it is made of."""
    kind = type(module)
    if parametrize.is_parametrized(module):
        return kind.__name__, kind.__bases__
    return kind


def _described(module: nn.Module) -> str:
    return f"{type(module).__name__} of {type(module).__module__!r}"


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_is_plain, value.values()))
    if type(value) in (list, tuple, torch.Size):
        return all(map(_is_plain, value))  # type: ignore[call-overload]
    if type(value) is float:
        return value == value and abs(value) != float("inf")
    return value is None or type(value) in (bool, int, str)


def _encoded(value: Any) -> Any:
    """Return plain data as JSON can say it: ``{"tuple": [...]}`` and ``{"dict": {...}}``."""
    if isinstance(value, dict):
        return {"dict": {key: _encoded(inner) for key, inner in value.items()}}
    if isinstance(value, tuple):
        return {"tuple": [_encoded(inner) for inner in value]}
    return [_encoded(inner) for inner in value] if isinstance(value, list) else value


def _join(path: str, name: str) -> str:
    return f"{path}.{name}".lstrip(".")


def tensors_of(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield all parameters and buffers under each of their names."""
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)
