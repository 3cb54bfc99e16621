"""``python -m tools.nn_stubs``: write the types of :mod:`oneshot_core.nn` from the installed torch.

The twins of ``torch.nn`` are made when they are first asked for, which no type checker can see. So
their constructors are written down once: those of the plain classes, with a value allowed wherever
plain data is. ``--check`` writes nothing and fails if the file is not what would be written.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import types
import typing
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Union

import torch.nn

from oneshot_core import nn as onn

TARGET = Path(__file__).parent.parent / "oneshot_core/nn/__init__.pyi"
HEADER = '''\
"""``torch.nn`` with choices in the place of arguments, for type checkers.

Written by ``python -m tools.nn_stubs`` from torch {version}; do not edit.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ..space.value import Value
from oneshot_plugins.elastic.activation import activation as activation
from oneshot_plugins.elastic.layer import MutableLayer as MutableLayer
from oneshot_plugins.elastic.layer import mutable as mutable
from oneshot_plugins.elastic.rule import LayerRule as LayerRule
'''
SCALARS = (int, float, bool, str)


def main() -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(prog="python -m tools.nn_stubs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    text = stub()
    if parser.parse_args().check:
        return int(TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    return 0


def stub() -> str:
    """Return the whole file."""
    names = public_names()
    with warnings.catch_warnings():  # torch says what it will drop some day
        warnings.simplefilter("ignore", FutureWarning)
        twins = [name for name in names if is_twin(getattr(onn, name))]
    others = [name for name in names if name not in twins]
    imports = [f"from torch.nn import {name} as {name}" for name in others]
    classes = [line for name in twins for line in class_lines(name)]
    version = ".".join(torch.__version__.split("+")[0].split(".")[:2])
    return "\n".join([HEADER.format(version=version) + "\n".join(imports), "", *classes])


def public_names() -> list[str]:
    """Return what ``torch.nn`` offers, beside what it imported for itself."""
    return sorted(
        name
        for name in dir(torch.nn)
        if not name.startswith("_") and is_of_torch(getattr(torch.nn, name))
    )


def is_of_torch(thing: object) -> bool:
    home = thing.__name__ if inspect.ismodule(thing) else getattr(thing, "__module__", "")
    return str(home).startswith("torch")


def is_twin(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, onn.MutableLayer)


def class_lines(name: str) -> Iterator[str]:
    """Yield the lines of one twin."""
    plain = getattr(torch.nn, name)
    base = f"torch.nn.{name}"
    if getattr(plain, "__parameters__", ()):  # generic
        base += f"[{', '.join('Any' for _ in plain.__parameters__)}]"
    if plain.__init__ is torch.nn.Module.__init__:
        yield f"class {name}({base}): ..."
        yield ""
        return
    parameters = list(constructor(plain))
    yield f"class {name}({base}):"
    yield "    def __init__("
    yield "        self,"
    for parameter in parameters:
        yield f"        {parameter},"
    yield "    ) -> None: ..."
    yield ""


def constructor(plain: type) -> Iterator[str]:
    """Yield the parameters of a constructor as they are written, without ``self``."""
    function: Callable[..., Any] = plain.__init__  # type: ignore[misc]
    hints = typing.get_type_hints(function)
    keyword_only = False
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        like_default = type(parameter.default) if type(parameter.default) in SCALARS else Any
        accepted = accepting(hints.get(parameter.name, like_default))
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            keyword_only = True
            yield f"*{parameter.name}: {accepted}"
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            yield f"**{parameter.name}: {accepted}"
        else:
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not keyword_only:
                keyword_only = True
                yield "*"
            default = "" if parameter.default is inspect.Parameter.empty else " = ..."
            yield f"{parameter.name}: {accepted}{default}"


def accepting(hint: Any) -> str:
    """Return a type as text, with values allowed for plain data and in tuples of it."""
    parts = dict.fromkeys(_members(hint))
    if parts.keys() & {"int", "float", "bool", "str"} or any(
        part.startswith(("tuple[", "Sequence[", "Literal[")) for part in parts
    ):
        parts["Value"] = None
    none = parts.pop("None", 1) is None
    return " | ".join([*parts, *(["None"] if none else [])])


def _members(hint: Any) -> Iterator[str]:
    """Yield the types of a union, each as text."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        for arg in args:
            yield from _members(arg)
    elif hint is type(None):
        yield "None"
    elif hint in SCALARS:
        yield hint.__name__
    elif origin is tuple:
        inner = ["..." if arg is ... else accepting(arg) for arg in args]
        yield f"tuple[{', '.join(inner)}]"
    elif origin is list:
        yield f"Sequence[{accepting(args[0])}]"
    elif origin is Literal:
        yield f"Literal[{', '.join(map(repr, args))}]"
    elif isinstance(hint, type) and hint.__module__.startswith("torch"):
        yield _name_of(hint)
    elif origin is not None and getattr(origin, "__name__", "") == "Callable":
        yield "Callable[..., Any]"
    else:
        yield "Any"


def _name_of(cls: type) -> str:
    if cls is torch.Tensor:
        return "Tensor"
    for home in ("torch", "torch.nn"):
        if getattr(sys.modules[home], cls.__name__, None) is cls:
            return f"{home}.{cls.__name__}"
    return "Any"


if __name__ == "__main__":
    sys.exit(main())
