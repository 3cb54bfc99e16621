"""How the original of a network is built anew: by its class and config, or by a function."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import nn

from oneshot_core.errors import CheckpointError, OneShotError

__all__ = ["Original", "SavingError", "original_of", "read_original"]

_NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_BUILDERS = re.compile(r"timm(\.models\._factory)?:create_model|torchvision\.models(\.\w+)*:[a-z]\w*")


class SavingError(OneShotError, RuntimeError):
    """A network cannot be described by the original that it was made of."""


@dataclass(frozen=True, slots=True)
class Original:
    """How a module is built.

    Args:
        target: ``"package.module:function"``, or a class of transformers.
        kwargs: what the function is called with, plain data.
        config: for a class of transformers: its config, plain data; else None.
        generation: for a class of transformers that generates: how; else None.
    """

    target: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    generation: Mapping[str, Any] | None = None

    def build(self, device: str) -> nn.Module:
        """Build it; on ``"meta"`` it has no values."""
        function = load(self.target)
        with torch.random.fork_rng(devices=[]), torch.device(device):
            if self.config is None:
                network = function(**self.kwargs)
            else:
                network = function(function.config_class.from_dict(dict(self.config)))
        if not isinstance(network, nn.Module):
            raise SavingError(
                f"{self.target!r} returned a {type(network).__name__}",
                expected="a function that returns the module",
                fix="name that function in build=",
            )
        if self.generation is not None:
            loaded: Any = network
            kind = type(loaded.generation_config)
            loaded.generation_config = kind.from_dict(dict(self.generation))
        return network

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        found: dict[str, Any] = {"target": self.target}
        if self.config is None:
            return {**found, "kwargs": dict(self.kwargs)}
        found["config"] = dict(self.config)
        return found if self.generation is None else {**found, "generation": dict(self.generation)}

    def require_trusted(self, trust: Collection[str], where: str) -> None:
        """Allow models of transformers, timm and torchvision, and what the caller trusts.

        Raises:
            CheckpointError: it is something else, or would fetch something.
        """
        if self.target in trust:
            return
        module, _, name = self.target.partition(":")
        if self.config is not None and module.split(".")[0] == "transformers":
            base = import_module("transformers").PreTrainedModel
            found = load(self.target)
            if isinstance(found, type) and issubclass(found, base):
                _require_local(self.config, where)
                return
        elif self.config is None and _BUILDERS.fullmatch(self.target):
            _require_local(self.kwargs, where)
            return
        raise CheckpointError(
            f"{where} names {self.target!r} to build the network with, which may do anything",
            expected="a model of transformers, timm or torchvision, or a function that you trust",
            fix=f"if you know the function, load_network(folder, trust=[{self.target!r}])",
        )

    def lines(self) -> tuple[str, str]:
        """Return the import and the expression that build it, for the file that loads it."""
        module, _, name = self.target.partition(":")
        root, *rest = name.split(".")
        function = ".".join(["original", *rest])
        if self.config is None:
            made = f'{function}(**recipe["original"]["kwargs"])'
        else:
            made = f'{function}({function}.config_class.from_dict(recipe["original"]["config"]))'
        return f"from {module} import {root} as original", made


def original_of(network: nn.Module, build: object) -> Original:
    """Return how the original of ``network`` is built.

    Args:
        network: the module to save.
        build: None where the network tells; ``"package.module:function"``; a pair of that and
            keyword arguments; a function that can be imported, or a ``functools.partial`` of one.

    Raises:
        SavingError: it cannot be told, or said in JSON.
    """
    if build is None:
        return _inferred(network)
    kwargs: Mapping[str, Any] = {}
    if isinstance(build, tuple) and len(build) == 2 and isinstance(build[1], Mapping):
        build, kwargs = build
    if isinstance(build, partial):
        if build.args:
            raise SavingError(
                f"build= is a partial with positional arguments, {build.args!r}",
                expected="keyword arguments, which say what they are",
                fix="name the arguments",
            )
        build, kwargs = build.func, {**build.keywords, **kwargs}
    target = build if isinstance(build, str) else _name_of(build)
    return Original(target, _plain(kwargs, f"the arguments of {target!r}"))


def read_original(found: object, where: str) -> Original:
    """Return what :meth:`Original.to_json` wrote.

    Raises:
        CheckpointError: it is something else.
    """
    keys = {"target", "kwargs"}, {"target", "config"}, {"target", "config", "generation"}
    if (
        isinstance(found, dict)
        and set(found) in keys
        and isinstance(found["target"], str)
        and _NAME.fullmatch(found["target"])
        and all(isinstance(found[key], dict) for key in set(found) - {"target"})
    ):
        return Original(**found)
    raise CheckpointError(
        f"{where} does not say how the original is built",
        expected="a target, and its arguments or its config",
        fix="save the network again, with oneshot.save_network",
    )


def load(target: str) -> Any:
    """Import what ``"package.module:name"`` names.

    Raises:
        SavingError: it cannot be imported, or is not called.
    """
    module, _, name = target.partition(":")
    try:
        found: Any = import_module(module) if _NAME.fullmatch(target) else None
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise SavingError(
            f"{target!r} cannot be imported: {error}",
            expected="'package.module:function'",
            fix="install the package, or put its folder on PYTHONPATH",
        ) from error
    if not callable(found):
        raise SavingError(
            f"{target!r} is a {type(found).__name__}",
            expected="a function or class",
            fix="correct the name",
        )
    return found


def _inferred(network: nn.Module) -> Original:
    known: Any = network
    module, name = type(network).__module__, type(network).__qualname__
    transformers = sys.modules.get("transformers")  # no import: it would be there already
    if transformers is not None and isinstance(network, transformers.PreTrainedModel):
        config = json.loads(known.config.to_json_string(use_diff=False))
        implementation = getattr(known.config, "_attn_implementation", None)
        if implementation is not None:
            config["attn_implementation"] = implementation
        generation = getattr(known, "generation_config", None)
        generates = None if generation is None else json.loads(generation.to_json_string(False))
        return Original(f"{module}:{name}", config=config, generation=generates)
    described = getattr(network, "pretrained_cfg", None)
    if module.split(".")[0] == "timm" and isinstance(described, Mapping):
        kwargs = {"model_name": described.get("architecture"), "pretrained": False}
        classes = getattr(network, "num_classes", None)
        return Original("timm:create_model", {**kwargs, "num_classes": classes})
    raise SavingError(
        f"a {name} of {module!r} does not say how it is built",
        expected="build=, for what is no model of transformers or timm: a function that returns "
        "the original",
        fix='for example save_network(net, folder, build=("torchvision.models:resnet18", '
        '{"num_classes": 10}))',
    )


def _name_of(function: Any) -> str:
    """Return the name by which ``function`` can be imported."""
    name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"
    why = "cannot be imported by name"
    if name.startswith("__main__:"):
        why = "is in the script that is run"
    elif _NAME.fullmatch(name):
        try:
            if load(name) is function:
                return name
        except SavingError as error:
            why = error.what
    raise SavingError(
        f"build= is {function!r}, which {why}",
        expected="a function in a module that can be imported",
        fix="move it into a module; the file that loads the network imports it from there",
    )


def _plain(kwargs: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return ``kwargs``, if JSON says the same."""
    try:
        found = json.loads(json.dumps(dict(kwargs), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        found = str(error)
    if found != dict(kwargs) or not isinstance(found, dict):
        raise SavingError(
            f"{what} cannot be written as JSON: {dict(kwargs)!r}",
            expected="numbers, texts, lists and dicts with texts as keys; no tuples",
            fix="build the network in a function of yours, which makes them of plain data",
        )
    return found


def _require_local(given: object, where: str) -> None:
    """Refuse arguments with which trusted functions would fetch or read something."""
    for key, value in _leaves(given):
        fetches = (
            (key == "pretrained" and value not in (False, None))
            or (key in ("checkpoint_path", "weights", "weights_backbone") and value not in (None, ""))
            or (key in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir") and value is not None)
            or (key == "model_name" and (":" in str(value) or "/" in str(value)))
            or (key.endswith("_implementation") and not re.fullmatch(r"\w*", str(value)))
        )
        if fetches:
            raise CheckpointError(
                f"{where} builds the network with {key}={value!r}, which fetches something",
                expected="a network that is built from its description alone",
                fix="do not load this folder; or save it again without that argument",
            )


def _leaves(given: object, key: str = "") -> Any:
    if isinstance(given, Mapping):
        for name, value in given.items():
            yield str(name), value if not isinstance(value, (Mapping, list)) else None
            yield from _leaves(value, str(name))
    elif isinstance(given, list):
        for value in given:
            yield from _leaves(value, key)
    else:
        yield key, given


Builder = Callable[..., nn.Module]
