"""Numbers that follow sizes, written as short texts: ``"query.weight:0 / attention_head_size"``.

A text is a product and quotient of three things, and at most one power at its end:

- a whole number: ``3``;
- the length of a dimension of a tensor: ``query.weight:0`` is the number of rows of
  ``query.weight``;
- a whole number that a module holds: ``attention_head_size``.

Operators stand between spaces: ``"3 * c_proj.weight:0"``, ``"weight:1 ** 0.5"``. Paths are relative
to one module. A ``*`` in a path stands for a name or a part of one, as in
``encoder.layer.*.attention``, and never for a dot. Nothing is ever evaluated as Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final, NamedTuple

from torch import nn

from oneshot_core.errors import PluginError

__all__ = [
    "Dim",
    "Expression",
    "Factor",
    "Parsed",
    "fits",
    "matching",
    "number_of",
    "parse",
    "tensors_of",
]

_NAME = r"[A-Za-z_]\w*(?:\.\w+)*"
_OPERAND: Final = re.compile(
    rf"(?P<path>[\w*]+(?:\.[\w*]+)*):(?P<dim>\d+)|(?P<number>\d+)|(?P<name>{_NAME})"
)
_POWER: Final = re.compile(r"\s\*\*\s+(-?\d+(?:\.\d+)?)\s*$")


class Dim(NamedTuple):
    """A dimension of a tensor: its dotted name, in which ``*`` stands for one name, and which."""

    tensor: str
    dim: int

    def __str__(self) -> str:
        return f"{self.tensor}:{self.dim}"


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor of an expression: a number, a dimension, or the name of a number.

    Args:
        value: which.
        divides: whether the expression is divided by it.
    """

    value: int | Dim | str
    divides: bool = False


@dataclass(frozen=True, slots=True)
class Parsed:
    """A text as factors, from left to right.

    Args:
        text: as it was written.
        factors: at least one.
        power: what the product is raised to; 1 where the text names none.
    """

    text: str
    factors: tuple[Factor, ...]
    power: float = 1

    @property
    def dims(self) -> tuple[Dim, ...]:
        """The dimensions of tensors that it names, in order."""
        return tuple(f.value for f in self.factors if isinstance(f.value, Dim))

    def evaluate(self, length: Callable[[Dim], Any], number: Callable[[str], Any]) -> Any:
        """Return the value.

        Args:
            length: gives the length of a dimension.
            number: gives the number that a name stands for.

        Raises:
            PluginError: a division of whole numbers leaves a rest.
        """
        product: Any = 1
        for factor in self.factors:
            value = factor.value
            if isinstance(value, Dim):
                value = length(value)
            elif isinstance(value, str):
                value = number(value)
            if not factor.divides:
                product = product * value
            elif isinstance(product, int) and isinstance(value, int) and product % value:
                raise PluginError(
                    f"{self.text!r} divides {product} by {value}, which leaves a rest",
                    expected="a division without a rest",
                    fix="correct the expression of the adapter",
                )
            else:
                product = product // value
        return product if self.power == 1 else float(product) ** self.power


Expression = str
"""The text of an expression, in signatures."""


@cache
def parse(text: str) -> Parsed:
    """Read the text of an expression.

    Raises:
        PluginError: it is not one.

    >>> parse("query.weight:0 / head_dim").dims
    (Dim(tensor='query.weight', dim=0),)
    """
    power = _POWER.search(text)
    words = (text[: power.start()] if power else text).split()
    factors: list[Factor] = []
    for operator, operand in zip(["*", *words[1::2]], words[::2], strict=False):
        match = _OPERAND.fullmatch(operand)
        if match is None or operator not in ("*", "/"):
            raise _no_expression(text)
        value: int | Dim | str = match["name"] or ""
        if match["path"]:
            value = Dim(match["path"], int(match["dim"]))
        elif match["number"]:
            value = int(match["number"])
        factors.append(Factor(value, divides=operator == "/"))
    if len(words) % 2 == 0:
        raise _no_expression(text)
    return Parsed(text, tuple(factors), float(power[1]) if power else 1)


def fits(path: str, pattern: str) -> bool:
    """Say whether a dotted path fits a pattern, in which ``*`` stands for a name or a part of one.

    >>> fits("layers.10.mlp", "layers.*.mlp"), fits("layers.10.mlp", "layers.*")
    (True, False)
    """
    names, patterns = path.split("."), pattern.split(".")
    return len(names) == len(patterns) and all(map(fnmatchcase, names, patterns))


def tensors_of(module: nn.Module) -> dict[str, Any]:
    """Return dotted name -> parameter or buffer; a shared one stands under each of its names."""
    found: dict[str, Any] = dict(module.named_parameters(remove_duplicate=False))
    return found | dict(module.named_buffers(remove_duplicate=False))


def number_of(root: nn.Module, path: str, name: str) -> int:
    """Return the whole number that the module at ``path``, or one that holds it, has as ``name``.

    Args:
        root: where ``path`` begins.
        path: dotted path of a module or of a tensor; the nearest that has the attribute counts.
        name: of the attribute; a dotted name is looked up in submodules.

    Raises:
        PluginError: no module on the way has such a number.
    """
    parts = path.split(".") if path else []
    for length in range(len(parts), -1, -1):
        value: Any = root
        for part in [*parts[:length], *name.split(".")]:
            value = getattr(value, part, None)
        if type(value) is int:
            return value
    raise PluginError(
        f"no module at or above {path!r} has a whole number {name!r}",
        expected="an attribute that is an int, such as head_dim",
        fix="name the attribute as the class does",
    )


def _no_expression(text: str) -> PluginError:
    return PluginError(
        f"{text!r} is no expression",
        expected="whole numbers, names of attributes, and dimensions of tensors such as "
        "'query.weight:0', with ' * ' and ' / ' between them",
        fix="write for example 'query.weight:0 / head_dim'",
    )


def matching(names: Iterable[str], pattern: str) -> list[str]:
    """Return the names that fit a pattern, in their order."""
    return [name for name in names if fits(name, pattern)]
