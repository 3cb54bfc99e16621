"""Searches, rankings and fronts as tables and figures, for notebooks and terminals."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from oneshot_core.architecture import Architecture
from oneshot_core.errors import RankingError
from oneshot_core.tables import Table, number
from oneshot_plugins.costs.measured import shown, told

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .baselines import Baselines
    from .evaluation import Ranking
    from .front import ParetoFront

SHOWN = 20
"""Rows of a table of architectures."""
BESIDE = "#b5651d"
"""Color of baselines."""
MARKERS = "DsvP"
STROKES = ("--", ":", "-.", (0, (1, 3)))


def ranking_table(ranking: Ranking) -> Table:
    """Return the best of a ranking: place, score, costs, choices."""
    costs = _cost_names(ranking)
    rows = [
        [
            str(place),
            f"{entry.score:.4f}",
            *(_cell(entry.costs[name]) for name in costs),
            str(entry.architecture),
        ]
        for place, entry in enumerate(ranking.entries[:SHOWN], 1)
    ]
    head = ["", f"{ranking.metric} ({ranking.mode})", *costs, "architecture"]
    title = f"{len(ranking):,} architectures by {ranking.metric}{told(ranking.per)}"
    title = "; ".join([title, *ranking.notes])
    return Table(head, rows, title, max(0, len(ranking) - SHOWN), range(len(head) - 1))


def _cost_names(ranking: Ranking) -> list[str]:
    first = ranking[0].costs if len(ranking) else {}
    return [name for name in first if all(name in entry.costs for entry in ranking)]


def front_table(front: ParetoFront) -> Table:
    """Return the front: objectives, constrained quantities, choices."""
    objectives = front.objectives
    head = [f"{n} ({objectives[n]})" if n in objectives else n for n in front.names]
    rows = [
        [*(_cell(entry.values[name]) for name in front.names), str(entry.architecture)]
        for entry in front.entries[:SHOWN]
    ]
    title = f"{len(front)} of {len(front.scored)} scored architectures are on the front"
    title = "; ".join([f"{title}{told(front.per)}", *front.notes])
    return Table([*head, "architecture"], rows, title, max(0, len(front) - SHOWN), range(len(head)))


def baselines_tables(baselines: Baselines | None) -> list[Table]:
    """Return what stands below a ranking or a front; nothing where there are no baselines."""
    if baselines is None:
        return []
    names = list(baselines.rows[0].values)
    rows = [[row.name, *(_known(row.values[name]) for name in names)] for row in baselines.rows]
    pairs = [[f"{a} and {b}", _known(round(t, 2))] for (a, b), t in baselines.agreement.items()]
    beside = Table(["beside it", *names], rows, right=range(1, len(names) + 1))
    return [beside, Table(["Kendall tau of", ""], pairs, right=[1])]


def _cell(value: float) -> str:
    return shown(value, number(value))


def _axis(name: str, per: Mapping[str, str]) -> str:
    return f"{name}, {per[name]}" if name in per else name


def _known(value: float) -> str:
    return "-" if math.isnan(value) else number(value)


def html(tables: Iterable[Table]) -> str:
    """Return tables below each other, for ``_repr_html_``."""
    return "".join(table.html() for table in tables)


def grouped(tables: Iterable[Table]) -> object:
    """Return tables below each other, for ``__rich__``."""
    from rich.console import Group

    return Group(*(table.rich() for table in tables))


def ranking_figure(ranking: Ranking, cost: str | None) -> Figure:
    """Draw the scores over a cost, or over their places, and what is beside them."""
    costs = _cost_names(ranking)
    if cost is not None and cost not in costs:
        raise RankingError(
            f"a figure over {cost!r}",
            expected=f"one of {costs}, the costs of this ranking",
            fix=f"search.rank(..., costs=[{cost!r}], inputs=...)",
        )
    cost = next(iter(costs), None) if cost is None else cost
    figure, axes = new_figure()
    places = list(range(1, len(ranking) + 1))
    across = places if cost is None else [entry.costs[cost] for entry in ranking]
    scores = [entry.score for entry in ranking]
    scatter(axes, across, scores, across[:1], scores[:1], ("ranked", "best"))
    if ranking.baselines is not None:
        ranked = [entry.architecture for entry in ranking]
        beside(axes, ranking.baselines, cost, ranking.metric, ranked, ranked[:1])
    return finished(figure, "place" if cost is None else _axis(cost, ranking.per), ranking.metric)


def front_figure(front: ParetoFront, x: str, y: str) -> Figure:
    """Draw the front among all that was scored, and what is beside it."""
    figure, axes = new_figure()
    every, best = front.scored, front.entries
    scatter(
        axes,
        [e.values[x] for e in every],
        [e.values[y] for e in every],
        [e.values[x] for e in best],
        [e.values[y] for e in best],
        ("scored", "front"),
    )
    if front.baselines is not None:
        on_it = [entry.architecture for entry in best]
        beside(axes, front.baselines, x, y, [entry.architecture for entry in every], on_it)
    return finished(figure, _axis(x, front.per), _axis(y, front.per))


def new_figure() -> tuple[Figure, Axes]:
    """Return an empty figure that belongs to no window.

    Raises:
        RankingError: matplotlib is missing.
    """
    if find_spec("matplotlib") is None:
        raise RankingError(
            "a figure needs matplotlib, which is not installed",
            expected="the extra 'report' of oneshot-core",
            fix="pip install 'oneshot-core[report]'",
        )
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def scatter(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    best_x: Sequence[float],
    best_y: Sequence[float],
    names: Iterable[str],
) -> None:
    """Draw all points, and the best of them over the others."""
    everything, best = names
    axes.scatter(x, y, s=14, color="#b8c4ce", label=f"{len(x):,} {everything}")
    label = best if len(best_x) == 1 else f"{best} of {len(best_x)}"
    axes.scatter(best_x, best_y, s=40, color="#d1495b", label=label, zorder=3)


def beside(
    axes: Axes,
    baselines: Baselines,
    x: str | None,
    y: str,
    drawn: Collection[Architecture],
    best: Collection[Architecture],
) -> None:
    """Draw the random architectures, and the rows that are those of one architecture.

    Args:
        axes: where.
        baselines: what.
        x: name on the horizontal axis; None if there are places, of which baselines have none:
            then a line across stands for each row.
        y: name on the vertical axis.
        drawn: whose points are there.
        best: of which the names are known.
    """
    known = [row for row in baselines.rows if not math.isnan(row.values.get(y, math.nan))]
    rows = [row for row in known if row.architecture not in best]
    if x is None:
        for index, row in enumerate(rows):
            axes.axhline(
                row.values[y], color=BESIDE, linestyle=STROKES[index % len(STROKES)], label=row.name
            )
        return
    others = [v for a, v in baselines.sample.items() if a not in drawn and x in v and y in v]
    if others:
        axes.scatter(
            [v[x] for v in others], [v[y] for v in others], s=14, facecolors="none",
            edgecolors=BESIDE, linewidths=0.8, label=f"{len(others):,} random",
        )  # fmt: skip
    single = [row for row in rows if row.architecture is not None and x in row.values]
    for index, row in enumerate(single):
        marker = MARKERS[index % len(MARKERS)]
        at = row.values[x], row.values[y]
        axes.scatter(*at, s=60, color=BESIDE, marker=marker, label=row.name, zorder=4)


def finished(figure: Figure, x: str, y: str) -> Figure:
    """Return a figure of one plot, with names on its axes and of what is in it."""
    (axes,) = figure.axes
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    # Below: within the plot it would cover points.
    figure.legend(loc="outside lower center", frameon=False, ncols=3)
    return figure
