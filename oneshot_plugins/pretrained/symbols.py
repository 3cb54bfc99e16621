"""Symbols for the lengths of tensors, and what a forward pass tells about them.

Every dimension of a parameter gets a symbol of torch's own symbolic shapes. A forward pass over
fake tensors then ties symbols (``hidden`` of one layer to ``hidden`` of the next), splits them
(``heads * 32``) or gives them a constant. torch's shape environment keeps these equations; what it
does not keep is the *order* of factors and summands in memory, and whose line of code wrote an
equation down. :class:`Symbols` keeps both.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, prod
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeAlias

import sympy
import torch
from torch import Tensor
from torch._dynamo.source import ConstantSource
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

__all__ = ["Layout", "Length", "Line", "Symbols", "current_line", "line_of"]

Length: TypeAlias = "int | torch.SymInt"

_TORCH = str(Path(torch.__file__).parent)
_OURS = str(Path(__file__).parent)
_HIDDEN = (_TORCH, _OURS, str(Path(sympy.__file__).parent), "<")
_LAYERS = (str(Path(_TORCH, "nn", "modules")), str(Path(_TORCH, "nn", "functional.py")))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of source code.

    Args:
        file: its path; empty if nobody's line is known.
        number: counted from 1.
    """

    file: str
    number: int

    def __str__(self) -> str:
        if not self.file:
            return "an unknown line"
        text = linecache.getline(self.file, self.number).strip()
        return f"{self.file}:{self.number}" + (f": {text}" if text else "")


UNKNOWN = Line("", 0)


def current_line() -> Line:
    """Return the innermost running line that is neither torch's nor the tracer's.

    Where a layer of torch runs on its own, that is the line of the layer.
    """
    frame: FrameType | None = sys._getframe(1)
    layer = UNKNOWN
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_OURS) and frame.f_code.co_name == "run_forward":
            break  # what is further out has called the tracer
        if not name.startswith(_HIDDEN):
            return Line(name, frame.f_lineno)
        if layer is UNKNOWN and name.startswith(_LAYERS):
            layer = Line(name, frame.f_lineno)
        frame = frame.f_back
    return layer


def line_of(traceback: TracebackType | None) -> Line:
    """Return the innermost line of ``traceback`` that is neither torch's nor the tracer's."""
    found = layer = UNKNOWN
    while traceback is not None:
        name = traceback.tb_frame.f_code.co_filename
        if name.startswith(_LAYERS):
            layer = Line(name, traceback.tb_lineno)
        if not name.startswith(_HIDDEN):
            found = Line(name, traceback.tb_lineno)
        traceback = traceback.tb_next
    return layer if found is UNKNOWN else found


@dataclass(frozen=True, slots=True)
class Layout:
    """In which order a length consists of others.

    Args:
        kind: ``"product"`` (outermost first), ``"sum"`` (in the order of memory), or ``"unknown"``.
        parts: the factors or summands.
        line: whose code laid them out so.
    """

    kind: str
    parts: tuple[sympy.Expr, ...]
    line: Line


class _Environment(ShapeEnv):
    """A shape environment that remembers whose line demanded what.

    Attributes:
        replaced: symbol -> what it was found to be, each with the line that demanded it.
        demanded: a guard -> the line that demanded it.
    """

    replaced: dict[sympy.Symbol, list[tuple[sympy.Expr, Line]]]
    demanded: dict[sympy.Basic, Line]

    def _set_replacement(self, a: sympy.Symbol, tgt: sympy.Expr, *args: Any, **kwargs: Any) -> None:
        if "find" not in (*args, *kwargs.values()):  # "find" shortens a chain, it tells nothing new
            self.replaced.setdefault(a, []).append((tgt, current_line()))
        super()._set_replacement(a, tgt, *args, **kwargs)

    def evaluate_expr(self, *args: Any, **kwargs: Any) -> Any:
        known = len(self.guards)
        result = super().evaluate_expr(*args, **kwargs)
        for guard in self.guards[known:]:
            self.demanded.setdefault(guard.expr, current_line())
        return result


