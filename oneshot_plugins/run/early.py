"""What has to be known of a configuration before it is read: the strategy, and which Lightning."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from oneshot_core.cli.parser import Parser
from oneshot_core.lightning.kit import HOME, Tree, tree_in

from .bounded import nested_too_deeply, require_bounded
from .folder import RunError

SECTIONS = ("model", "data")


def strategy_of(arguments: Sequence[str]) -> str:
    """Return the strategy that arguments and their configuration files name; the last counts.

    Asked before anything else is read: a strategy's options come from its class.
    """
    parser = Parser("oneshot search", add_help=False, allow_abbrev=False)
    parser.add_argument("-c", "--config", action=_Named, dest="strategy", default="random")
    parser.add_argument("--search", action=_Named, dest="strategy")
    parser.add_argument("--search.strategy", "--search.help", nargs="?", dest="strategy")
    known, _ = parser.parse_known_args(arguments)
    return str(known.strategy or "random")


def lightning_of(arguments: Sequence[str]) -> Tree:
    """Return the Lightning that the model is of, or the data; imports both.

    What cannot be imported counts for nothing: LightningCLI says what is wrong with it.

    Raises:
        RunError: they are of different ones.
    """
    parser = Parser("oneshot search", add_help=False, allow_abbrev=False)
    parser.add_argument("-c", "--config", action=_Classes, dest="found", default={})
    for section in SECTIONS:
        parser.add_argument(
            f"--{section}",
            f"--{section}.class_path",
            action=_Classes,
            dest="found",
            metavar=section,
        )
    known, _ = parser.parse_known_args(arguments)
    classes = {section: _class(known.found.get(section)) for section in SECTIONS}
    trees = {section: cls and tree_in(cls) for section, cls in classes.items()}
    model, data = trees.values()
    if model and data and model != data:
        name = known.found["data"].rpartition(".")[2]
        raise RunError(
            f"the data {known.found['data']} are of {data}, the model {known.found['model']} of "
            f"{model}",
            expected=f"one Lightning everywhere, here {model}",
            fix=f"take {name}, or what it derives from, from {model}",
        )
    return model or data or HOME


def _class(path: str | None) -> type | None:
    """Return the class that a path leads to, or that what it leads to says it returns."""
    home, _, name = (path or "").rpartition(".")
    try:
        found = getattr(import_module(home), name)
        if not isinstance(found, type):
            found = get_type_hints(found).get("return")
    except Exception:  # whatever the user's module raises
        return None
    return found if isinstance(found, type) else None


def _read(values: str) -> Any:
    """Return what a file, or a text, holds; None if it cannot be read.

    Raises:
        RunError: it stands for too many values, or is nested too deeply.
    """
    name = values[:60]
    try:
        text = Path(values).read_text("utf-8") if _is_file(values) else values
        require_bounded(text, name)
        return yaml.safe_load(text)
    except RunError:
        raise
    except RecursionError:
        raise nested_too_deeply(name) from None
    except (OSError, ValueError, yaml.YAMLError):
        return None  # LightningCLI says what is wrong with it


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # a text too long for a name
        return False


class _Classes(argparse.Action):
    """Looks for the paths of classes, in the section that is asked for, or in all of a file."""

    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        read = _read(values)
        found = dict(namespace.found)
        sections = read if self.metavar is None else {self.metavar: read}
        for section in SECTIONS if isinstance(sections, dict) else ():
            said = sections.get(section)
            if isinstance(said, str) and _is_file(said):
                said = _read(said)
            path = said.get("class_path") if isinstance(said, dict) else said
            if isinstance(path, str):
                found[section] = path.replace(":", ".")
        namespace.found = found


class _Named(argparse.Action):
    """Looks into a file, or a text, for the name of the strategy."""

    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        found = _read(values)
        section = found
        if option_string != "--search":
            section = found.get("search") if isinstance(found, dict) else None
        if isinstance(section, dict) and "strategy" in section:
            setattr(namespace, self.dest, section["strategy"])
