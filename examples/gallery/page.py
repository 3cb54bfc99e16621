"""``python -m examples.gallery.page``: write the tables of ``docs/gallery.md`` from the results.

A test fails where the page is not what the results say.
"""

from __future__ import annotations

import inspect
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import oneshot_core as oneshot

from . import digits, mnist1d
from .__main__ import RESULTS, TASKS
from .compare import Network, Results, Run, Task
from .text import Block

PAGE = Path(__file__).parents[2] / "docs" / "gallery.md"
WRITER = "python -m examples.gallery.page"
LAYERS: dict[str, list[Any]] = {
    "mnist1d": [mnist1d.block],
    "digits": [digits.operations],
    "text": [Block],
}
"""What a script's model is made of, to be shown before it."""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def page(text: str) -> str:
    """Return ``text`` with what is between the markers written anew."""
    reports = {name: Report.of(task) for name, task in TASKS.items()}
    text = _between(text, "all", summary(reports.values()))
    for name, report in reports.items():
        text = _between(text, name, report.text())
        text = _between(text, f"{name}.py", code(report.task))
    return text


def summary(reports: Iterable[Report]) -> str:
    """Return a table with one row for each task, in Markdown."""
    rows = [
        "| task | strategy | against random search | against the largest | MACs of the largest |",
        "|---|---|---|---|---|",
    ]
    for report in reports:
        differences = (report.gain(report.searched), report.gain(lambda run: run.largest))
        cells = [report.task.name, f"`{report.task.strategy}`", *map(report.signed, differences)]
        rows.append(f"| {' | '.join(cells)} | {report.share:.0%} |")
    return "\n".join(rows) + "\n"


def code(task: Task) -> str:
    """Return what is open and how it is searched, as it stands in the script of ``task``."""
    parts = map(_source, [*LAYERS[task.name], task.model, task.find])
    return "```py\n" + "\n\n".join(parts) + "```\n"


def _source(thing: Any) -> str:
    """Return a function, or the beginning of a class and how it is made."""
    source = inspect.getsource(thing)
    if not inspect.isclass(thing):
        return source
    head = source.splitlines(keepends=True)[0]
    return head + inspect.getsource(thing.__init__) + "\n    ...\n"


def _between(text: str, name: str, new: str) -> str:
    begin, end = f"<!-- {name}: written by {WRITER} -->\n", f"<!-- /{name} -->\n"
    before, rest = text.split(begin)
    return before + begin + "\n" + new + "\n" + end + rest.split(end)[1]


