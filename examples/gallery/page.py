"""``python -m examples.gallery.page``: write the tables of ``docs/gallery.md`` from the results.

A test fails where the page is not what the results say.
"""

from __future__ import annotations

import inspect
import math
import statistics
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .__main__ import RESULTS, TASKS
from .compare import Network, Results, Run, Task

PAGE = Path(__file__).parents[2] / "docs" / "gallery.md"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def page(text: str) -> str:
    """Return ``text`` with what is between the markers written anew."""
    for name, task in TASKS.items():
        begin = f"<!-- {name}: written by python -m examples.gallery.page -->\n"
        end = f"<!-- /{name} -->\n"
        before, rest = text.split(begin)
        runs = list(Results(RESULTS / f"{name}.json").runs.values())
        text = before + begin + Report(task, runs).text() + end + rest.split(end)[1]
    return text


class Report:
    """What the runs of one task say.

    Args:
        task: which.
        runs: one for each seed.
    """

    def __init__(self, task: Task, runs: Sequence[Run]) -> None:
        self.task, self.runs = task, runs
        self.bits = task.metric == "bits"
        self.scale = 1 if self.bits else 100
        self.digits = 3 if self.bits else 1

    def text(self) -> str:
        """Return the verdict, both tables and the code that it is about, in Markdown."""
        parts = [self._verdict(), self._summary(), self._seeds(), self._code()]
        return "\n".join(line for part in parts for line in [*part, ""])

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
            fits = "the largest network within the limit"
            others[fits] = self.gain(lambda run: run.fitting or run.largest)
        share = statistics.fmean(run.found.macs / run.largest.macs for run in self.runs)
        first = self.runs[0]
        return [
            f"On the test data, over {len(self.runs)} seeds, what `{self.task.strategy}` found is",
            "",
            *(f"- {self._compared(gains)} {other}" for other, gains in others.items()),
            "",
            f"What `{self.task.strategy}` found has {share:.0%} of the MACs of the largest network "
            f"in the mean. The search costs as much as {first.cost:.1f} networks trained from "
            f"scratch; random search trains {len(first.random)}.",
        ]

    def _code(self) -> list[str]:
        """Return what is open, and how it is searched, as it stands in the script."""
        model: Any = self.task.model  # mypy: reading __init__ of a class may be that of another
        open_ = textwrap.dedent(inspect.getsource(model.__init__))
        return ["```py", open_, inspect.getsource(self.task.find) + "```"]

    def _compared(self, gains: Sequence[float]) -> str:
        """Say which is better and by how much, and whether that is more than two errors."""
        mean, error = statistics.fmean(gains), standard_error(gains)
        unit = "bits" if self.bits else "points"
        word = "better" if mean > 0 else "worse"
        size = f"{abs(mean) * self.scale:.{self.digits}f} ± {error * self.scale:.{self.digits}f}"
        doubt = "" if abs(mean) > 2 * error else " (less than two standard errors)"
        return f"{size} {unit} {word}{doubt} than"

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
        networks = [run.fitting for run in self.runs if run.fitting]
        return [self._row("the largest within the limit", networks)] if networks else []

    def _row(
        self, name: str, networks: Sequence[Network], tests: Sequence[float] | None = None
    ) -> str:
        tests = tests or [network.test for network in networks]
        size = statistics.fmean(network.parameters for network in networks)
        work = statistics.fmean(network.macs for network in networks) / 1000
        mean, error = statistics.fmean(tests) * self.scale, standard_error(tests) * self.scale
        shown = f"{mean:.{self.digits}f} ± {error:.{self.digits}f}"
        return f"| {name} | {shown} | {size:,.0f} | {work:,.0f} |"

    def _seeds(self) -> list[str]:
        head = "| seed | found | its test | random search | largest | its 1000 MACs | search, s |"
        rows = []
        for run in self.runs:
            tests = [run.found.test, self.searched(run).test, run.largest.test]
            cells = [f"{test * self.scale:.{self.digits}f}" for test in tests]
            rows.append(
                f"| {run.seed} | {described(run.found)} | {' | '.join(cells)} "
                f"| {run.found.macs / 1000:,.0f} | {run.seconds:.0f} |"
            )
        return [head, "|---|---|---|---|---|---|---|", *rows]


def described(network: Network) -> str:
    """Return the choices of a network, by label."""
    return ", ".join(f"{label} {choice}" for label, choice in network.architecture.items())


def standard_error(values: Sequence[float]) -> float:
    """Return the standard error of the mean."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


if __name__ == "__main__":
    main()
