"""Draw docs/pictures/flow.svg: how a search goes from a model to a plain network."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

STEPS = [
    ("your model", "a LightningModule\nwith LayerChoice,\nInputChoice, Repeat"),
    ("supernet", "choices replaced\nin place by the\nmutation hooks"),
    ("trained supernet", "Lightning's own loop;\nthe strategy decides\nfor each batch"),
    ("architecture", "one choice for\neach label,\nsaved as JSON"),
    ("plain network", "your class and\ntorch.nn only,\nweights inherited"),
]
VERBS = ["oneshot.search", "trainer.fit", "search.rank\nsearch.export", "oneshot.freeze"]
WIDTH, GAP, HEIGHT = 2.1, 1.5, 1.5


def draw() -> Figure:
    """Return the figure."""
    figure = Figure(figsize=(13.6, 2.9))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-0.2, len(STEPS) * WIDTH + (len(STEPS) - 1) * GAP + 0.2)
    axes.set_ylim(-1.0, 2.0)
    axes.axis("off")
    for index, (title, text) in enumerate(STEPS):
        left = index * (WIDTH + GAP)
        last = index == len(STEPS) - 1
        axes.add_patch(
            FancyBboxPatch(
                (left, 0), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.12",
                facecolor="#d1495b" if last else "#30638e", edgecolor="none",
            )
        )  # fmt: skip
        center = left + WIDTH / 2
        style = {"ha": "center", "color": "white"}
        axes.text(center, 1.18, title, weight="bold", fontsize=11.5, va="center", **style)
        axes.text(center, 0.52, text, fontsize=10.5, va="center", linespacing=1.4, **style)
        if not last:
            start, end = left + WIDTH + 0.06, left + WIDTH + GAP - 0.06
            axes.add_patch(
                FancyArrowPatch(
                    (start, HEIGHT / 2), (end, HEIGHT / 2),
                    arrowstyle="-|>", mutation_scale=16, color="#444444",
                )
            )  # fmt: skip
            axes.text(
                (start + end) / 2, 0.95, VERBS[index], ha="center", va="bottom", fontsize=9,
                family="monospace", color="#222222",
            )  # fmt: skip
    axes.text(
        WIDTH / 2 + WIDTH + GAP, -0.5,
        "plugins:  mutation hooks · supernet modules · strategies · searchers · costs · spaces · "
        "commands\nfound through the entry points of what is installed",
        ha="left", va="center", fontsize=10.5, color="#444444", linespacing=1.5,
    )  # fmt: skip
    return figure


if __name__ == "__main__":
    mpl.rcParams.update({"svg.hashsalt": "flow", "svg.fonttype": "path"})
    here = Path(__file__).parent
    draw().savefig(here / "flow.svg", metadata={"Date": None})
