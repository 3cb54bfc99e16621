"""The plain copy of a model in which everything is chosen; see ``architecture.freeze``."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

from torch import fx, nn

from .errors import FreezeError
from .space.mutable import MutableModule
from .space.patch import Patch
from .space.spec import Choice
from .supernet import BaseSuperNetModule


def plain_copy(root: nn.Module, chosen: Mapping[str, Choice], *, fresh: bool) -> nn.Module:
    """Return a copy of ``root`` that computes ``chosen``; with ``fresh``, with new weights.

    Raises:
        FreezeError: a module cannot be copied, or not initialised anew.
    """
    frozen = _Freezer(root, chosen).freeze(root)
    if fresh:
        _reset(frozen)  # before classes that know how to initialise themselves become graphs
    return _without_plugin_classes(frozen)


class _Gone:
    """Stands for an attribute of ours on a user's module, until it is taken off the copy."""

    def __init__(self, patch: Patch) -> None:
        self.patch = patch


class _Freezer:
    """Copies what is chosen, in one pass.

    ``copy.deepcopy`` already copies each object once and keeps sharing, through its memo.
    Before the root is copied, every choice is entered there with the copy of what replaces
    it, innermost first; so unchosen candidates are never touched.
    """

    def __init__(self, root: nn.Module, chosen: Mapping[str, Choice]) -> None:
        self.chosen = chosen
        self.paths = {module: path for path, module in root.named_modules()}
        self.memo: dict[int, object] = {}
        self.slices: dict[object, nn.Parameter] = {}
        self.ready: set[nn.Module] = set()

    def freeze(self, root: nn.Module) -> nn.Module:
        self.prepare(root)
        frozen = self.copy(root, "")
        for path, module in frozen.named_modules():
            if isinstance(module, (MutableModule, BaseSuperNetModule)):
                raise FreezeError(
                    f"a {type(module).__name__} is left at {path!r} of the frozen network",
                    expected="every choice in the submodules of the model",
                    fix="register the choice as a submodule of what uses it",
                )
        for module in reversed(list(frozen.modules())):  # inner ones first
            gone = {n: value for n, value in module.__dict__.items() if isinstance(value, _Gone)}
            for name in gone:
                del module.__dict__[name]
            for each in gone.values():
                each.patch.finish(module)
        return frozen

    def prepare(self, module: nn.Module) -> None:
        """Enter the choices at and below ``module`` into the memo."""
        if module in self.ready:
            return
        self.ready.add(module)
        for value in module.__dict__.values():
            if isinstance(value, Patch):
                self.memo[id(value)] = _Gone(value)
        if not isinstance(module, (MutableModule, BaseSuperNetModule)):
            for child in module.children():
                self.prepare(child)
            return
        replacement = self.select(module)
        self.tie(replacement)
        self.prepare(replacement)
        self.memo[id(module)] = self.copy(replacement, self.paths.get(module, ""))

    def copy(self, module: nn.Module, path: str) -> nn.Module:
        """Return a copy of ``module``, which stands at ``path``, with what is in the memo."""
        try:
            return copy.deepcopy(module, self.memo)
        except (TypeError, RuntimeError, AttributeError, pickle.PicklingError) as error:
            raise FreezeError(
                f"the {type(module).__name__} at {path!r} cannot be copied: {error}",
                expected="modules that copy.deepcopy takes, tensors in parameters and buffers",
                fix="keep handles, locks and the like out of it, or give it a __deepcopy__",
            ) from error

    def tie(self, module: nn.Module) -> None:
        """Let parameters that were cut in the same way from one parameter be one again."""
        for part in module.modules():
            for name, parameter in part._parameters.items():
                origin = getattr(parameter, "_oneshot_slice", None)
                if parameter is not None and origin is not None:
                    part._parameters[name] = self.slices.setdefault(origin, parameter)

    def select(self, module: MutableModule | BaseSuperNetModule) -> nn.Module:
        if isinstance(module, BaseSuperNetModule):
            return module.select(
                {label: self.chosen[label] for label in module.search_space_spec()}
            )
        path = self.paths[module]
        chosen = {spec.label: self.chosen[spec.label] for spec in module.specs_at(path)}
        return module.select_at(path, chosen)


def _without_plugin_classes(root: nn.Module) -> nn.Module:
    """Replace the modules that have a method ``when_frozen(path)`` by what this method returns.

    A plugin writes the method for modules whose class a frozen network must not need. Only the
    outermost modules are asked, for their replacement holds the inner ones; a shared module is
    asked once. The root comes last, after the modules that it holds.
    """
    replaced: dict[nn.Module, nn.Module] = {}
    for path, parent in list(root.named_modules()):
        if _is_replaced(parent):
            continue  # it is a part of the replacement of the module that held it
        for name, child in parent._modules.items():
            if child is not None and _is_replaced(child):
                if child not in replaced:
                    replaced[child] = _when_frozen(child, f"{path}.{name}".lstrip("."))
                parent._modules[name] = replaced[child]
    for module in root.modules():
        calls = module.__dict__.get("forward")  # of a chain of blocks, see Repeat.select_at
        if isinstance(calls, fx.GraphModule):
            calls._modules.update({name: module._modules[name] for name in calls._modules})
    return _when_frozen(root, "") if _is_replaced(root) else root


def _is_replaced(module: nn.Module) -> bool:
    return hasattr(type(module), "when_frozen")


def _when_frozen(module: Any, path: str) -> nn.Module:
    plain: nn.Module = module.when_frozen(path)
    return plain


def _reset(module: nn.Module) -> None:
    # Children first, as constructors do it: a parent may initialise its children its own way.
    for path, part in reversed(list(module.named_modules())):
        reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        if callable(reset):
            reset()
        elif part._parameters and any(p is not None for p in part._parameters.values()):
            raise FreezeError(
                f"{type(part).__name__} at {path!r} cannot be initialised anew",
                expected="a method reset_parameters() on every module with own parameters",
                fix="write one, or freeze a newly built model with weights='inherit'",
            )
