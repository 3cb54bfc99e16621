"""The demo's one picture: what the search saw, and what came of it."""

from __future__ import annotations

from pathlib import Path

import matplotlib.ticker as mtick
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oneshot_core import Ranking, freeze
from oneshot_core.files import whole_file
from oneshot_core.space import Candidate
from oneshot_plugins.costs.counts import parameters
from oneshot_plugins.spaces.chain import OPERATIONS, Chain1d

from .experiment import Result

FOUND, OTHER, CLOUD = "#d1495b", "#30638e", "#b8c4ce"
HUMAN, CNN = 0.96, 0.94


def draw(
    path: Path,
    results: dict[str, Result],
    *,
    ranking: Ranking | None,
    probabilities: dict[str, dict[Candidate, float]],
) -> Path:
    """Write the figure to ``path`` and return it.

    Args:
        path: PNG or SVG by its suffix.
        results: name -> trained network; the first was found by the search.
        ranking: of all networks, shown as a cloud; without one the probabilities are shown.
        probabilities: label -> candidate -> probability.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    found = next(iter(results.values()))
    if ranking is not None:
        _cloud(left, ranking, found)
    else:
        _heat(left, probabilities)
    _dots(right, results)
    figure.suptitle(
        "Found on MNIST-1D: " + " → ".join(str(c) for c in found.architecture.values()),
        fontsize=13,
        fontweight="bold",
    )
    with whole_file(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=150)
    return path


def _cloud(axes: Axes, ranking: Ranking, found: Result) -> None:
    model = Chain1d()
    sizes = [parameters(freeze(model, entry.architecture)) for entry in ranking]
    scores = [entry.score for entry in ranking]
    axes.scatter(sizes, scores, s=14, color=CLOUD, label=f"all {len(ranking)} networks")
    axes.scatter(sizes[:1], scores[:1], s=150, marker="*", color=FOUND, zorder=3, label="chosen")
    axes.set_title("Every network, scored with shared weights", loc="left", fontsize=11)
    axes.set_xlabel("parameters")
    axes.set_ylabel("validation accuracy, not retrained")
    axes.yaxis.set_major_formatter(mtick.PercentFormatter(1, decimals=0))
    axes.xaxis.set_major_formatter(mtick.StrMethodFormatter("{x:,.0f}"))
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _heat(axes: Axes, probabilities: dict[str, dict[Candidate, float]]) -> None:
    labels, names = list(probabilities), list(OPERATIONS)
    table = np.array([[probabilities[label][name] for label in labels] for name in names])
    axes.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        color = "white" if value > 0.6 else "black"
        axes.text(column, row, f"{value:.0%}", ha="center", va="center", color=color)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(names)), names)
    axes.set_title("Probability of each operation after the search", loc="left", fontsize=11)


def _dots(axes: Axes, results: dict[str, Result]) -> None:
    names = [f"{name}\n{result.parameters:,} params" for name, result in results.items()]
    values = [result.test for result in results.values()]
    colors = [FOUND] + [OTHER] * (len(values) - 1)
    # Dots, not bars: the axis does not start at 0.
    axes.scatter(names, values, s=[260] + [120] * (len(values) - 1), c=colors, zorder=3)
    axes.scatter(names[:1], values[:1], s=60, marker="*", color="white", zorder=4)
    for name, value in zip(names, values, strict=True):
        axes.annotate(
            f"{value:.1%}", (name, value), (14, 0), textcoords="offset points", va="center"
        )
    axes.margins(x=0.25)
    for value, text in ((HUMAN, "human 96 %"), (CNN, "paper's CNN 94 %, 5,210 parameters")):
        axes.axhline(value, color="black", linewidth=0.8, linestyle="--", zorder=0)
        axes.annotate(
            text,
            (1.01, value),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            wrap=True,
        )
    axes.set_ylim(max(0.0, min([*values, CNN]) - 0.02), min(1.0, max([*values, HUMAN]) + 0.02))
    axes.yaxis.set_major_formatter(mtick.PercentFormatter(1, decimals=0))
    axes.set_title("Test accuracy, each trained from scratch", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
