"""From symbols to sizes: what a traced forward pass says about every dimension of every tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import gcd, lcm

import sympy
import torch
from torch import Tensor

from oneshot_plugins.elastic.extent import Extent, Size
from oneshot_plugins.pretrained.symbols import Layout, Length, Line, Symbols

__all__ = ["Fixed", "Reading"]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A dimension that keeps its length.

    Args:
        tensor: dotted name of the parameter or buffer.
        dim: which of its dimensions, from 0.
        length: how long it is.
        reason: why it stays so, as a clause.
        where: ``"file:line: code"`` of the line that demands it; empty if no line does.
    """

    tensor: str
    dim: int
    length: int
    reason: str
    where: str

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        return f"{self.tensor}:{self.dim} stays {self.length}: {self.reason}{where}"


class Reading:
    """Reads symbols as sizes and extents.

    Args:
        symbols: after the forward pass.
        tensors: dotted name -> the fake tensor; a tied one under each of its names.
        parameters: which of the names are parameters.
    """

    def __init__(
        self, symbols: Symbols, tensors: Mapping[str, Tensor], parameters: Iterable[str]
    ) -> None:
        self.symbols = symbols
        self.raw = {
            name: {
                dim: length.node._expr
                for dim, length in enumerate(tensor.shape)
                if isinstance(length, torch.SymInt)
            }
            for name, tensor in tensors.items()
        }
        self.parameters = set(parameters)
        self.united: dict[sympy.Symbol, sympy.Symbol] = {}
        self.units: dict[sympy.Symbol, int] = {}
        self.held: dict[sympy.Symbol, tuple[str, Line]] = {}
        self.sizes: dict[sympy.Symbol, Size] = {}
        self._layouts = [
            (symbols.reduced(key), layout, tuple(map(symbols.reduced, layout.parts)))
            for key, layouts in symbols.layouts.items()
            for layout in layouts
        ]
        self._reduced = {
            (name, dim): symbols.reduced(expression)
            for name, dims in self.raw.items()
            for dim, expression in dims.items()
        }
        for symbol, why in symbols.held.items():
            self._hold(symbols.reduced(symbol), *why)
        self._read_guards()

    def hold(self, lengths: Iterable[Length], reason: str) -> None:
        """Keep ``lengths`` as they are; nobody's line demands it."""
        for length in lengths:
            self._hold(self.symbols.expression(length), reason, Line("", 0))

    def extents(self) -> dict[str, dict[int, Extent]]:
        """Return what every dimension is of which the length can be chosen."""
        self._hold_buffers()
        while True:
            before = len(self.held)
            self._index_layouts()
            memo: dict[sympy.Expr, Extent | None] = {}
            found = {place: self._read(e, memo) for place, e in self._reduced.items()}
            if len(self.held) == before:
                break
        result: dict[str, dict[int, Extent]] = {}
        for (name, dim), extent in found.items():
            if extent is not None and extent.sizes:
                result.setdefault(name, {})[dim] = extent
        self._name(result)
        return result

    def read(self, length: Length) -> Extent | None:
        """Return what ``length`` is, after :meth:`extents`; None if nobody knows its order."""
        held = dict(self.held)
        extent = self._read(self.symbols.expression(length), {})
        self.held = held
        return extent

    def sizes_in(self, length: Length) -> list[Size]:
        """Return the sizes that ``length`` depends on, after :meth:`extents`."""
        expression = self._final(self.symbols.expression(length))
        return [self.sizes[s] for s in expression.free_symbols if s in self.sizes]

    def fixed(self) -> tuple[Fixed, ...]:
        """Return the dimensions that keep their length, after :meth:`extents`."""
        result = []
        for (name, dim), expression in self._reduced.items():
            if self._final(expression).is_Integer:
                raw = self.raw[name][dim]
                reason, line = self._why(raw, expression)
                where = str(line) if line.file else ""
                result.append(Fixed(name, dim, self.symbols.value(raw), reason, where))
        return tuple(result)

    # -- guards ---------------------------------------------------------------------------------

    def _read_guards(self) -> None:
        """Read what the shape environment was told but could not solve."""
        for guard in self.symbols.env.guards:
            expression = guard.expr
            if not isinstance(expression, sympy.Eq):
                continue  # an inequality: the proof shows whether it holds at other sizes
            left, right = map(self.symbols.reduced, expression.args)
            if left == right:
                continue
            if not self._unite(left, right) and not self._divisible(left, right):
                line = self.symbols.env.demanded.get(expression, Line("", 0))
                self._hold(left, f"{left} must be equal to {right}", line)
                self._hold(right, f"{left} must be equal to {right}", line)

    def _unite(self, left: sympy.Expr, right: sympy.Expr) -> bool:
        """Equal numbers of whole units, ``a // 32 == b // 32``, are one size."""
        pair = (left, right)
        if not all(e.func.__name__ == "FloorDiv" for e in pair):
            return False
        (a, unit), (b, other) = left.args, right.args
        if unit != other or not unit.is_Integer or not (a.is_Symbol and b.is_Symbol):
            return False
        if self.symbols.full[a] != self.symbols.full[b] or self.symbols.full[a] % int(unit):
            return False
        self.units[b] = lcm(self.units.pop(a, 1), self.units.get(b, 1), int(unit))
        if a != b:
            self.united[a] = b
        return True

    def _divisible(self, left: sympy.Expr, right: sympy.Expr) -> bool:
        """A multiple of an integer: ``Mod(4 * a, 32) == 0``."""
        if right != 0 or left.func.__name__ not in ("Mod", "PythonMod"):
            return False
        whole, unit = left.args
        coefficient, symbol = whole.as_coeff_Mul()
        if not (unit.is_Integer and symbol.is_Symbol and coefficient.is_Integer):
            return False
        each = int(unit) // gcd(int(unit), int(coefficient))
        self.units[symbol] = lcm(self.units.get(symbol, 1), each)
        return True

    # -- holding --------------------------------------------------------------------------------

    def _hold(self, expression: sympy.Expr, reason: str, line: Line) -> None:
        for symbol in self._joined(expression).free_symbols:
            self.held.setdefault(symbol, (reason, line))

    def _hold_buffers(self) -> None:
        """What no parameter depends on is no size of the model."""
        of_parameters: set[sympy.Symbol] = set()
        others: set[sympy.Symbol] = set()
        for (name, _), expression in self._reduced.items():
            symbols = self._joined(expression).free_symbols
            (of_parameters if name in self.parameters else others).update(symbols)
        for symbol in others - of_parameters:
            self._hold(symbol, "no parameter has this length", Line("", 0))

    def _joined(self, expression: sympy.Expr) -> sympy.Expr:
        while any(s in self.united for s in expression.free_symbols):
            expression = expression.xreplace(self.united)
        return expression

    def _final(self, expression: sympy.Expr) -> sympy.Expr:
        joined = self._joined(expression)
        held = {s: self.symbols.full[s] for s in joined.free_symbols if s in self.held}
        return sympy.expand(joined.xreplace(held)) if held else joined

    def _why(self, raw: sympy.Expr, reduced: sympy.Expr) -> tuple[str, Line]:
        for symbol in self._joined(reduced).free_symbols:
            if symbol in self.held:
                return self.held[symbol]
        seen: set[sympy.Symbol] = set()
        todo = list(raw.free_symbols)
        lines: list[Line] = []
        while todo:
            symbol = todo.pop(0)
            seen.add(symbol)
            for target, line in self.symbols.env.replaced.get(symbol, ()):
                lines.append(line)
                if target.is_number:
                    return f"it must be {int(self.symbols.value(raw))} here", line
                todo += [s for s in target.free_symbols if s not in seen]
        return "it must have a constant length", lines[-1] if lines else Line("", 0)

    # -- extents --------------------------------------------------------------------------------

    def _index_layouts(self) -> None:
        self._index: dict[sympy.Expr, list[tuple[Layout, tuple[sympy.Expr, ...]]]] = {}
        for key, layout, parts in self._layouts:
            final = self._final(key)
            if not final.is_Integer:
                self._index.setdefault(final, []).append((layout, tuple(map(self._final, parts))))

    def _read(self, expression: sympy.Expr, memo: dict[sympy.Expr, Extent | None]) -> Extent | None:
        final = self._final(expression)
        if final in memo:
            return memo[final]
        memo[final] = None  # a layout that contains itself tells nothing
        memo[final] = result = self._extent(final, memo)
        return result

    def _extent(self, final: sympy.Expr, memo: dict[sympy.Expr, Extent | None]) -> Extent | None:
        if final.is_Integer:
            return Extent.of(int(final))
        if final.is_Symbol:
            return Extent.of(self._size(final))
        found: Extent | None = None
        for layout, parts in self._index.get(final, ()):
            if layout.kind == "unknown":
                self._hold(
                    final, "this line computes a length that cannot be followed", layout.line
                )
                return None
            extents = [self._read(p, memo) for p in parts if p != 1]
            extent = None if None in extents else _together(layout.kind, extents)  # type: ignore[arg-type]
            if extent is None:
                continue
            if found is not None and not _same(found, extent):
                self._hold(final, "this line changes the order of what it consists of", layout.line)
                return None
            found = found if found is not None else extent
        if found is None:
            self._hold(final, "it consists of parts of which the order is unknown", Line("", 0))
        return found

    def _size(self, symbol: sympy.Symbol) -> Size:
        if symbol not in self.sizes:
            full = int(self.symbols.full[symbol])
            self.sizes[symbol] = Size("", full, self.units.get(symbol, 1))
        return self.sizes[symbol]

    def _name(self, extents: Mapping[str, Mapping[int, Extent]]) -> None:
        """Call every size by the shortest dimension that depends on it alone, else on it at all."""
        places = [(f"{n}:{d}", e) for n, dims in extents.items() for d, e in dims.items()]
        first: dict[Size, str] = {}
        # sorted() keeps the order of the tensors among equals
        for place, extent in sorted(places, key=lambda p: (len(p[1].sizes) > 1, p[1].full)):
            for size in extent.sizes:
                first.setdefault(size, place)
        used: dict[str, int] = {}
        self.sizes = {s: size for s, size in self.sizes.items() if size in first}
        order = {place: i for i, (place, _) in enumerate(places)}
        for size in sorted(first, key=lambda size: order[first[size]]):
            place = first[size]
            used[place] = used.get(place, 0) + 1
            size.name = place if used[place] == 1 else f"{place}/{used[place]}"
        self.order = sorted(first, key=lambda size: order[first[size]])