class Report:
    """What the runs of one task say.

    Args:
        task: which.
        runs: one for each seed.
    """

    def __init__(self, task: Task, runs: Sequence[Run]) -> None:
        self.task, self.runs = task, runs
        self.order = [*oneshot.ModelSpace(task.model()).specs]
        self.bits = task.metric == "bits"
        self.unit = "bits" if self.bits else "points"
        self.scale = 1 if self.bits else 100
        self.digits = 3 if self.bits else 1

    @classmethod
    def of(cls, task: Task) -> Report:
        """Return the report of the runs that are kept in the repository."""
        return cls(task, list(Results(RESULTS / f"{task.name}.json").runs.values()))

    @property
    def share(self) -> float:
        """MACs of what was found, in those of the largest network; the mean."""
        return statistics.fmean(run.found.macs / run.largest.macs for run in self.runs)

    def text(self) -> str:
        """Return the verdict and both tables, in Markdown."""
        parts = [self._verdict(), self._summary(), self._seeds()]
        return "\n\n".join("\n".join(part) for part in parts) + "\n"

    def searched(self, run: Run) -> Network:
        """Return what random search would take: the best on validation, the first of equals."""
        if self.bits:
            return min(run.random, key=lambda network: network.validation)
        return max(run.random, key=lambda network: network.validation)

    def gain(self, other: Callable[[Run], Network]) -> list[float]:
        """Return by how much each seed's answer is better than another network of that seed."""
        sign = -1 if self.bits else 1
        return [sign * (run.found.test - other(run).test) for run in self.runs]

    def _verdict(self) -> list[str]:
        others = {
            "random search of equal cost": self.gain(self.searched),
            "the largest network": self.gain(lambda run: run.largest),
        }
        if self.task.macs_limit:
            others["the largest network within the limit"] = self.gain(fitting)
        first = self.runs[0]
        return [
            f"On the test data, over {len(self.runs)} seeds, what `{self.task.strategy}` found is",
            "",
            *(f"- {self._compared(gains)} {other}" for other, gains in others.items()),
            "",
            f"What `{self.task.strategy}` found has {self.share:.0%} of the MACs of the largest "
            f"network in the mean. The search costs as much as {first.cost:.1f} networks trained "
            f"from scratch; random search trains {len(first.random)}.",
        ]

    def signed(self, gains: Sequence[float]) -> str:
        """Return the mean with its sign, its error and unit; in bold what exceeds two errors."""
        mean, error = statistics.fmean(gains), standard_error(gains)
        shown = f"{'+' if mean > 0 else ''}{self._shown(gains)} {self.unit}"
        return f"**{shown}**" if abs(mean) > 2 * error else shown

    def _compared(self, gains: Sequence[float]) -> str:
        """Say which is better and by how much, and whether that is more than two errors."""
        mean = statistics.fmean(gains)
        shown = self._shown(gains if mean > 0 else [-gain for gain in gains])
        word = "better" if mean > 0 else "worse"
        doubt = "" if abs(mean) > 2 * standard_error(gains) else " (less than two standard errors)"
        return f"{shown} {self.unit} {word}{doubt} than"

    def _shown(self, values: Sequence[float]) -> str:
        """Return mean and standard error in the unit of the page."""
        mean, error = statistics.fmean(values) * self.scale, standard_error(values) * self.scale
        shown = f"{mean:.{self.digits}f}"
        return shown if math.isnan(error) else f"{shown} ± {error:.{self.digits}f}"

    def _summary(self) -> list[str]:
        n = len(self.runs[0].random)
        drawn = [network for run in self.runs for network in run.random]
        means = [statistics.fmean(each.test for each in run.random) for run in self.runs]
        metric = "bits per letter" if self.bits else "test accuracy"
        return [
            f"| | {metric} | parameters | 1000 MACs |",
            "|---|---|---|---|",
            self._row(f"found by `{self.task.strategy}`", [run.found for run in self.runs]),
            self._row(f"random search, best of {n}", [*map(self.searched, self.runs)]),
            self._row(f"one random network, mean of {len(drawn)}", drawn, means),
            self._row("the largest network", [run.largest for run in self.runs]),
            *self._fitting(),
        ]

    def _fitting(self) -> list[str]:
        if not self.task.macs_limit:
            return []
        return [self._row("the largest within the limit", [*map(fitting, self.runs)])]

    def _row(
        self, name: str, networks: Sequence[Network], tests: Sequence[float] | None = None
    ) -> str:
        tests = tests or [network.test for network in networks]
        size = statistics.fmean(network.parameters for network in networks)
        work = statistics.fmean(network.macs for network in networks) / 1000
        return f"| {name} | {self._shown(tests)} | {size:,.0f} | {work:,.0f} |"

    def _seeds(self) -> list[str]:
        head = "| seed | found | its test | random search | largest | its 1000 MACs | search, s |"
        rows = []
        for run in self.runs:
            chosen = run.found.architecture
            choices = ", ".join(f"{each} {chosen[each]}" for each in self.order if each in chosen)
            tests = [run.found.test, self.searched(run).test, run.largest.test]
            cells = [f"{test * self.scale:.{self.digits}f}" for test in tests]
            rows.append(
                f"| {run.seed} | {choices} | {' | '.join(cells)} "
                f"| {run.found.macs / 1000:,.0f} | {run.seconds:.0f} |"
            )
        return [head, "|---|---|---|---|---|---|---|", *rows]


def fitting(run: Run) -> Network:
    """Return the largest network within the limit, of a task that has one."""
    if run.fitting is None:
        raise ValueError(f"seed {run.seed} has no network within a limit")
    return run.fitting


def standard_error(values: Sequence[float]) -> float:
    """Return the standard error of the mean; NaN for a single value."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


if __name__ == "__main__":
    main()