class Symbols:
    """The symbols of one forward pass, and all that is known about them.

    Attributes:
        mode: the mode under which fake tensors compute.
        full: symbol -> its length in the model as it is.
        layouts: length -> the layouts seen of it.
        held: symbol -> why it keeps its length, and the line that says so.
    """

    def __init__(self) -> None:
        self.env = _Environment(specialize_zero_one=True, duck_shape=False)
        self.env.replaced, self.env.demanded = {}, {}
        self.mode = FakeTensorMode(shape_env=self.env, allow_non_fake_inputs=True)
        self.mode.cache_enabled = False  # a look-up costs more than what it saves
        self.full: dict[sympy.Symbol, sympy.Integer] = {}
        self.integers: dict[sympy.Symbol, torch.SymInt] = {}
        self.layouts: dict[sympy.Expr, list[Layout]] = {}
        self.held: dict[sympy.Symbol, tuple[str, Line]] = {}

    def fake(self, name: str, tensor: Tensor, dynamic: Sequence[bool]) -> Tensor:
        """Return a fake tensor like ``tensor`` of which the ``dynamic`` dimensions are symbols."""
        context = StatelessSymbolicContext(
            dynamic_sizes=[
                DimDynamic.DYNAMIC if free and length > 1 else DimDynamic.STATIC
                for free, length in zip(dynamic, tensor.shape, strict=True)
            ]
        )
        fake = self.mode.from_tensor(
            tensor.detach(), symbolic_context=context, source=ConstantSource(name)
        )
        for length, symbol in zip(tensor.shape, fake.shape, strict=True):
            if isinstance(symbol, torch.SymInt):
                expression = symbol.node.expr
                self.full[expression], self.integers[expression] = sympy.Integer(length), symbol
        return fake

    def fresh(self, length: int) -> Length:
        """Return a new symbol for ``length``; 1 stays 1."""
        if length == 1:
            return 1
        source = ConstantSource(f"part{len(self.full)}")
        symbol = self.env.create_symbol(length, source, dynamic_dim=DimDynamic.DYNAMIC)
        integer = self.env.create_symintnode(symbol, hint=length, source=source)
        assert isinstance(integer, torch.SymInt)
        self.full[symbol], self.integers[symbol] = sympy.Integer(length), integer
        return integer

    def expression(self, length: Length) -> sympy.Expr:
        """Return ``length`` in the symbols that are left."""
        if isinstance(length, int):
            return sympy.Integer(length)
        return self.reduced(length.node.expr)

    def reduced(self, expression: sympy.Expr) -> sympy.Expr:
        """Return ``expression`` in the symbols that are left."""
        return sympy.expand(self.env.simplify(self.env.replace(expression)))

    def tie(self, left: Length, right: Length) -> None:
        """Demand that two lengths are equal.

        Raises:
            ValueError: they are not.
        """
        if isinstance(left, int) and isinstance(right, int):
            equal = left == right
        elif self.expression(left) == self.expression(right):
            return
        else:
            left, right = self._without_common_factors(left, right)
            equal = bool(left == right)
        if not equal:
            raise ValueError(f"the lengths {self.hint(left)} and {self.hint(right)} differ")

    def _without_common_factors(self, left: Length, right: Length) -> tuple[Length, Length]:
        """Return what two lengths are without the symbols that are factors of both.

        torch's shape environment does not solve ``groups * a == groups * b``.
        """
        one, other = self.expression(left), self.expression(right)
        if not (one.is_Mul and other.is_Mul):
            return left, right
        common = sympy.prod([f for f in one.args if f.is_Symbol and f in other.args])
        return self.symint(one / common), self.symint(other / common)

    def divide(self, length: Length, by: Length) -> Length:
        """Return ``length / by``, after demanding that it can be divided.

        Raises:
            ValueError: it cannot.
        """
        if self.hint(length) % self.hint(by):
            raise ValueError(f"the length {self.hint(length)} is no multiple of {self.hint(by)}")
        if isinstance(length, int) and isinstance(by, int):
            return length // by
        whole, divisor = self.expression(length), self.expression(by)
        if isinstance(by, int) and _content(whole) % by == 0:
            return length // by
        if _is_multiple(whole) and _is_multiple(divisor):
            common = gcd(_content(whole), _content(divisor))
            whole, divisor = whole / common, divisor / common
            length, by = self.symint(whole), self.symint(divisor)
        if whole.is_Symbol:
            if divisor.has(whole):
                return length // by
            rest = self.fresh(self.hint(length) // self.hint(by))
            self.tie(length, rest * by)
            return rest
        if isinstance(by, int):
            # 32 * heads is divided by 64: the heads come in pairs.
            if len(whole.free_symbols) == 1 and whole.is_Mul:
                (symbol,) = whole.free_symbols
                common = gcd(_content(whole), by)
                part = self.divide(self.symint(symbol), by // common)
                return part * (_content(whole) // common)
        elif (quotient := sympy.cancel(whole / divisor)).is_polynomial() and all(
            c.is_Integer for c in sympy.Poly(quotient).coeffs()
        ):
            return self.symint(quotient)
        return length // by

    def symint(self, expression: sympy.Expr) -> Length:
        """Return an integer that follows ``expression``, a sum of products of symbols."""
        result: Length = 0
        for term in sympy.Add.make_args(expression):
            coefficient, rest = term.as_coeff_Mul()
            factors: list[Length] = [int(coefficient)]
            for factor, power in rest.as_powers_dict().items():
                if factor != 1:
                    factors += [self.integers[factor]] * int(power)
            result = result + prod(factors)
        return result

    def hint(self, length: Length) -> int:
        """Return the length in the model as it is."""
        return length if isinstance(length, int) else self.value(length.node.expr)

    def value(self, expression: sympy.Expr) -> int:
        """Return ``expression`` where every symbol is as long as in the model as it is."""
        return int(expression.xreplace(self.full))

    def product(self, *factors: Length) -> Length:
        """Return the length of dimensions that are merged, outermost first; remember the order."""
        result = prod(factors)
        self.layout("product", result, factors)
        return result

    def layout(self, kind: str, length: Length, parts: Sequence[Length]) -> None:
        """Remember that ``length`` consists of ``parts``, as the running line says."""
        expression = self.expression(length)
        if expression.is_Integer:
            return
        found = tuple(self.expression(p) for p in parts)
        if kind != "unknown" and sum(p != 1 for p in found) == 1:
            return
        known = self.layouts.setdefault(expression, [])
        if not any(k.kind == kind and k.parts == found for k in known):
            known.append(Layout(kind, found, current_line()))

    def factors(self, length: Length) -> list[Length]:
        """Return the factors that ``length`` is known to consist of, outermost first."""
        expression = self.expression(length)
        for layout in self.layouts.get(expression, ()):
            if layout.kind == "product" and expression not in layout.parts:
                return [f for part in layout.parts for f in self.factors(self.symint(part))]
        return [length]

    def hold(self, length: Length, reason: str) -> None:
        """Keep ``length`` as it is, as the running line demands."""
        for symbol in self.expression(length).free_symbols:
            self.held.setdefault(symbol, (reason, current_line()))


def _is_multiple(expression: sympy.Expr) -> bool:
    """Say whether an expression is an integer times one symbol."""
    return bool(expression.is_Mul) and expression.as_coeff_Mul()[1].is_Symbol


def _content(expression: sympy.Expr) -> int:
    """Return the greatest integer that divides every term."""
    terms = sympy.Add.make_args(expression)
    return gcd(*(int(term.as_coeff_Mul()[0]) for term in terms))
