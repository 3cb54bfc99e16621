"""What came out of conformance checks. Imports no torch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from oneshot_core import __version__

SCHEMA = "oneshot.conformance/1"
Outcome = Literal["passed", "failed", "advice", "skipped", "expected"]


@dataclass(frozen=True, slots=True)
class Result:
    """What one check found.

    ==============  ===================================================================
    outcome         means
    ==============  ===================================================================
    ``passed``      it holds
    ``failed``      it does not, or it was declared to fail and holds; see ``message``
    ``advice``      it does not, and is recommended only; see ``message``
    ``skipped``     there was nothing to check; ``message`` says why
    ``expected``    it does not hold, as the plugin declares; ``message`` is the reason
    ==============  ===================================================================

    Args:
        check: the id, such as ``"supernet.equals-frozen"``.
        subject: what was checked, such as ``"supernet:layer-choice"``.
        outcome: see the table.
        message: what happened, ``expected:`` and ``fix:``; or the reason.
        traceback: of what a component raised, empty if a check found the fault.
    """

    check: str
    subject: str
    outcome: Outcome
    message: str = ""
    traceback: str = ""

    def __str__(self) -> str:
        head = f"{self.outcome}  {self.subject}  {self.check}"
        return head + "".join(f"\n    {line}" for line in self.message.splitlines())


@dataclass(frozen=True, slots=True)
class Report:
    """The results of some checks, in the order in which they ran."""

    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    @property
    def failed(self) -> list[Result]:
        """The failures."""
        return [result for result in self.results if result.outcome == "failed"]

    @property
    def counts(self) -> dict[str, int]:
        """How many results there are of each outcome."""
        counter = Counter(result.outcome for result in self.results)
        return {outcome: counter[outcome] for outcome in get_args(Outcome)}

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __str__(self) -> str:
        told = [str(result) for result in self if result.outcome != "passed"]
        return "\n".join([*told, self.summary])

    @property
    def summary(self) -> str:
        """One line: how many results there are of each outcome."""
        return ", ".join(f"{n} {outcome}" for outcome, n in self.counts.items() if n) or "no checks"

    def as_dict(self) -> dict[str, object]:
        """Return the report as JSON-able values, with its schema."""
        return {
            "schema": SCHEMA,
            "core": __version__,
            "ok": self.ok,
            "counts": self.counts,
            "results": [asdict(result) for result in self],
        }

    def to_json(self) -> str:
        """Return :meth:`as_dict` as text."""
        return json.dumps(self.as_dict(), indent=2)
