"""Choose a number or a word, and compute with it before it is chosen.

``width = choice([16, 32, 64], label="width")`` stands for a number that is not known yet.
Operators give further values: ``2 * width``, ``width // 4``, ``width >= 32``; :func:`if_else`,
:func:`maximum` and :func:`minimum` do what ``if``, ``max`` and ``min`` cannot, since those need to
know. A layer of :mod:`oneshot_core.nn` takes values in the place of numbers.

A value is immutable and holds no state of a search. What it is follows from an architecture alone:
``(2 * width).evaluate({"width": 16}) == 32``. Two values with one label are one choice, wherever
they were made.
"""

from __future__ import annotations

import math
import operator
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any, NoReturn

from ..errors import LabelError, SpaceError
from .given_to_torch import given_to_torch, is_layer_of_torch
from .spec import Choice, ParameterSpec

MAX_COMBINATIONS = 100_000
"""Values are listed up to this number of combinations of what they depend on."""


def _operator(sign: str, function: Callable[..., Any]) -> Callable[[Value, Any], Value]:
    """Return the method that computes ``self sign other``."""
    return lambda value, other: _operation(sign, function, value, other)


def _reflected(sign: str, function: Callable[..., Any]) -> Callable[[Value, Any], Value]:
    """Return the method that computes ``other sign self``."""
    return lambda value, other: _operation(sign, function, other, value)


class Value(ABC):
    """Something that is known when an architecture is: a choice, or computed from choices.

    Comparisons give values as well, so two values are the same only if they are the same object.
    """

    @abstractmethod
    def evaluate(self, chosen: Mapping[str, Choice]) -> Any:
        """Return what this is under ``chosen``, which decides every label in :attr:`specs`."""

    @property
    @abstractmethod
    def specs(self) -> dict[str, ParameterSpec]:
        """Label -> spec of the choices that this depends on, in the order of appearance.

        Raises:
            LabelError: one label stands for two different choices.
        """

    @property
    def variables(self) -> dict[str, ParameterSpec]:
        """What to list to find every possible value: :attr:`specs`, unless a domain is declared.

        A value with a declared domain stands for itself, under a name of its own that
        :meth:`evaluate` knows; see :func:`apply`.
        """
        return self.specs

    def distribution(self) -> dict[Any, list[dict[str, Choice]]]:
        """Return every possible value -> the combinations of :attr:`variables` that give it.

        Raises:
            SpaceError: there are too many combinations, or an interval among the choices.
        """
        found: dict[Any, list[dict[str, Choice]]] = {}
        for chosen in combinations_of(self.variables):
            found.setdefault(self.evaluate(chosen), []).append(chosen)
        return found

    __add__ = _operator("+", operator.add)
    __radd__ = _reflected("+", operator.add)
    __sub__ = _operator("-", operator.sub)
    __rsub__ = _reflected("-", operator.sub)
    __mul__ = _operator("*", operator.mul)
    __rmul__ = _reflected("*", operator.mul)
    __truediv__ = _operator("/", operator.truediv)
    __rtruediv__ = _reflected("/", operator.truediv)
    __floordiv__ = _operator("//", operator.floordiv)
    __rfloordiv__ = _reflected("//", operator.floordiv)
    __mod__ = _operator("%", operator.mod)
    __rmod__ = _reflected("%", operator.mod)
    __pow__ = _operator("**", operator.pow)
    __rpow__ = _reflected("**", operator.pow)

    def __neg__(self) -> Value:
        return Computed("-{}", operator.neg, self)

    def __abs__(self) -> Value:
        return Computed("abs({})", abs, self)

    def __round__(self, digits: int | None = None) -> Value:
        return Computed("round({}, {})", round, self, digits)

    def __floor__(self) -> Value:
        return Computed("floor({})", math.floor, self)

    def __ceil__(self) -> Value:
        return Computed("ceil({})", math.ceil, self)

    def __trunc__(self) -> Value:
        return Computed("trunc({})", math.trunc, self)

    def __getitem__(self, index: Any) -> Value:
        return Computed("{}[{}]", operator.getitem, self, index)

    def __iter__(self) -> NoReturn:
        raise self._unknown("iterated over", "take its items by position: value[0], value[1]")

    def __len__(self) -> NoReturn:
        raise self._unknown("asked for its length", "take its items by position: value[0]")

    __lt__ = _operator("<", operator.lt)
    __le__ = _operator("<=", operator.le)
    __gt__ = _operator(">", operator.gt)
    __ge__ = _operator(">=", operator.ge)
    __eq__ = _operator("==", operator.eq)  # type: ignore[assignment]
    __ne__ = _operator("!=", operator.ne)  # type: ignore[assignment]
    __hash__ = object.__hash__

    def __and__(self, other: Any) -> Value:
        return Lazy("({} and {})", _both, self, other)

    def __rand__(self, other: Any) -> Value:
        return Lazy("({} and {})", _both, other, self)

    def __or__(self, other: Any) -> Value:
        return Lazy("({} or {})", _either, self, other)

    def __ror__(self, other: Any) -> Value:
        return Lazy("({} or {})", _either, other, self)

    def __invert__(self) -> Value:
        return Computed("(not {})", operator.not_, self)

    def __bool__(self) -> NoReturn:
        raise self._unknown(
            "tested for truth", "use oneshot.if_else, maximum or minimum; & and | for and and or"
        )

    def __int__(self) -> NoReturn:
        raise self._unknown("used as a number", "give it to a layer of oneshot.nn; or round(value)")

    def __float__(self) -> NoReturn:
        raise self._unknown("used as a number", "give it to a layer of oneshot.nn")

    __index__ = __float__

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> NoReturn:
        # torch asks this before it refuses an argument; what __index__ raises it does not pass on.
        value = next(values_in([list(args), kwargs or {}]), "a choice")
        raise given_to_torch(value, sys._getframe(1), getattr(function, "__name__", "a function"))

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        # A layer of torch.nn that asks whether this is a number would refuse it in its own words.
        frame = sys._getframe(1)
        if is_layer_of_torch(frame):
            raise given_to_torch(self, frame, "a layer")
        return type(self)

    def __deepcopy__(self, memo: object) -> Value:
        return self  # immutable

    def _unknown(self, use: str, fix: str) -> SpaceError:
        frame = sys._getframe(2)
        if frame.f_globals.get("__name__", "").partition(".")[0] == "torch":
            return given_to_torch(self, frame, frame.f_code.co_name)
        return SpaceError(
            f"{self!r} was {use}, but is not chosen yet",
            expected="what is known before any architecture is",
            fix=fix,
        )


