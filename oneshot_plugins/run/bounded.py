"""Configuration files are as large as they look: aliases cannot make gigabytes of some lines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from .folder import RunError

LARGEST = 20_000
"""So many values a file may stand for, once each alias is replaced by what it names."""


def require_bounded(text: str, name: str) -> None:
    """Refuse YAML whose aliases stand for too many values, or for themselves.

    Args:
        text: of a file or an argument. What is no YAML is left to whoever reads it.
        name: of the file, or the beginning of the text, for messages.

    Raises:
        RunError: it stands for more than :data:`LARGEST` values, or is nested too deeply.
    """
    if "*" not in text:
        return  # no alias: it is as large as it looks
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        size = _size(root, {})
    except yaml.YAMLError:
        return
    except RecursionError:
        raise nested_too_deeply(name) from None
    if size > LARGEST:
        raise RunError(
            f"{name!r} stands for {'endlessly many' if math.isinf(size) else f'{size:,.0f}'} "
            "values: aliases (*name) repeat what they name",
            expected=f"a configuration of at most {LARGEST:,} values",
            fix="take out the aliases, or the file if you do not know who wrote it",
        )


def nested_too_deeply(name: str) -> RunError:
    """Return the error about a file that nests deeper than Python can follow."""
    return RunError(
        f"{name!r} cannot be read: it is nested too deeply",
        expected="a configuration as LightningCLI takes it",
        fix="correct the file",
    )


def _size(node: Any, known: dict[int, float]) -> float:
    """Return how many values a node stands for; infinity if it is inside itself."""
    if id(node) not in known:
        known[id(node)] = float("inf")  # until it is known: met again, it is inside itself
        inside: list[Any] = []
        if isinstance(node, yaml.SequenceNode):
            inside = node.value
        elif isinstance(node, yaml.MappingNode):
            inside = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_size(part, known) for part in inside)
    return known[id(node)]


@contextmanager
def bounded_yaml() -> Iterator[None]:
    """Let jsonargparse look at all YAML it reads, such as files that a configuration names."""
    before = get_loader("yaml")

    def load(stream: str) -> Any:
        require_bounded(stream, stream[:60])
        return before(stream)

    set_loader("yaml", load, (yaml.YAMLError,))
    try:
        yield
    finally:
        set_loader("yaml", before, (yaml.YAMLError,))


__all__ = ["LARGEST", "bounded_yaml", "nested_too_deeply", "require_bounded"]
