"""What a search is to be held against: random architectures, the largest one, and mere size."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, quantiles
from typing import TYPE_CHECKING, TypeAlias

from oneshot_core.architecture import Architecture
from oneshot_core.errors import RankingError
from oneshot_core.model_space import ModelSpace
from oneshot_core.searching import Proposals
from oneshot_core.space import Choice
from oneshot_plugins.costs.sizes import Counter, extremes

from .agreement import kendall_tau

if TYPE_CHECKING:
    from oneshot_core.lightning import BaseOneShotLightningModule

Truth: TypeAlias = "Mapping[Architecture, float] | Callable[[Architecture], float]"
Values: TypeAlias = Mapping[str, float]

SIZE = "parameters"
"""Column of the number of parameters, which is always there."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """One row of the comparison.

    Attributes:
        name: what the numbers are of.
        values: name of a quantity -> number; NaN where there is none.
        architecture: whose numbers they are, None for those of several.
    """

    name: str
    values: Values
    architecture: Architecture | None = None


class Baselines:
    """The trivial ways to an architecture beside the one that was taken.

    Args:
        rows: to compare.
        sample: random architectures, or all there are, with their numbers.
        judged: the architectures whose truth is known, with their numbers and the ``"truth"``.

    Attributes:
        rows: as given.
        sample: as given.
        agreement: pair of names -> Kendall's tau-b of their numbers as they are, over ``sample``,
            or over ``judged`` for pairs with ``"truth"``. Where a cost agrees with the truth as
            well as the score does, the supernet tells nothing that counting would not.
    """

    def __init__(
        self,
        rows: Iterable[Baseline],
        sample: Mapping[Architecture, Values],
        judged: Mapping[Architecture, Values] | None = None,
    ) -> None:
        self.rows = list(rows)
        self.sample = dict(sample)
        names = list(self.rows[0].values)
        self.agreement = {(a, b): _tau(self.sample, a, b) for a, b in combinations(names, 2)} | {
            (name, "truth"): _tau(judged, name, "truth") for name in names if judged
        }

    def to_dict(self, scored: Collection[Architecture] = ()) -> dict[str, object]:
        """Return rows, random architectures and agreements as plain data.

        NaN and infinity become None.

        Args:
            scored: what is written beside it; ``"random"`` is None if that holds all of them.
        """
        known = all(architecture in scored for architecture in self.sample)
        return {
            "rows": [
                {
                    "name": row.name,
                    "values": finite_values(row.values),
                    "architecture": None if row.architecture is None else dict(row.architecture),
                }
                for row in self.rows
            ],
            "random": None
            if known
            else [
                {"architecture": dict(a), "values": finite_values(values)}
                for a, values in self.sample.items()
            ],
            "kendall_tau": [
                {"between": list(pair), "tau": finite(tau)} for pair, tau in self.agreement.items()
            ],
        }

    def __str__(self) -> str:
        names = list(self.rows[0].values)
        table = [["beside it", *names]]
        table += [[row.name, *(_shown(row.values[n]) for n in names)] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join([first.ljust(widths[0]), *map(str.rjust, cells, widths[1:])])
            for first, *cells in table
        ]
        for (a, b), tau in self.agreement.items():
            said = "none, for one has no two different numbers" if math.isnan(tau) else f"{tau:.2f}"
            lines.append(f"Kendall tau of {a} and {b}: {said}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Baselines: {', '.join(row.name for row in self.rows)}>"


def _tau(numbers: Mapping[Architecture, Values] | None, a: str, b: str) -> float:
    rows = list((numbers or {}).values())
    return kendall_tau([row[a] for row in rows], [row[b] for row in rows])


class Beside:
    """Random architectures and the largest one, to be scored after what is asked for.

    Args:
        search: with a trained supernet.
        n: how many random ones, if there are as many.

    Attributes:
        random: they, drawn by the seed of the search.
        largest: has the most parameters; found by changing one choice at a time where the space
            is too large to count all.
        begins: how many were asked for, once all of these are scored.
    """

    def __init__(self, search: BaseOneShotLightningModule, n: int) -> None:
        self.space = search.space
        self.count = Counter(search.model)
        drawn = draw_different(self.space, int(min(n, self.space.size)), search.seed)
        self.random = [Architecture(a, self.space) for a in drawn]
        self.largest = Architecture(extremes(self.space, self.count)[1], self.space)
        self.begins = 0

    @property
    def wanted(self) -> list[Architecture]:
        """What is to be scored, each once."""
        return list(dict.fromkeys([*self.random, self.largest]))

    def after(self, proposals: Proposals) -> Proposals:
        """Yield ``proposals``, and then what is wanted and was not among them."""
        seen: set[Architecture] = set()
        self.begins = 0
        try:
            proposal = next(proposals)
            while True:
                seen.add(Architecture(proposal, self.space))
                self.begins += 1
                proposal = proposals.send((yield proposal))
        except StopIteration:
            pass
        for architecture in self.wanted:
            if architecture not in seen:
                yield architecture

    def compared(
        self,
        values: Mapping[Architecture, Values],
        found: Sequence[Architecture],
        objectives: Mapping[str, str],
        truth: Truth | None = None,
        judged: Sequence[Architecture] | None = None,
        keeps: Callable[[Values], bool] = lambda values: True,
    ) -> Baselines:
        """Return the comparison.

        Args:
            values: the numbers of all that was scored.
            found: what was asked for.
            objectives: name -> ``"max"`` or ``"min"``.
            truth: see :func:`true_values`.
            judged: of which it is asked; None for what was found.
            keeps: whether numbers are such that an architecture could have been found.

        Raises:
            RankingError: see :func:`true_values`.
        """
        sized = {a: {**v, SIZE: v.get(SIZE, float(self.count(a)))} for a, v in values.items()}
        sample = {a: sized[a] for a in self.random}
        whole = len(sample) == self.space.size
        names = list(sized[self.largest])
        best = "best" if len(objectives) == 1 else "each best"
        rows = [_best(f"{best} found", {a: sized[a] for a in found}, objectives, names)]
        rows += summary(sample, whole=whole)
        if not whole:
            allowed = {a: v for a, v in sample.items() if keeps(v)}
            rows.append(_best(f"{best} of {len(sample)} random", allowed, objectives, names))
        rows.append(Baseline("largest", sized[self.largest], self.largest))
        true = {} if truth is None else true_values(truth, found if judged is None else judged)
        return Baselines(rows, sample, {a: {**sized[a], "truth": t} for a, t in true.items()})


def draw_different(space: ModelSpace, n: int, seed: int) -> list[dict[str, Choice]]:
    """Return ``n`` different random architectures.

    Raises:
        RankingError: the space does not hold as many.
    """
    if not 1 <= n <= space.size:
        raise RankingError(
            f"{n} different architectures were asked for",
            expected=f"1 to {space.size:,}, the size of the model space",
            fix="ask for fewer, or for 'all'",
        )
    rng = random.Random(f"{seed}/rank")
    if 2 * n > space.size:  # drawing would meet the same ones again and again
        return rng.sample(list(space.architectures()), n)
    found: dict[Architecture, dict[str, Choice]] = {}
    while len(found) < n:
        drawn = space.sample(rng)
        found.setdefault(Architecture(drawn), drawn)
    return list(found.values())


def true_values(truth: Truth, scored: Sequence[Architecture]) -> dict[Architecture, float]:
    """Return what is known of the scored architectures.

    Raises:
        RankingError: it is about fewer than two of them.
    """
    if isinstance(truth, Mapping):
        values = {Architecture(a): float(value) for a, value in truth.items()}
        known = {a: values[a] for a in scored if a in values}
    else:
        known = {a: float(truth(a)) for a in scored}
    if len(known) < 2:
        raise RankingError(
            f"the ground truth is about {len(known)} of {len(scored)} scored architectures",
            expected="two or more of them",
            fix="give the truth of architectures that were scored",
        )
    return known


def refuse_truth_alone(truth: Truth | None, baselines: bool | None) -> None:
    """Refuse a truth that nothing would be compared with.

    Raises:
        RankingError: there is one, and no baselines.
    """
    if truth is not None and baselines is False:
        raise RankingError(
            "a truth is given with baselines=False",
            expected="baselines, which say how well scores and costs agree with the truth",
            fix="leave baselines out; kendall_tau(truth) of what is returned needs none",
        )


def _best(
    name: str,
    scored: Mapping[Architecture, Values],
    objectives: Mapping[str, str],
    names: Iterable[str],
) -> Baseline:
    """Return the best of one objective with all its numbers, or the best number of each."""
    numbers = dict.fromkeys(names, math.nan)
    best = None
    for objective, mode in objectives.items():
        sign = 1.0 if mode == "max" else -1.0
        known = [a for a, v in scored.items() if not math.isnan(v[objective])]
        if known:
            # max() keeps the first of equals.
            best = max(known, key=lambda a: sign * scored[a][objective])
            numbers[objective] = scored[best][objective]
    if best is None or len(objectives) > 1:
        return Baseline(name, numbers)
    return Baseline(name, scored[best], best)


def summary(sample: Mapping[Architecture, Values], *, whole: bool) -> list[Baseline]:
    """Return the rows about a sample: its mean, and its quartiles if it is the whole space."""
    names = list(next(iter(sample.values())))
    columns = {name: [values[name] for values in sample.values()] for name in names}
    columns = {n: [v for v in c if not math.isnan(v)] or [math.nan] for n, c in columns.items()}
    of = f"all {len(sample)}" if whole else f"{len(sample)} random"
    rows = [Baseline(f"mean of {of}", {n: fmean(column) for n, column in columns.items()})]
    if whole:
        cuts = {n: _quartiles(column) for n, column in columns.items()}
        rows += [
            Baseline(f"{name} of {of}", {n: cut[i] for n, cut in cuts.items()})
            for i, name in enumerate(("lower quartile", "median", "upper quartile"))
        ]
    return rows


def _quartiles(column: Sequence[float]) -> list[float]:
    return quantiles(column, method="inclusive") if len(column) > 1 else [column[0]] * 3


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.6g}"


def finite(value: float) -> float | None:
    """Return what JSON can hold."""
    return value if math.isfinite(value) else None


def finite_values(values: Values) -> dict[str, float | None]:
    """Return values as JSON can hold them."""
    return {name: finite(value) for name, value in values.items()}
