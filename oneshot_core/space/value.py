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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, NoReturn

from ..errors import LabelError, SpaceError
from .spec import Candidate, Choice, Interval, ParameterSpec

MAX_COMBINATIONS = 100_000
"""Values are listed up to this number of combinations of what they depend on."""


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

    def __add__(self, other: Any) -> Value:
        return _operation("+", operator.add, self, other)

    def __radd__(self, other: Any) -> Value:
        return _operation("+", operator.add, other, self)

    def __sub__(self, other: Any) -> Value:
        return _operation("-", operator.sub, self, other)

    def __rsub__(self, other: Any) -> Value:
        return _operation("-", operator.sub, other, self)

    def __mul__(self, other: Any) -> Value:
        return _operation("*", operator.mul, self, other)

    def __rmul__(self, other: Any) -> Value:
        return _operation("*", operator.mul, other, self)

    def __truediv__(self, other: Any) -> Value:
        return _operation("/", operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return _operation("/", operator.truediv, other, self)

    def __floordiv__(self, other: Any) -> Value:
        return _operation("//", operator.floordiv, self, other)

    def __rfloordiv__(self, other: Any) -> Value:
        return _operation("//", operator.floordiv, other, self)

    def __mod__(self, other: Any) -> Value:
        return _operation("%", operator.mod, self, other)

    def __rmod__(self, other: Any) -> Value:
        return _operation("%", operator.mod, other, self)

    def __pow__(self, other: Any) -> Value:
        return _operation("**", operator.pow, self, other)

    def __rpow__(self, other: Any) -> Value:
        return _operation("**", operator.pow, other, self)

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

    def __lt__(self, other: Any) -> Value:
        return _operation("<", operator.lt, self, other)

    def __le__(self, other: Any) -> Value:
        return _operation("<=", operator.le, self, other)

    def __gt__(self, other: Any) -> Value:
        return _operation(">", operator.gt, self, other)

    def __ge__(self, other: Any) -> Value:
        return _operation(">=", operator.ge, self, other)

    def __eq__(self, other: object) -> Value:  # type: ignore[override]
        return _operation("==", operator.eq, self, other)

    def __ne__(self, other: object) -> Value:  # type: ignore[override]
        return _operation("!=", operator.ne, self, other)

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

    def __index__(self) -> NoReturn:
        raise self._unknown("used as a number", "give it to a layer of oneshot.nn")

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> NoReturn:
        # torch asks this before it refuses an argument; what __index__ raises it does not pass on.
        value = next(values_in([list(args), kwargs or {}]), "a choice")
        raise _given_to_torch(value, sys._getframe(1), getattr(function, "__name__", "a function"))

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        # A layer of torch.nn that asks whether this is a number would refuse it in its own words.
        frame = sys._getframe(1)
        if _is_layer_of_torch(frame):
            raise _given_to_torch(self, frame, "a layer")
        return type(self)

    def __deepcopy__(self, memo: object) -> Value:
        return self  # immutable

    def _unknown(self, use: str, fix: str) -> SpaceError:
        frame = sys._getframe(2)
        if frame.f_globals.get("__name__", "").partition(".")[0] == "torch":
            return _given_to_torch(self, frame, frame.f_code.co_name)
        return SpaceError(
            f"{self!r} was {use}, but is not chosen yet.\n"
            "  expected: what is known before any architecture is\n"
            f"  fix: {fix}"
        )


_OF_ALL_MODULES = ("torch.nn.modules.module", "torch.nn.modules.container")


def _is_layer_of_torch(frame: Any) -> bool:
    name = frame.f_globals.get("__name__", "")
    return name.startswith("torch.nn.modules.") and name not in _OF_ALL_MODULES


def _given_to_torch(value: object, frame: Any, name: str) -> SpaceError:
    """Return the error about a value that a layer or function of torch has got.

    Args:
        value: what it got.
        frame: where that was found out.
        name: of the function, where no layer called it.
    """
    taker = f"torch's {name}"
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "torch":
        if _is_layer_of_torch(frame) and "self" in frame.f_locals:
            # Of several, the one that was called first: what the user wrote.
            taker = f"torch.nn.{type(frame.f_locals['self']).__name__}"
        frame = frame.f_back
    return SpaceError(
        f"{taker} got the choice {value!r}; layers and functions of torch.nn take no choices.\n"
        "  expected: plain numbers there, and choices in the layers of oneshot_core.nn\n"
        "  fix: from oneshot_core import nn, in the place of from torch import nn"
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


class ValueChoice(Taken):
    """Choose one of several values.

    Args:
        values: what can be chosen: numbers, words, True, False, None, or tuples of those,
            which may be nested.
        label: name of the decision; equal labels decide together.
        default: what the model runs before any search; the largest number, or the first of
            values that are not all numbers.
        prior: how often each is drawn where a strategy has no preference of its own.

    Raises:
        SpaceError: there is no label, no value, or one is no plain data.

    Source: ``nni.nas.nn.pytorch.ValueChoice``.
    """

    def __init__(
        self,
        values: Iterable[Candidate],
        *,
        label: str,
        default: Candidate | None = None,
        prior: Sequence[float] | None = None,
    ) -> None:
        candidates = tuple(map(_without_lists, values))
        _check(candidates, label)
        if default is None:
            default = _largest(candidates)
        elif default not in candidates:
            raise SpaceError(
                f"the value choice {label!r} has default={default!r}.\n"
                f"  expected: one of {list(candidates)}\n"
                "  fix: correct the default"
            )
        weights = None if prior is None else tuple(prior)
        super().__init__(ParameterSpec(label, candidates, default=default, prior=weights))

    @property
    def label(self) -> str:
        """Name of the decision."""
        return self.spec.label

    @staticmethod
    def max(*values: Any) -> Value:
        """See :func:`maximum`."""
        return maximum(*values)

    @staticmethod
    def min(*values: Any) -> Value:
        """See :func:`minimum`."""
        return minimum(*values)

    @staticmethod
    def condition(condition: Any, true: Any, false: Any) -> Value:
        """See :func:`if_else`."""
        return if_else(condition, true, false)

    @staticmethod
    def to_int(value: Any) -> Value:
        """Truncate to a whole number."""
        return Computed("int({})", int, value)

    @staticmethod
    def to_float(value: Any) -> Value:
        """Convert to a floating-point number."""
        return Computed("float({})", float, value)


class RangeChoice(ValueChoice):
    """Choose any number of an interval, for searches that draw.

    Args:
        low: the smallest.
        high: the largest, included.
        log: whether draws are uniform in the logarithm.
        label: name of the decision; equal labels decide together.
        default: what the model runs before any search; the middle.

    Raises:
        SpaceError: there is no label, or the ends make no interval.
    """

    def __init__(
        self,
        low: float,
        high: float,
        *,
        log: bool = False,
        label: str,
        default: float | None = None,
    ) -> None:
        _check_label(label)
        self.spec = ParameterSpec(
            label,
            (),
            interval=Interval(float(low), float(high), log),
            default=() if default is None else float(default),
        )
        self.spec.normalise(self.spec.default)


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


class Declared(Computed):
    """A computed value of which all possible results are known beforehand; see :func:`apply`.

    Args:
        text: see :class:`Computed`.
        function: see there.
        operands: see there.
        domain: the possible results.

    Raises:
        SpaceError: the domain is empty, or not plain data.
    """

    def __init__(
        self,
        text: str,
        function: Callable[..., Any],
        *operands: Any,
        domain: Iterable[Candidate],
    ) -> None:
        super().__init__(text, function, *operands)
        self.domain = tuple(dict.fromkeys(map(_without_lists, domain)))
        wrong = [value for value in self.domain if not _is_plain(value)]
        if wrong or not self.domain:
            raise SpaceError(
                f"the domain of {self!r} holds {wrong[0] if wrong else 'nothing'!r}.\n"
                "  expected: every possible result: numbers, words, True, False, None, or tuples "
                "of those\n"
                "  fix: apply(function, *values, domain=[...])"
            )

    @property
    def name(self) -> str:
        """The name among :attr:`variables`; of this very object, in this process."""
        return f"declared {id(self)}"

    @property
    def variables(self) -> dict[str, ParameterSpec]:
        return {self.name: ParameterSpec(self.name, self.domain)}

    def evaluate(self, chosen: Mapping[str, Choice]) -> Any:
        name = self.name
        if name in chosen:
            return chosen[name]
        result = super().evaluate(chosen)
        if result not in self.domain:
            raise SpaceError(
                f"{self!r} is {result!r} for {dict(chosen)}.\n"
                f"  expected: one of its declared domain {list(self.domain)}\n"
                "  fix: declare every possible result"
            )
        return result


def choice(
    values: Iterable[Candidate],
    *others: Any,
    label: str | None = None,
    default: Candidate | None = None,
    prior: Sequence[float] | None = None,
) -> ValueChoice:
    """Return a value that is one of ``values``; see :class:`ValueChoice`.

    Args:
        values: see there.
        *others: nothing; what stands here was meant for another argument, and is refused.
        label: see there; must be given.
        default: see there.
        prior: see there.

    Raises:
        SpaceError: as there; or there is no label, or more than one argument without a name.
    """
    if others or isinstance(values, str):
        _refuse_order("choice", "[16, 32]", (values, *others))
    return ValueChoice(values, label=label, default=default, prior=prior)  # type: ignore[arg-type]


def uniform(
    low: float,
    high: float,
    *others: Any,
    label: str | None = None,
    default: float | None = None,
) -> RangeChoice:
    """Return a value that is any number from ``low`` to ``high``; see :class:`RangeChoice`."""
    if others or isinstance(low, str):
        _refuse_order("uniform", "0.1, 0.9", (low, high, *others))
    return RangeChoice(low, high, label=label, default=default)  # type: ignore[arg-type]


def loguniform(
    low: float,
    high: float,
    *others: Any,
    label: str | None = None,
    default: float | None = None,
) -> RangeChoice:
    """Return a value uniform in its logarithm; see :class:`RangeChoice`."""
    if others or isinstance(low, str):
        _refuse_order("loguniform", "1e-4, 1e-1", (low, high, *others))
    return RangeChoice(low, high, log=True, label=label, default=default)  # type: ignore[arg-type]


def _refuse_order(name: str, numbers: str, given: tuple[Any, ...]) -> NoReturn:
    """Refuse arguments in another order, such as the label first."""
    label = next((thing for thing in given if isinstance(thing, str)), "width")
    raise SpaceError(
        f"oneshot.{name} got {', '.join(map(repr, given))} without names.\n"
        f"  expected: what can be chosen first, and the label by its name\n"
        f"  fix: oneshot.{name}({numbers}, label={label!r})"
    )


def maximum(*values: Any) -> Value:
    """Return the largest of values."""
    return Computed(_call("max", values), max, *values)


def minimum(*values: Any) -> Value:
    """Return the smallest of values."""
    return Computed(_call("min", values), min, *values)


def if_else(condition: Any, true: Any, false: Any) -> Value:
    """Return one of two values, by a condition such as ``width > 32``.

    The other one is not computed, so it need not be valid.
    """
    return Lazy("({1} if {0} else {2})", _conditional, condition, true, false)


def apply(
    function: Callable[..., Any], *values: Any, domain: Iterable[Candidate] | None = None
) -> Value:
    """Return what ``function`` gives for what ``values`` are; it is called once they are known.

    Args:
        function: pickled by name, so no lambda where a model is pickled.
        *values: what it is called with.
        domain: every possible result. A layer that depends on more choices than can be combined
            then prepares for these results instead. It must be built with any of them, whatever
            else is chosen, and strategies that weight candidates cannot superpose it.

    Raises:
        SpaceError: the domain is empty, or not plain data.
    """
    text = _call(getattr(function, "__name__", type(function).__name__), values)
    if domain is None:
        return Computed(text, function, *values)
    return Declared(text, function, *values, domain=domain)


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
            f"{list(specs)} can be combined in {count:,} ways.\n"
            f"  expected: at most {MAX_COMBINATIONS:,} where all are listed\n"
            "  fix: let one layer depend on fewer choices, or give them fewer values"
        )
    choices = [list(spec.choices()) for spec in specs.values()]
    for combination in product(*choices):
        yield dict(zip(specs, combination, strict=True))


def _operation(sign: str, function: Callable[..., Any], left: Any, right: Any) -> Value:
    for value, other in ((left, right), (right, left)):
        if not isinstance(other, Value) and hasattr(other, "__torch_function__"):  # a tensor
            raise _given_to_torch(value, None, repr(sign))
    return Computed(f"({{}} {sign} {{}})", function, left, right)


def _call(name: str, values: Sequence[Any]) -> str:
    return f"{name}({', '.join('{}' for _ in values)})"


def _conditional(condition: Any, true: Any, false: Any) -> Any:
    return true() if condition() else false()


def _both(left: Any, right: Any) -> Any:
    return left() and right()


def _either(left: Any, right: Any) -> Any:
    return left() or right()


def _largest(candidates: tuple[Candidate, ...]) -> Candidate:
    numbers = [c for c in candidates if isinstance(c, (int, float)) and not isinstance(c, bool)]
    return max(numbers) if len(numbers) == len(candidates) else candidates[0]


def _check_label(label: object) -> None:
    if not isinstance(label, str) or not label:
        raise SpaceError(
            f"a value choice got label={label!r}.\n"
            "  expected: a non-empty string; a value has no place in the model to be named after\n"
            "  fix: oneshot.choice([16, 32], label='width')"
        )


def _check(candidates: tuple[Candidate, ...], label: object) -> None:
    _check_label(label)
    wrong = [c for c in candidates if not _is_plain(c)]
    if wrong or not candidates:
        raise SpaceError(
            f"the value choice {label!r} offers {wrong[0] if wrong else 'nothing'!r}.\n"
            "  expected: numbers, words, True, False, None, or tuples of those\n"
            "  fix: choose between names, and look up what they stand for where it is used"
        )


def _without_lists(value: Any) -> Any:
    return tuple(map(_without_lists, value)) if isinstance(value, (list, tuple)) else value


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(map(_is_plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (str, int))