class Taken(Value):
    """What a choice takes that is made elsewhere in the model, such as the inputs of a node.

    Args:
        spec: of that choice. Where several candidates are taken, this is a tuple of them.
    """

    def __init__(self, spec: ParameterSpec) -> None:
        self.spec = spec

    @property
    def specs(self) -> dict[str, ParameterSpec]:
        return {self.spec.label: self.spec}

    def evaluate(self, chosen: Mapping[str, Choice]) -> Any:
        return chosen[self.spec.label]

    def __repr__(self) -> str:
        return self.spec.label


class Computed(Value):
    """What a function gives for values.

    Args:
        text: how it is written, with ``{}`` for each operand.
        function: applied to what the operands are; pickled by name, so no lambda where a model
            is pickled.
        operands: values, or anything that is known already.
    """

    def __init__(self, text: str, function: Callable[..., Any], *operands: Any) -> None:
        self.text = text
        self.function = function
        self.operands = operands

    @property
    def specs(self) -> dict[str, ParameterSpec]:
        return specs_in(self.operands)

    @property
    def variables(self) -> dict[str, ParameterSpec]:
        return variables_in(self.operands)

    def evaluate(self, chosen: Mapping[str, Choice]) -> Any:
        return self.function(*(resolve(operand, chosen) for operand in self.operands))

    def __repr__(self) -> str:
        return self.text.format(*map(repr, self.operands))


class Lazy(Computed):
    """What a function gives that looks at its operands only as far as it has to.

    Args:
        text: see :class:`Computed`.
        function: applied to functions that return what the operands are.
        operands: see there.
    """

    def evaluate(self, chosen: Mapping[str, Choice]) -> Any:
        return self.function(*(partial(resolve, operand, chosen) for operand in self.operands))


def resolve(thing: Any, chosen: Mapping[str, Choice]) -> Any:
    """Return ``thing`` with every value in it, at any depth, replaced by what it is."""
    if isinstance(thing, Value):
        return thing.evaluate(chosen)
    if isinstance(thing, (tuple, list)):
        return type(thing)([resolve(item, chosen) for item in thing])
    if isinstance(thing, dict):
        return {key: resolve(item, chosen) for key, item in thing.items()}
    return thing


def values_in(thing: Any) -> Iterator[Value]:
    """Yield the values in ``thing``: itself, or in its tuples, lists and dicts, at any depth."""
    if isinstance(thing, Value):
        yield thing
    elif isinstance(thing, (tuple, list)):
        for item in thing:
            yield from values_in(item)
    elif isinstance(thing, dict):
        yield from values_in(list(thing.values()))


def specs_in(thing: Any) -> dict[str, ParameterSpec]:
    """Return label -> spec of all choices that the values in ``thing`` depend on.

    Raises:
        LabelError: one label stands for two different choices.
    """
    return _united(value.specs for value in values_in(thing))


def variables_in(thing: Any) -> dict[str, ParameterSpec]:
    """Return what to list to find all that ``thing`` may be; see :attr:`Value.variables`.

    Raises:
        LabelError: one label stands for two different choices.
    """
    return _united(value.variables for value in values_in(thing))


def _united(groups: Iterable[Mapping[str, ParameterSpec]]) -> dict[str, ParameterSpec]:
    found: dict[str, ParameterSpec] = {}
    for group in groups:
        for label, spec in group.items():
            known = found.setdefault(label, spec)
            if known != spec:
                raise LabelError(
                    f"the label {label!r} names two different choices.\n"
                    f"  one is {known.offer}, the other {spec.offer}\n"
                    "  fix: give the second one another label, or the same values"
                )
    return found


def combinations_of(specs: Mapping[str, ParameterSpec]) -> Iterator[dict[str, Choice]]:
    """Yield label -> choice for every combination of choices.

    Raises:
        SpaceError: there are too many, or an interval among them.
    """
    count = math.prod(spec.size for spec in specs.values())
    if count > MAX_COMBINATIONS and count != math.inf:
        raise SpaceError(
            f"{list(specs)} can be combined in {count:,} ways",
            expected=f"at most {MAX_COMBINATIONS:,} where all are listed",
            fix="let one layer depend on fewer choices, or give them fewer values",
        )
    choices = [list(spec.choices()) for spec in specs.values()]
    for combination in product(*choices):
        yield dict(zip(specs, combination, strict=True))


def _operation(sign: str, function: Callable[..., Any], left: Any, right: Any) -> Value:
    for value, other in ((left, right), (right, left)):
        if not isinstance(other, Value) and hasattr(other, "__torch_function__"):  # a tensor
            raise given_to_torch(value, None, repr(sign))
    return Computed(f"({{}} {sign} {{}})", function, left, right)


def _both(left: Any, right: Any) -> Any:
    return left() and right()


def _either(left: Any, right: Any) -> Any:
    return left() or right()
