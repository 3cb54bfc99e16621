"""``torch.nn`` with choices in the place of arguments.

``oneshot_core.nn.Conv2d(3, width, kernel_size=3)`` is a layer of which the number of output
channels is to be chosen if ``width`` is a value (:func:`oneshot_core.choice`, or computed from
one); else it *is* ``torch.nn.Conv2d(3, width, kernel_size=3)``. Every layer of the installed
``torch.nn`` has such a twin, made when it is first asked for; everything else, such as
``Sequential``, ``Module``, ``Parameter`` or ``functional``, is that of ``torch.nn``. So
``import oneshot_core.nn as nn`` can stand where ``from torch import nn`` stood.
"""

from __future__ import annotations

from typing import Any

import torch.nn

from .activation import activation
from .layer import MutableLayer, mutable
from .rule import LayerRule

__all__ = ["LayerRule", "MutableLayer", "activation", "mutable"]

_AS_THEY_ARE = (
    torch.nn.Sequential,
    torch.nn.ModuleList,
    torch.nn.ModuleDict,
    torch.nn.ParameterList,
    torch.nn.ParameterDict,
    torch.nn.modules.lazy.LazyModuleMixin,
)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    thing = getattr(torch.nn, name)
    if (
        isinstance(thing, type)
        and issubclass(thing, torch.nn.Module)
        and thing is not torch.nn.Module
        and not issubclass(thing, _AS_THEY_ARE)
    ):
        thing = mutable(thing)
    globals()[name] = thing
    return thing


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(torch.nn)})