def _together(kind: str, parts: list[Extent]) -> Extent | None:
    """Return the sum or product of ``parts``; None if it is no sum of products."""
    if kind == "sum":
        return Extent(tuple(term for part in parts for term in part.terms))
    terms: tuple[tuple[int | Size, ...], ...] = ((),)
    for part in parts:
        if len(part.terms) == 1:
            terms = tuple(term + part.terms[0] for term in terms)
        elif len(terms) == 1 and all(isinstance(f, int) for f in terms[0]):
            # 2 * (a + b) lies in memory as a + b + a + b.
            times = 1
            for factor in terms[0]:
                times *= factor if isinstance(factor, int) else 1
            terms = part.terms * times
        else:
            return None
    return Extent(tuple(_merged(term) for term in terms))


def _merged(term: tuple[int | Size, ...]) -> tuple[int | Size, ...]:
    """Multiply integers that stand beside each other; leave out ones."""
    result: list[int | Size] = []
    for factor in term:
        if isinstance(factor, int) and result and isinstance(result[-1], int):
            result[-1] *= factor
        elif not (isinstance(factor, int) and factor == 1):
            result.append(factor)
    return tuple(result) or (1,)


def _same(left: Extent, right: Extent) -> bool:
    """Whether two extents keep the same indices, tried at some values of their sizes."""
    if left == right:
        return True
    sizes = dict.fromkeys((*left.sizes, *right.sizes))
    if left.full != right.full:
        return False
    settings = [{size: size.full - 1} for size in sizes]
    settings += [{size: max(1, size.full // 2) for size in sizes}, dict.fromkeys(sizes, 1)]
    return all(torch.equal(left.kept(s), right.kept(s)) for s in settings)
