"""The parser of a configuration: what jsonargparse knows, and functions that are objects."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Union, get_args, get_origin

from pytorch_lightning import Callback
from pytorch_lightning.cli import LightningArgumentParser
from torch import Tensor

from oneshot_core.lightning.kit import HOME, tree_in


class SearchParser(LightningArgumentParser):
    """Reads ``class_path`` and ``init_args`` of a callable class wherever a function is wanted.

    jsonargparse takes ``Callable[..., Tensor]`` for a recipe of tensors and wants a subclass of
    Tensor. It asks a parser of the same class about what is nested. With ``lightning.pytorch``,
    callbacks that are written on ``pytorch_lightning``, as ours, are read as well.
    """

    def _add_signature_parameter(
        self, container: Any, nested_key: str | None, param: Any, *args: Any, **kwargs: Any
    ) -> None:
        def known(part: Any) -> Any:
            if get_origin(part) is Callable and _mentions(get_args(part)[-1], Tensor):
                return Callable
            return Union[part, Callback] if part is own else part  # noqa: UP007 - not a type

        tree = tree_in(type(self)) or HOME
        own = None if tree == HOME else tree.own(Callback)
        param = replace(param, annotation=_changed(param.annotation, known))
        super()._add_signature_parameter(container, nested_key, param, *args, **kwargs)


def _changed(annotation: Any, change: Callable[[Any], Any]) -> Any:
    """Return a type hint with each of its parts as ``change`` returns it."""
    arguments = get_args(annotation)
    found = change(annotation)
    if found is not annotation or get_origin(annotation) is Callable:
        return found
    changed = tuple(_changed(argument, change) for argument in arguments)
    if changed == arguments:
        return annotation
    if isinstance(annotation, types.UnionType):
        return Union[changed]  # noqa: UP007 - a tuple
    if hasattr(annotation, "copy_with"):
        return annotation.copy_with(changed)
    return get_origin(annotation)[changed]


def _mentions(annotation: Any, cls: type) -> bool:
    return annotation is cls or any(_mentions(a, cls) for a in get_args(annotation))
