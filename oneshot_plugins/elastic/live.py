"""What a layer with choices is to whoever looks at it: the layer that it computes.

A parent may read its child's tensors and sizes instead of calling it, as
``nn.TransformerEncoderLayer`` does in evaluation mode. While a network is computed, such a read
gives what the layer of that architecture has; at other times it gives all of a tensor, which is
what optimizers, initialisation and checkpoints are about.

Settings, such as ``eps`` or ``padding``, may be changed after construction, as those of a plain
layer. They are compared with what was built, and handed to the layers that are computed and frozen.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn

from oneshot_core.errors import SpaceError
from oneshot_core.space import Patch, Value

if TYPE_CHECKING:
    from .layer import MutableLayer

Settings = dict[tuple[str, str], Any]
"""(Path of a submodule, name of its attribute) -> value."""
_OF_EVERY_MODULE = {*nn.Module().__dict__, "_parameters", "_buffers", "_modules"}
_MISSING = object()


class Live(nn.Module):
    """A layer with choices, or what stands in its place in a supernet.

    Its ``__dict__`` holds ``_built``, what was set when it was built, and ``_varying``, the
    attributes that follow from the architecture, each as it is in the largest layer.
    """

    def elastic(self) -> MutableLayer:
        """Return the layer with choices that this is, or that it stands for."""
        raise NotImplementedError

    def shown(self) -> nn.Module | None:
        """Return the template of the layer that is computed at present; None for all of it."""
        return None

    def whole(self, name: str, tensor: Tensor) -> Tensor:
        """Return what is read of ``tensor`` where no single part of it is computed with."""
        return tensor

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        if "_varying" not in own:  # it is being built
            return super().__getattr__(name)
        template = self.shown()
        if template is not None:
            return _read(self.elastic(), template, name)
        if name in own["_varying"]:
            return own["_varying"][name]
        found = super().__getattr__(name)
        return self.whole(name, found) if isinstance(found, Tensor) else found

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if "_varying" in own:
            if name in own["_varying"]:
                self._refuse(
                    f"{name}={value!r} was set, which its choices decide",
                    "settings that are the same for all architectures",
                    f"give {name} to the constructor, as a number or a choice",
                )
            for table in ("_parameters", "_buffers"):
                kept = own[table].get(name)
                if kept is not None and getattr(value, "shape", None) != kept.shape:
                    what = type(value).__name__ if value is None else tuple(value.shape)
                    self._refuse(
                        f"its {name} was exchanged for {what}",
                        f"a tensor of all that is stored, {tuple(kept.shape)}",
                        "freeze the network first, or give bias=False and the like to the "
                        "constructor",
                    )
        super().__setattr__(name, value)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        self._refuse_tensor(name)
        super().register_parameter(name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        self._refuse_tensor(name)
        super().register_buffer(name, tensor, persistent)

    def _refuse_tensor(self, name: str) -> None:
        own = self.__dict__
        if "_varying" not in own or name in own["_parameters"] or name in own["_buffers"]:
            return
        self._refuse(
            f"a further tensor {name!r} was registered",
            "the tensors that it was built with, for its parts are cut from those",
            "apply weight_norm, spectral_norm, pruning and the like to the frozen network, or to "
            "layers without choices",
        )

    def _refuse(self, what: str, expected: str, fix: str) -> NoReturn:
        name = self.elastic().layer_class.__name__
        raise SpaceError(f"a {name} with choices was changed: {what}", expected=expected, fix=fix)


def refuse_parametrization(cls: type, layer_class: type) -> None:
    """Refuse the subclass that ``torch.nn.utils.parametrize`` makes.

    Raises:
        SpaceError: ``cls`` is one.
    """
    if not cls.__name__.startswith("Parametrized"):
        return
    raise SpaceError(
        f"a {layer_class.__name__} with choices was given a parametrization, such as weight_norm, "
        "spectral_norm or orthogonal of torch.nn.utils",
        expected="the tensors that it was built with, for its parts are cut from those",
        fix="parametrize the frozen network, or layers without choices",
    )


def _read(layer: MutableLayer, template: nn.Module, name: str) -> Any:
    """Return the attribute of the layer that ``template`` stands for, with data."""
    found = getattr(template, name, _MISSING)
    if found is _MISSING:  # not an attribute of the plain layer
        return nn.Module.__getattr__(layer, name)
    if isinstance(found, Tensor):
        return layer.part(template)[name]
    if isinstance(found, nn.Module):
        return _with_data(found, layer.part(template), f"{name}.")
    return found


def _with_data(template: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> nn.Module:
    """Return a module like ``template`` that holds those of ``tensors`` below ``prefix``."""
    twin: nn.Module = copy.copy(template)
    for table in ("_parameters", "_buffers"):
        held = twin.__dict__[table]
        twin.__dict__[table] = {name: tensors.get(prefix + name) for name in held}
    twin.__dict__["_modules"] = {
        name: None if child is None else _with_data(child, tensors, f"{prefix}{name}.")
        for name, child in twin._modules.items()
    }
    return twin


def snapshot(module: nn.Module) -> Settings:
    """Return what is set on ``module`` and below, to be compared with later."""
    return {key: copy.deepcopy(v) if _is_plain(v) else v for key, v in _settings(module)}


def changed(module: nn.Module, built: Settings, varying: Mapping[str, Any]) -> Settings:
    """Return what is set otherwise than in ``built``, or set although it follows from choices."""
    found = {}
    for key, value in _settings(module):
        before = built.get(key, _MISSING)
        if value is before or (_is_plain(value) and _is_plain(before) and value == before):
            continue
        path, name = key
        if before is not _MISSING or not name.startswith("_") or (not path and name in varying):
            found[key] = value
    return found


def varying(templates: list[nn.Module], layer: nn.Module) -> dict[str, Any]:
    """Return the public attributes that differ between templates, as ``layer`` has them."""
    first, *others = templates
    return {
        name: value
        for (path, name), value in _settings(layer)
        if not path
        and not name.startswith("_")
        and not hasattr(type(layer), name)
        and any(t.__dict__.get(name, _MISSING) != first.__dict__.get(name) for t in others)
    }


def apply_settings(settings: Settings, layer: nn.Module, *, keep: bool) -> None:
    """Set ``settings`` on a plain layer, and take back what was set on it before.

    Args:
        settings: from :func:`changed`.
        layer: a template.
        keep: whether it is used again, so that what it had is to be remembered on it.
    """
    before: Settings = layer.__dict__.get("_oneshot_before", {})
    if not settings and not before:
        return
    modules = dict(layer.named_modules())
    for (path, name), value in before.items():
        if value is _MISSING:
            modules[path].__dict__.pop(name, None)
        else:
            modules[path].__dict__[name] = value
    kept: Settings = {}
    for (path, name), value in settings.items():
        if path in modules:
            kept[path, name] = modules[path].__dict__.get(name, _MISSING)
            modules[path].__dict__[name] = value
    if keep:
        layer.__dict__["_oneshot_before"] = kept


def apply_modes(module: nn.Module, layer: nn.Module) -> None:
    """Set the modes of a plain layer, and of what is in it, to those of ``module``."""
    layer.training = module.training
    if layer._modules:
        modes = {path: part.training for path, part in module.named_modules()}
        for path, part in layer.named_modules():
            part.training = modes.get(path, module.training)


def _settings(module: nn.Module) -> Iterator[tuple[tuple[str, str], Any]]:
    for path, part in module.named_modules() if module._modules else (("", module),):
        for name, value in part.__dict__.items():
            if name in _OF_EVERY_MODULE or name in _OURS or isinstance(value, (Patch, Value)):
                continue
            if not _holds_tensors(value):
                yield (path, name), value


_OURS = {
    "_arguments", "_specs", "_rule", "_plans", "_largest", "_built", "_varying", "_decisions",
    "layer", "_oneshot_before",
}  # fmt: skip


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_holds_tensors, value))
    if isinstance(value, dict):
        return any(map(_holds_tensors, value.values()))
    return isinstance(value, (Tensor, nn.Module)) or type(value).__module__ == "weakref"


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple, set)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, (bool, int, float, str, torch.dtype, torch.device))
