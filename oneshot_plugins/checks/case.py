"""One check of one thing: what a check gets, how it fails, how it is run. Imports no torch."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from oneshot_core.discovery import Record, Registry, describe, import_target
from oneshot_core.errors import ConformanceError, OneShotError, PluginLoadError
from oneshot_core.hookspecs import Conformance
from oneshot_core.terminal import stopped_by_signal

from .report import Result

Level = Literal["required", "recommended"]


SAMPLES_CHECK = "component.samples-repeat-themselves"
"""The check that tells what is wrong with samples; all others are then skipped."""


class NothingToCheckError(Exception):
    """A check does not apply here; the message says why."""


class SamplesError(ConformanceError):
    """What is declared to try a component with cannot be used. The component is not to blame."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Something to try a component with.

    Both functions are called many times, and must repeat themselves. Before each call the global
    generators of Python, NumPy and torch get one seed, so what draws from those does.

    Args:
        make: a function that builds it: a choice for a supernet, a module for a mutation hook, a
            model space for a space. Each call builds a new and equal one, whatever was done to
            those before.
        inputs: a function that builds what it is called with, as a tuple. Each call returns equal
            values.
        name: what is special about it, for tables; samples of one name are told as one.

    Raises:
        SamplesError: ``make`` or ``inputs`` is no function.
    """

    make: Callable[[], Any]
    inputs: Callable[[], tuple[Any, ...]]
    name: str = ""

    def __post_init__(self) -> None:
        for name in ("make", "inputs"):
            value = getattr(self, name)
            if not callable(value):
                raise SamplesError(
                    f"Sample got {name}= of the type {type(value).__name__}, which cannot be "
                    "called",
                    expected="a function without arguments, which is called for every check",
                    fix=f"{name}=lambda: ..., which builds and returns it",
                )


def same_each_time(make: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that calls ``make`` with torch's seed 0, so that each result is equal.

    For :class:`Sample`, whose ``make`` builds layers with random weights. The global generator
    is left as it was.
    """

    def build() -> Any:
        import torch  # not to list or plan checks

        with torch.random.fork_rng():
            torch.manual_seed(0)
            return make()

    return build


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked: a component, or two together, or a manifest.

    Args:
        record: of the component or manifest.
        registry: where everything is looked up.
        declared: by all plugins.
        partner: of the second component.
    """

    record: Record
    registry: Registry
    declared: Conformance = field(default_factory=Conformance)
    partner: Record | None = None
    _usable: set[tuple[str, int]] = field(default_factory=set, compare=False, repr=False)
    """Keys and numbers of samples that repeat themselves."""

    @property
    def name(self) -> str:
        """The id, or both with ``x`` between them."""
        return self.record.id if self.partner is None else f"{self.record.id} x {self.partner.id}"

    def load(self) -> Any:
        """Return what the component stands for."""
        return self.registry.load(self.record.id)

    def samples(self, *more: str) -> list[Any]:
        """Return what is declared to try this component with; samples repeat themselves.

        Args:
            *more: further keys, after the component's id.

        Raises:
            SamplesError: the function that is named cannot be used, or a sample does not repeat
                itself.
        """
        found: list[Any] = []
        for key in (self.record.id, *more):
            target = self.declared.samples.get(key)
            if target is None:
                continue
            try:
                declared = list(import_target(target)())  # type: ignore[operator]
            except SamplesError:
                raise
            except Exception as error:
                raise SamplesError(
                    f"the samples for {key!r} cannot be made: {describe(error, target)}",
                    expected="'package.module:function', which returns a list",
                    fix="correct Conformance(samples=...) of the plugin, or the function",
                ) from error
            found += [self._usable_one(one, key, n) for n, one in enumerate(declared)]
        return found

    def _usable_one(self, sample: Any, key: str, number: int) -> Any:
        """Return a sample that starts from one seed; keyword arguments as they are."""
        takes_options = key.partition(":")[0] in ("strategy", "searcher", "cost", "command")
        if takes_options and isinstance(sample, Mapping):
            return sample
        if not takes_options and isinstance(sample, Sample):
            from .samples import require_repeatable, seeded  # imports torch

            sample = seeded(sample)
            if (key, number) not in self._usable:
                require_repeatable(sample, f"sample {number} for {key!r}")
                self._usable.add((key, number))
            return sample
        raise SamplesError(
            f"sample {number} for {key!r} is a {type(sample).__name__}",
            expected=f"{'a dict of keyword arguments' if takes_options else 'a Sample'}",
            fix="return a list of these from the function that Conformance(samples=...) names",
        )

    def options(self) -> list[Mapping[str, Any]]:
        """Return the keyword arguments to try the component with; none if none are declared."""
        return self.samples() or [{}]


@dataclass(frozen=True, slots=True)
class Check:
    """One promise that components keep, as a function that raises where it is broken.

    The part of the id before the dot says what it is for: a kind (with ``-`` for ``_``),
    ``packaging`` for manifests, ``component`` for all components, ``cross`` for pairs.

    Args:
        id: never given to another promise, for plugins name it in ``expected_failures``.
        function: checks one subject.
        level: ``"required"``; or ``"recommended"``: where it does not hold, that is advice and
            no failure. Promises that are new in a release are recommended until the next.
    """

    id: str
    function: Callable[[Subject], None]
    level: Level = "required"

    @property
    def scope(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]

    @property
    def doc(self) -> str:
        """What is promised, and why."""
        return self.function.__doc__ or ""


def checks(
    scope: str, *functions: Callable[[Subject], None], level: Level = "required"
) -> tuple[Check, ...]:
    """Return the checks of a scope; ``equals_frozen`` becomes ``"scope.equals-frozen"``."""
    return tuple(Check(f"{scope}.{f.__name__.replace('_', '-')}", f, level) for f in functions)


@dataclass(frozen=True, slots=True)
class Case:
    """One check of one subject."""

    check: Check
    subject: Subject

    def __str__(self) -> str:
        return f"{self.check.id}[{self.subject.name}]"

    @property
    def expected_failure(self) -> str | None:
        """Why it is declared to fail, None if it is not."""
        for (subject, check), reason in self.subject.declared.expected_failures.items():
            if fnmatchcase(self.subject.name, subject) and fnmatchcase(self.check.id, check):
                return reason
        return None

    def run(self) -> Result:
        """Run the check; whatever it raises is a result.

        It runs in an empty working directory. Random states, warnings, log levels and settings
        such as torch's default dtype are afterwards as they were.

        Raises:
            KeyboardInterrupt: a signal asks the process to stop (Ctrl-C, or SIGTERM while a
                network trains); that says nothing about the component.
        """
        from .isolation import isolated  # imports torch

        reason = self.expected_failure
        try:
            with isolated():
                if self.check.scope not in ("packaging", "component"):
                    self._require_that_all_loads()
                self.check.function(self.subject)
        except NothingToCheckError as nothing:
            return self._result("skipped", str(nothing))
        except SamplesError as error:
            if self.check.id == SAMPLES_CHECK:
                return self._result("failed", str(error), _where(error))
            return self._result("skipped", f"its samples cannot be used; see {SAMPLES_CHECK}")
        except (Exception, SystemExit) as error:
            if stopped_by_signal(error) is not None:
                raise KeyboardInterrupt from error  # pytest takes a SystemExit for a failed test
            message = self._explain(error)
            if reason is not None:
                return self._result("expected", f"{reason}\n  now: {message}")
            outcome = "failed" if self.check.level == "required" else "advice"
            return self._result(outcome, message, _where(error))
        if reason is not None:
            return self._result(
                "failed",
                f"it holds, though it is declared to fail: {reason}.\n"
                "  expected: no declaration for what holds\n"
                "  fix: take it out of expected_failures, or name there exactly what fails",
            )
        return self._result("passed")

    def _require_that_all_loads(self) -> None:
        both = [self.subject.record, self.subject.partner]
        for record in filter(None, both):
            try:
                self.subject.registry.load(record.id)
            except PluginLoadError:
                raise NothingToCheckError(
                    f"{record.id} does not load; see component.target-loads"
                ) from None

    def _explain(self, error: BaseException) -> str:
        if isinstance(error, ConformanceError):
            return str(error)
        if isinstance(error, OneShotError) and error.fix:
            return f"{type(error).__name__}: {error}"
        target = self.subject.record.component.target
        return (
            f"{describe(error, target)}.\n"
            f"  expected: {' '.join(self.check.doc.split())}\n"
            f"  fix: correct what raises, with `oneshot plugins check {self.subject.record.id}`"
        )

    def _result(self, outcome: Any, message: str = "", trace: str = "") -> Result:
        return Result(self.check.id, self.subject.name, outcome, message, trace)


def _where(error: BaseException) -> str:
    """Return the traceback of what was raised by a component, and not by a check."""
    if isinstance(error, ConformanceError) and error.__cause__ is None:
        return ""
    return "".join(traceback.format_exception(error))


def require(holds: bool, what: str, expected: str, fix: str) -> None:
    """Raise in three parts unless something holds.

    Raises:
        ConformanceError: it does not.
    """
    if not holds:
        raise ConformanceError(what, expected=expected, fix=fix)


def require_samples(samples: Sequence[Any], key: str, what: str) -> None:
    """Refuse to check without anything to check with.

    Raises:
        ConformanceError: there are no samples.
    """
    require(
        bool(samples),
        f"there is no {what} to try it with",
        f"samples for {key!r}, declared by the hook oneshot_conformance",
        f"return Conformance(samples={{{key!r}: 'package.module:function'}}) from the manifest",
    )
