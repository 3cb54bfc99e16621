"""How a saved network is made of the original and of what is different in it.

``save_network`` copies the source of :func:`rebuild` into the file that loads a network without
this package. So the function needs nothing but torch.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["rebuild"]


def rebuild(network: Any, recipe: Any, tensors: Any) -> Any:
    """Turn the original ``network`` into the saved one, in place, and return it in eval mode."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            (kind, inner), *_ = value.items()
            return (
                tuple(map(plain, inner))
                if kind == "tuple"
                else {k: plain(v) for k, v in inner.items()}
            )
        return list(map(plain, value)) if isinstance(value, list) else value

    def place(name: str) -> Any:
        parent, _, attribute = name.rpartition(".")
        return network.get_submodule(parent), attribute

    for path, names in recipe["blocks"].items():  # the name of a block -> its name in the original
        parent = network.get_submodule(path)
        old = dict(parent._modules)
        parent._modules = {name: old[original] for name, original in names.items()}
    for path in recipe["identities"]:
        setattr(*place(path), torch.nn.Identity())
    for path, values in recipe["attributes"].items():
        for name, value in values.items():
            setattr(network.get_submodule(path), name, plain(value))
    kept: dict[str, Any] = {}
    for name, key in recipe["tensors"].items():  # the key in the file; tied tensors have the same
        module, attribute = place(name)
        if key not in kept and attribute in module._parameters:
            kept[key] = torch.nn.Parameter(tensors[key], key not in recipe["without_gradient"])
        setattr(module, attribute, kept.setdefault(key, tensors[key]))
    for name in recipe["missing"]:
        setattr(*place(name), None)
    return network.eval()
