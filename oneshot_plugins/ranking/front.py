"""What a search for several objectives found: values, dominance, and ways to read them."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from oneshot_core.architecture import Architecture
from oneshot_core.errors import RankingError
from oneshot_core.files import write_text
from oneshot_plugins.costs.measured import equal, in_order, scaled, spread_of, spreads_of

from .agreement import kendall_tau
from .baselines import Truth, finite_values, true_values
from .better import UNTRAINED, beyond
from .show import baselines_tables, front_figure, front_table, grouped, html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .baselines import Baseline, Baselines

SCHEMA = "oneshot.pareto/1"
Limits = tuple["float | None", "float | None"]
"""Lowest and highest that is allowed; None where there is no limit."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One architecture and what was found out about it.

    Attributes:
        architecture: what was computed.
        values: name -> value of every objective and every constrained quantity; a
            :class:`~oneshot_plugins.costs.measured.Measured` where it has a spread.
        metrics: everything that was logged.
    """

    architecture: Architecture
    values: Mapping[str, float]
    metrics: Mapping[str, float]


def non_dominated(points: Sequence[Sequence[float]]) -> list[int]:
    """Return the positions of the points that none dominates; larger is better.

    A point dominates another if it is nowhere worse and somewhere better: of equal points all
    stay. A point with NaN never stays and dominates nothing. Numbers that differ by no more than
    their spread are equal.
    """
    numbered = [(tuple(p), i) for i, p in enumerate(points) if not any(map(math.isnan, p))]
    if any(spread_of(value) for point, _ in numbered for value in point):
        # What is equal to two numbers may lie between them, so no order says who comes before.
        left = [i for p, i in numbered if not any(_dominates(other, p) for other, _ in numbered)]
        return left or non_dominated([tuple(map(float, p)) for p in points])
    kept: list[tuple[tuple[float, ...], int]] = []
    for point, index in sorted(numbered, reverse=True):  # who dominates comes before
        if not any(_dominates(better, point) for better, _ in kept):
            kept.append((point, index))
    return sorted(index for _, index in kept)


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    pairs = list(zip(a, b, strict=True))
    return all(x >= y or equal(x, y) for x, y in pairs) and any(
        x > y and not equal(x, y) for x, y in pairs
    )


def violation(value: float, limits: Limits) -> float:
    """Return by how much ``value`` is outside of ``limits``; 0 inside, NaN for NaN."""
    low, high = limits
    below = 0.0 if low is None else low - value
    above = 0.0 if high is None else value - high
    return math.nan if math.isnan(value) else max(0.0, below, above)


class ParetoFront:
    """The scored architectures that no other one dominates and that keep all constraints.

    They come in the order of the first objective, best first; of equals the further objectives
    decide, then what was scored first. Numbers that differ by no more than their spread are equal.

    Args:
        scored: in the order in which they were scored.
        objectives: name -> ``"max"`` or ``"min"``.
        constraints: name -> limits.
        baselines: what to hold the front against.
        per: name of a cost -> for how many examples it is, such as ``"per example"``.
        trained: whether the supernet was trained, as far as its search can tell.

    Attributes:
        scored: everything that was scored, not only the front.
        objectives: as given.
        constraints: as given.
        entries: the front.
        baselines: as given; None where none were asked for.
        per: as given; without costs that do not depend on inputs.
        trained: as given.
    """

    def __init__(
        self,
        scored: Iterable[Scored],
        objectives: Mapping[str, str],
        constraints: Mapping[str, Limits] | None = None,
        baselines: Baselines | None = None,
        per: Mapping[str, str] | None = None,
        trained: bool = True,
    ) -> None:
        self.trained = trained
        self.per = dict(per or {})
        self.scored = list(scored)
        self.baselines = baselines
        self.objectives = dict(objectives)
        self.constraints = dict(constraints or {})
        allowed = [s for s in self.scored if self.keeps(s.values)]
        front = [allowed[i] for i in non_dominated([self._signed(s) for s in allowed])]
        self.entries = [front[i] for i in in_order([self._signed(s) for s in front])]

    def keeps(self, values: Mapping[str, float], /, **limits: Limits) -> bool:
        """Say whether values are within the constraints, and within further limits."""
        every = [*self.constraints.items(), *limits.items()]
        return all(violation(values[name], limit) == 0 for name, limit in every)

    def _signed(self, scored: Scored) -> tuple[float, ...]:
        """Return the objectives so that larger is better."""
        return tuple(
            scaled(scored.values[name], 1 if mode == "max" else -1)
            for name, mode in self.objectives.items()
        )

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Scored]:
        return iter(self.entries)

    def __getitem__(self, index: int) -> Scored:
        return self.entries[index]

    @property
    def better(self) -> list[Baseline]:
        """What of the baselines would be on the front, too: random architectures, the largest."""
        return beyond(self.baselines, (e.values for e in self.entries), self.objectives, self.keeps)

    @property
    def notes(self) -> list[str]:
        """What has to be said about the front, in words; mostly nothing."""
        said = [] if self.trained else [UNTRAINED]
        if better := self.better:
            said.append(f"{len(better)} of what was scored beside it belong on it: front.better")
        return said

    @property
    def names(self) -> list[str]:
        """The objectives, then what is only constrained."""
        return list(dict.fromkeys([*self.objectives, *self.constraints]))

    def best(self, by: str | None = None, **limits: Limits | str) -> Architecture:
        """Return the best by one objective among all scored architectures within limits.

        Args:
            by: which objective; by default the first. Of equals, the further ones decide.
            **limits: name -> (lowest, highest), None for no limit; or ``"50%"``: at most half of
                what the largest network has. They count beside the constraints.

        Raises:
            RankingError: a name is unknown, nothing scored is within the limits, or a percentage
                is given and no number of the largest network is known.
        """
        by = next(iter(self.objectives)) if by is None else by
        unknown = [n for n in limits if n not in self.names]
        if by not in self.objectives or unknown:
            raise RankingError(
                f"best(by={by!r}) with limits on {list(limits)}",
                expected=f"by one of {list(self.objectives)}, limits on some of {self.names}",
                fix="correct the names",
            )
        numbers = {name: self._limits(name, limit) for name, limit in limits.items()}
        within = [
            s
            for s in self.scored
            if self.keeps(s.values, **numbers) and not any(map(math.isnan, self._signed(s)))
        ]
        if not within:
            raise RankingError(
                f"none of {len(self.scored)} scored architectures is within "
                f"{limits}{f' and {self.constraints}' if self.constraints else ''}",
                expected="at least one",
                fix="widen the limits, or search with a larger budget",
            )
        first = list(self.objectives).index(by)
        signed = [self._signed(s) for s in within]
        return within[in_order([(values[first], *values) for values in signed])[0]].architecture

    def _limits(self, name: str, given: Limits | str) -> Limits:
        """Return limits as numbers; a percentage is one of the largest network's number."""
        if not isinstance(given, str):
            return given
        part = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", given)
        rows = [] if self.baselines is None else self.baselines.rows
        largest = next((row.values[name] for row in rows if row.name == "largest"), None)
        if part is None or largest is None:
            raise RankingError(
                f"best({name}={given!r})"
                + ("" if part is None else ", and the front knows no largest network"),
                expected="(lowest, highest), or a percentage such as '50%' of a front with "
                "baselines",
                fix=f"best({name}=(None, 1000)), or search.pareto(..., baselines=True)",
            )
        return None, float(largest) * float(part[1]) / 100

    def hypervolume(self, reference: Mapping[str, float]) -> float:
        """Return the volume that the front dominates, down to a reference point. Exact.

        Args:
            reference: objective -> value; only what is better than all of it counts.

        Raises:
            RankingError: ``reference`` names other than the objectives.

        Source: While et al., "A faster algorithm for calculating hypervolume", IEEE TEC 10(1),
        2006: slicing by objectives.
        """
        if reference.keys() != self.objectives.keys():
            raise RankingError(
                f"the reference point is about {list(reference)}",
                expected=f"a number for each of {list(self.objectives)}",
                fix="name them all",
            )
        signs = [1.0 if mode == "max" else -1.0 for mode in self.objectives.values()]
        corner = [s * reference[n] for s, n in zip(signs, self.objectives, strict=True)]
        points = [
            tuple(v - c for v, c in zip(self._signed(e), corner, strict=True)) for e in self.entries
        ]
        return _volume([p for p in points if min(p) > 0])

    def kendall_tau(self, truth: Truth, by: str | None = None) -> float:
        """Return Kendall's tau-b between one quantity of all that was scored and a ground truth.

        Of the numbers as they are: 1 where both order the architectures alike, 0 where the
        quantity says nothing, -1 where it reverses them. NaN if either has no two different
        numbers.

        Args:
            truth: what the architectures are really worth, such as accuracy after training each
                alone. A mapping may be about some of them only.
            by: which objective or constrained quantity; by default the first objective.

        Raises:
            RankingError: the name is unknown, or it is about fewer than two of the architectures.

        Source: :func:`oneshot_plugins.ranking.agreement.kendall_tau`.
        """
        by = self.names[0] if by is None else by
        if by not in self.names:
            raise RankingError(
                f"kendall_tau of {by!r}", expected=f"one of {self.names}", fix="correct by"
            )
        values = true_values(truth, [s.architecture for s in self.scored])
        known = [s for s in self.scored if s.architecture in values]
        return kendall_tau([s.values[by] for s in known], [values[s.architecture] for s in known])

    def to_csv(self, path: str | os.PathLike[str], *, everything: bool = False) -> Path:
        """Write the front, or with ``everything`` all that was scored, then the baselines.

        One line for each. Columns: whose numbers they are (``front``, ``scored``, or the name of
        the baseline), the objectives and constrained quantities, whether it is on the front
        (empty for baselines), and the choices as JSON. Written whole or not at all; returns the
        path.

        Raises:
            OutputError: the file cannot be written; the old one is left.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        baselines = [] if self.baselines is None else self.baselines.rows
        further = [n for row in baselines[:1] for n in row.values if n not in self.names]
        names = [*self.names, *further]
        spreads = list(dict.fromkeys(n for e in self.scored for n in spreads_of(e.values)))
        head = [*names, *(f"{name} spread" for name in spreads)]
        writer.writerow(["row", *head, "on_front", "architecture"])
        for entry in self.scored if everything else self.entries:
            row = [repr(entry.values[n]) if n in entry.values else "" for n in names]
            row += [repr(spread_of(entry.values[n])) for n in spreads]
            on_front = any(entry is other for other in self.entries)
            name = "front" if on_front else "scored"
            writer.writerow([name, *row, on_front, json.dumps(dict(entry.architecture))])
        for beside in baselines:
            row = [repr(beside.values[n]) if n in beside.values else "" for n in names]
            row += [""] * len(spreads)
            of = beside.architecture
            writer.writerow([beside.name, *row, "", "" if of is None else json.dumps(dict(of))])
        return write_text(path, text.getvalue())

    def to_json(self, path: str | os.PathLike[str]) -> Path:
        """Write all that was scored, which of it is the front, and baselines; see ``SCHEMA``.

        NaN and infinity become null. Written whole or not at all; returns the path.

        Raises:
            OutputError: the file cannot be written; the old one is left.
        """
        data = {
            "schema": SCHEMA,
            "objectives": self.objectives,
            "constraints": {name: list(limits) for name, limits in self.constraints.items()},
            "per": self.per,
            "trained": self.trained,
            "scored": [
                {
                    "architecture": dict(entry.architecture),
                    "values": finite_values(entry.values),
                    "metrics": finite_values(entry.metrics),
                    "spreads": finite_values(spreads_of(entry.values)),
                }
                for entry in self.scored
            ],
            "front": [
                next(i for i, other in enumerate(self.scored) if other is entry)
                for entry in self.entries
            ],
            "baselines": None
            if self.baselines is None
            else self.baselines.to_dict({entry.architecture for entry in self.scored}),
        }
        return write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")

    def figure(self, x: str | None = None, y: str | None = None) -> Figure:
        """Draw the front among all that was scored, and the baselines, as a matplotlib figure.

        Args:
            x: name on the horizontal axis; by default the second objective.
            y: name on the vertical axis; by default the first.

        Raises:
            RankingError: matplotlib is missing, or there is no such quantity.
        """
        x = (self.names[1] if len(self.names) > 1 else self.names[0]) if x is None else x
        y = self.names[0] if y is None else y
        if x not in self.names or y not in self.names:
            raise RankingError(
                f"a figure of {y!r} over {x!r}",
                expected=f"two of {self.names}",
                fix="correct x and y",
            )
        return front_figure(self, x, y)

    def __str__(self) -> str:
        table = front_table(self)
        n = len(self.names)
        lines = [[*table.head], *map(list, table.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(n)]
        texts = ["  ".join([*map(str.rjust, line[:n], widths), line[n]]) for line in lines]
        more = [f"... and {table.more} more"] if table.more else []
        below = [] if self.baselines is None else ["", str(self.baselines)]
        return "\n".join([table.title, *texts, *more, *below])

    def __repr__(self) -> str:
        return f"<ParetoFront of {len(self)} among {len(self.scored)} by {self.objectives}>"

    def _repr_html_(self) -> str:
        return html([front_table(self), *baselines_tables(self.baselines)])

    def __rich__(self) -> object:
        return grouped([front_table(self), *baselines_tables(self.baselines)])


def _volume(points: list[tuple[float, ...]]) -> float:
    """Return the volume of the union of boxes from the origin to ``points``, all positive."""
    if not points:
        return 0.0
    if len(points[0]) == 1:
        return max(p[0] for p in points)
    ordered = sorted(points, reverse=True)
    total = 0.0
    for index, point in enumerate(ordered):
        below = ordered[index + 1][0] if index + 1 < len(ordered) else 0.0
        if point[0] > below:
            total += (point[0] - below) * _volume([p[1:] for p in ordered[: index + 1]])
    return total


__all__ = ["ParetoFront", "Scored", "non_dominated"]
