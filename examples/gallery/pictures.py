"""``python -m examples.gallery.pictures``: draw ``docs/pictures/gallery-*.png``.

From the results, in seconds: nothing is trained.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.ticker as mtick
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import oneshot_core as oneshot
from oneshot_plugins.report.chain import columns, rows
from oneshot_plugins.report.figures import SETTINGS, architecture

from .__main__ import TASKS
from .compare import Network, Task
from .page import PAGE, Report, fitting

FOLDER = PAGE.parent / "pictures"
FOUND, OTHER, CLOUD, INK = "#d1495b", "#30638e", "#b8c4ce", "#1b2330"
TITLES = {"mnist1d": "MNIST-1D", "digits": "8 x 8 digits", "text": "Text, letter by letter"}
SEED = 0
"""Whose architecture is drawn."""


def main() -> None:
    """Draw them all."""
    for name, figure in pictures():
        with mpl.rc_context(SETTINGS if name.endswith("-found.png") else {}):
            figure.savefig(FOLDER / name, dpi=150, metadata={"Software": None})


def pictures() -> Iterator[tuple[str, Figure]]:
    """Yield the name of each file and its figure."""
    for name, task in TASKS.items():
        report = Report.of(task)
        first = next(run for run in report.runs if run.seed == SEED)
        yield f"gallery-{name}.png", comparison(task, report)
        yield f"gallery-{name}-found.png", found(task, first.found)


def comparison(task: Task, report: Report) -> Figure:
    """Return all networks over what they cost, and beside it the answers seed by seed."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _over_macs(left, task, report)
    _seed_by_seed(right, report)
    figure.suptitle(
        f"{TITLES[task.name]}: what {task.strategy} found, and what it is held against",
        fontsize=13,
        fontweight="bold",
    )
    return figure


def found(task: Task, network: Network) -> Figure:
    """Return the choices of a network as a path through all candidates."""
    space = oneshot.ModelSpace(task.model())
    places = [
        {"path": path, "labels": [label]} for label in space.specs for path in space.paths[label]
    ]
    described = {"parameters": space.describe(), "places": places}
    return architecture(columns(rows(described, network.architecture, {}), width=450))


def _over_macs(axes: Axes, task: Task, report: Report) -> None:
    drawn = [network for run in report.runs for network in run.random]
    best = [report.searched(run) for run in report.runs]
    _points(axes, report, drawn, s=22, color=CLOUD, label="random networks")
    _points(
        axes, report, best, s=60, facecolors="none", edgecolors=OTHER, linewidths=1.4,
        label="the best of a seed on validation",
    )  # fmt: skip
    largest = [run.largest for run in report.runs]
    square = {"s": 46, "edgecolors": "white", "linewidths": 0.6, "facecolors": OTHER}
    _points(axes, report, largest, marker="s", label="the largest network", **square)
    if task.macs_limit:
        fits = [fitting(run) for run in report.runs]
        _points(axes, report, fits, marker="D", label="the largest within the limit", **square)
        axes.axvline(task.macs_limit / 1000, color=INK, linewidth=0.8, linestyle="--", zorder=0)
        axes.annotate(
            "limit ", (task.macs_limit / 1000, 0.02), xycoords=("data", "axes fraction"),
            ha="right", fontsize=8,
        )  # fmt: skip
    found = [run.found for run in report.runs]
    _points(axes, report, found, s=150, marker="*", color=FOUND, label="found", zorder=3)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(mtick.LogLocator(10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(mtick.StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_locator(mtick.NullLocator())
    axes.set_xlabel("1000 multiply-accumulate operations")
    axes.set_title("Every network, trained from scratch", loc="left", fontsize=11)
    axes.legend(loc="best", frameon=False, fontsize=9)
    _scored(axes, report)


def _points(axes: Axes, report: Report, networks: Sequence[Network], **style: Any) -> None:
    tests = [report.scale * network.test for network in networks]
    axes.scatter([network.macs / 1000 for network in networks], tests, **style)


def _seed_by_seed(axes: Axes, report: Report) -> None:
    groups = {
        "found": [run.found for run in report.runs],
        f"random search,\nbest of {len(report.runs[0].random)}": [
            report.searched(run) for run in report.runs
        ],
        "largest": [run.largest for run in report.runs],
    }
    tests = {
        name: [report.scale * network.test for network in networks]
        for name, networks in groups.items()
    }
    for seed in zip(*tests.values(), strict=True):
        axes.plot([*tests], seed, color=CLOUD, linewidth=1, zorder=1)
    for place, values in enumerate(tests.values()):
        color, mean = OTHER if place else FOUND, statistics.fmean(values)
        axes.scatter([place] * len(values), values, s=30, color=color, zorder=2)
        axes.hlines(mean, place - 0.16, place + 0.16, color=color, linewidth=2.4, zorder=3)
        text = f"{mean:.3f}" if report.bits else f"{mean:.1f} %"
        axes.annotate(
            text, (place + 0.16, mean), (4, 0), textcoords="offset points", va="center",
            color=color, fontweight="bold",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85},
        )  # fmt: skip
    axes.margins(x=0.2)
    axes.set_title("Seed by seed; bars are means", loc="left", fontsize=11)
    _scored(axes, report)


def _scored(axes: Axes, report: Report) -> None:
    if report.bits:
        axes.set_ylabel("test, bits per letter: less is better")
    else:
        axes.set_ylabel("test accuracy")
        axes.yaxis.set_major_formatter(mtick.StrMethodFormatter("{x:g} %"))
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
