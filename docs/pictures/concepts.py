"""Draw docs/pictures/concepts.svg: one choice, from the bare model to the frozen network."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

CANDIDATES = ["conv3", "conv5", "skip"]
TAKEN, HELD, LEFT, INK = "#30638e", "#9db4c8", "#e3e8ec", "#444444"
CHOSEN = "#d1495b"


class Stage(NamedTuple):
    """One column: what runs of the same choice.

    Attributes:
        title: above it.
        answer: what the decision says, below it.
        weights: of each candidate; 0 is held but does not run, None is not there.
        color: of what runs.
    """

    title: str
    answer: str
    weights: tuple[float | None, float | None, float | None]
    color: str = TAKEN


STAGES = [
    Stage("bare model", "no decision:\nthe first candidate", (1, 0, 0)),
    Stage('search with "random"', "decision.active():\nconv5, drawn for this batch", (0, 1, 0)),
    Stage(
        'search with "darts"',
        "decision.active(): conv3 · 0.2,\nconv5 · 0.7, skip · 0.1",
        (0.2, 0.7, 0.1),
    ),
    Stage(
        "frozen network", "no decision:\nconv5 alone, nothing else left", (None, 1, None), CHOSEN
    ),
]
HEIGHTS = [1.6, 0.8, 0.0]


def draw() -> Figure:
    """Return the figure."""
    figure = Figure(figsize=(13.6, 3.6))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-0.1, 13.5)
    axes.set_ylim(-1.35, 2.75)
    axes.axis("off")
    for index, stage in enumerate(STAGES):
        _column(axes, stage, 0.2 + 3.4 * index)
    return figure


def _column(axes: Axes, stage: Stage, left: float) -> None:
    center = left + 1.45
    axes.text(center, 2.5, stage.title, ha="center", va="center", weight="bold", fontsize=15)
    axes.text(
        center, -0.95, stage.answer, ha="center", va="center", fontsize=12.5, color=INK,
        linespacing=1.4,
    )  # fmt: skip
    for name, height, weight in zip(CANDIDATES, HEIGHTS, stage.weights, strict=True):
        if weight is None:
            continue
        runs = weight > 0
        style = {"color": stage.color, "linewidth": 1 + 3 * weight} if runs else {
            "color": HELD, "linewidth": 1, "linestyle": (0, (3, 3)),
        }  # fmt: skip
        ways = [
            ((left, 0.8), (left + 0.85, height)),
            ((left + 2.05, height), (left + 2.9, 0.8)),
        ]
        for start, end in ways:
            axes.plot(*zip(start, end, strict=True), zorder=0, solid_capstyle="round", **style)
        axes.add_patch(
            FancyBboxPatch(
                (left + 0.85, height - 0.27), 1.2, 0.54, boxstyle="round,pad=0,rounding_size=0.1",
                facecolor=stage.color if runs else LEFT, edgecolor="none",
                alpha=0.45 + 0.55 * weight if runs else 1,
            )
        )  # fmt: skip
        axes.text(
            center, height, name, ha="center", va="center", fontsize=13,
            color="white" if runs else INK,
        )  # fmt: skip
    for x in (left, left + 2.9):
        axes.plot(x, 0.8, "o", color=INK, markersize=7)


if __name__ == "__main__":
    mpl.rcParams.update({"svg.hashsalt": "concepts", "svg.fonttype": "path"})
    here = Path(__file__).parent
    draw().savefig(here / "concepts.svg", metadata={"Date": None})
