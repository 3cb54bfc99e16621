"""The parser of a configuration: what jsonargparse knows, and functions that are objects."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Union, get_args, get_origin

from pytorch_lightning.cli import LightningArgumentParser
from torch import Tensor


class SearchParser(LightningArgumentParser):
    """Reads ``class_path`` and ``init_args`` of a callable class wherever a function is wanted.

    jsonargparse takes ``Callable[..., Tensor]`` for a recipe of tensors and wants a subclass of
    Tensor. It asks a parser of the same class about what is nested.
    """

    def _add_signature_parameter(
        self, container: Any, nested_key: str | None, param: Any, *args: Any, **kwargs: Any
    ) -> None:
        param = replace(param, annotation=without_tensors(param.annotation))
        super()._add_signature_parameter(container, nested_key, param, *args, **kwargs)


def without_tensors(annotation: Any) -> Any:
    """Return a type hint with functions that return tensors as plain callables."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Callable:
        return Callable if _mentions(arguments[-1], Tensor) else annotation
    changed = tuple(without_tensors(a) if get_args(a) else a for a in arguments)
    if changed == arguments:
        return annotation
    if isinstance(annotation, types.UnionType):
        return Union[changed]  # noqa: UP007 - a tuple
    return (
        annotation.copy_with(changed)
        if hasattr(annotation, "copy_with")
        else get_origin(annotation)[changed]
    )


def _mentions(annotation: Any, cls: type) -> bool:
    return annotation is cls or any(_mentions(a, cls) for a in get_args(annotation))
