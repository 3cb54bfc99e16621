"""The figures of the page as PNG and SVG files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path as File
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path

from .cells import RADIUS, CellGraph
from .chain import BOX, Column
from .clouds import Cloud, agreements
from .curves import Curve
from .folder import Run, require_no_link
from .movement import Panel
from .render import Page
from .text import cut, shortened
from .tracks import Tracks

INK, SOFT, FAINT, RULE, CLOUD, ACCENT, WARM = (
    "#1b2330", "#5b6675", "#9aa3af", "#e4e6ea", "#b4bfcb", "#0067b1", "#c2500a",
)  # fmt: skip
"""Those of ``page/style.css``, on white."""
PIXELS = 72.0
"""Of the drawings, to an inch."""
ACROSS = 4
"""Panels, or columns, beside each other."""
SIDE = 16.0
"""Beside a column, in px."""
SETTINGS: Any = {
    "svg.hashsalt": "oneshot",  # and no date: the same run gives the same files
    "svg.fonttype": "none",
    "text.parse_math": False,  # a label may hold dollars
    "font.size": 9,
}
WIDEST = 4000
"""Of a PNG, in its pixels."""


def draw(run: Run, folder: File) -> list[File]:
    """Write every figure that the page of ``run`` has; return the files.

    Args:
        run: a run folder.
        folder: where to; made if there is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with mpl.rc_context(SETTINGS):
        for name, figure in figures(Page(run)):
            for suffix in (".png", ".svg"):
                path = folder / f"{name}{suffix}"
                require_no_link(path)
                metadata = {"Date": None} if suffix == ".svg" else {"Software": None}
                dpi = min(200.0, WIDEST / figure.get_figwidth())
                figure.savefig(path, dpi=dpi, metadata=metadata)
                written.append(path)
    return written


def figures(page: Page) -> Iterator[tuple[str, Figure]]:
    """Yield names and figures."""
    if page.choices:
        for index, cell in enumerate(page.cells):
            yield f"cell-{index}", _cell(cell)
        if page.columns:
            yield "architecture", architecture(page.columns)
    whole = [p for p in (page.entropy_panel,) if p] + page.metric_panels
    if page.moved:
        yield "probabilities", _panels([*page.first_panels])
    if whole:
        yield "search", _panels(whole)
    for name, scores, drawn in page.comparisons:
        yield name, _clouds(drawn)
        beside = page.beside(scores)
        if beside is not None and scores.beside is not None:
            yield f"{name}-beside", _tracks(beside, "beside it", agreements(scores.beside))
    if page.baselines is not None:
        yield "baselines", _tracks(page.baselines, "", [])


def _panels(panels: Sequence[Panel]) -> Figure:
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(3.1 * across, 1.75 * down), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    titles = shortened([panel.title for panel in panels], 32)
    for axes, panel, title in zip(grid.flat, panels, titles, strict=False):
        _percent(axes)
        axes.set_title(title, loc="left", fontsize=9, fontweight="bold", color=INK)
        axes.hlines([0, 50, 100], 0, 100, color=RULE, linewidth=0.8, zorder=0)
        for other in panel.others:
            axes.plot(*zip(*other, strict=True), color=CLOUD, linewidth=1)
        axes.plot(*zip(*panel.winner, strict=True), color=ACCENT, linewidth=1.8)
        for name in panel.names:
            style = {"color": ACCENT, "weight": "bold"} if name.wins else {"color": SOFT}
            axes.text(
                104, name.y, f"{name.text} {name.value}".strip(), va="center", fontsize=8, **style
            )
        for y, text in ((0, panel.low), (100, panel.high)):
            axes.text(-4, y, text, ha="right", va="center", fontsize=7, color=FAINT)
        axes.text(0, -10, panel.ends[0], va="top", fontsize=7, color=FAINT)
        axes.text(100, -10, panel.ends[1], va="top", ha="right", fontsize=7, color=FAINT)
    return figure


def _percent(axes: Axes) -> None:
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)


def _clouds(drawn: Sequence[Cloud]) -> Figure:
    figure = Figure(figsize=(5.2 * len(drawn), 3.8), layout="constrained")
    for axes, cloud in zip(figure.subplots(1, len(drawn), squeeze=False).flat, drawn, strict=True):
        _percent(axes)
        axes.scatter(*zip(*cloud.places, strict=True), s=9, color=CLOUD, linewidths=0)
        if cloud.random:
            axes.scatter(
                *zip(*cloud.random, strict=True), s=9, color=WARM, linewidths=0, alpha=0.55
            )
        if cloud.stairs:
            axes.plot(*zip(*cloud.stairs, strict=True), color=ACCENT, linewidth=1, alpha=0.6)
        if cloud.front:
            axes.scatter(*zip(*cloud.front, strict=True), s=20, color=ACCENT, zorder=3)
        for mark in cloud.marks:
            color = WARM if mark.kind == "baseline" else ACCENT
            axes.scatter([mark.x], [mark.y], s=70, color=color, zorder=4)
            axes.annotate(
                mark.text, (mark.x, mark.at), (-9 if mark.left else 9, 0),
                textcoords="offset points", ha="right" if mark.left else "left", va="center",
                color=color, weight="bold",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
            )  # fmt: skip
        axes.set_xticks([x for x, _ in cloud.x_ticks], [text for _, text in cloud.x_ticks])
        axes.set_yticks([y for y, _ in cloud.y_ticks], [text for _, text in cloud.y_ticks])
        axes.set_xlabel(cloud.x, color=INK)
        axes.set_ylabel(cloud.y, color=INK)
        axes.tick_params(length=0, colors=SOFT)
        axes.grid(axis="y", color=RULE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
    return figure


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure whose unit is the pixel of the page, y downwards."""
    figure = Figure(figsize=(width / PIXELS, height / PIXELS))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    return figure, axes


def architecture(columns: Sequence[Column]) -> Figure:
    """Return what is chosen, in columns beside each other."""
    width, height = max(c.width for c in columns) + 2 * SIDE, columns[0].height + SIDE
    across = min(ACROSS, len(columns))
    figure, axes = _canvas(across * width, -(-len(columns) // across) * height)
    for index, column in enumerate(columns):
        _column(axes, column, SIDE + index % across * width, index // across * height)
    return figure


def _column(axes: Axes, column: Column, left: float, down: float) -> None:
    for link in column.links:
        _curve(axes, link, ACCENT, left, down)
    for line in column.lines:
        alpha, top = (1.0 if line.row.active else 0.5), down + line.y
        y = top + (8 if line.path else BOX / 2)
        axes.text(left, y, line.label, va="center", weight="bold", color=INK, alpha=alpha)
        axes.text(left, top + 21, line.path, va="center", fontsize=8, color=FAINT)
        for box in line.boxes:
            chosen = box.option.chosen
            face, edge = (ACCENT, ACCENT) if chosen else ("white", RULE)
            axes.add_patch(
                FancyBboxPatch(
                    (left + box.x, top), box.width, BOX, boxstyle="round,pad=0,rounding_size=6",
                    facecolor=face, edgecolor=edge, linewidth=0.8, alpha=alpha,
                )
            )  # fmt: skip
            axes.text(
                left + box.x + box.width / 2, top + BOX / 2, box.option.text, ha="center",
                va="center", family="monospace", color="white" if chosen else SOFT, alpha=alpha,
            )  # fmt: skip


def _cell(cell: CellGraph) -> Figure:
    figure, axes = _canvas(cell.width, cell.height + 24)
    down = 24.0
    axes.text(4, 12, cell.name, weight="bold", va="center", color=INK)
    for arc in cell.others:
        _curve(axes, arc.curve, RULE, 0, down)
    for arc in cell.arcs:
        _curve(axes, arc.curve, RULE if arc.is_nothing else ACCENT, 0, down)
    for arc in cell.arcs:
        for text, x, y in arc.texts:
            axes.text(
                x, y + down, text, ha="center", va="center", family="monospace",
                color=FAINT if arc.is_nothing else INK,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            )  # fmt: skip
    for state in cell.states:
        face, edge, ink = ("white", SOFT, SOFT) if state.is_hollow else (ACCENT, ACCENT, "white")
        y = cell.base + down
        axes.add_patch(
            FancyBboxPatch(
                (state.x - state.width / 2, y - RADIUS), state.width, 2 * RADIUS,
                boxstyle=f"round,pad=0,rounding_size={RADIUS}", facecolor=face, edgecolor=edge,
            )
        )  # fmt: skip
        axes.text(
            state.x, y, state.text, ha="center", va="center", color=ink, family="monospace",
        )  # fmt: skip
    return figure


def _tracks(tracks: Tracks, first: str, agreements: Sequence[str]) -> Figure:
    """Draw a row for each thing that is compared, and what agrees below."""
    n = len(tracks.quantities)
    names, across, down = 200.0, 210.0, 30.0
    below = 18.0 * len(agreements) + (24 if agreements else 0)
    width, height = names + n * across + SIDE, 44 + down * len(tracks.rows) + below
    figure, axes = _canvas(width, height)
    axes.text(SIDE, 20, first, va="center", color=SOFT)
    for column, quantity in enumerate(tracks.quantities):
        axes.text(names + column * across, 20, quantity, va="center", color=SOFT)
    for index, row in enumerate(tracks.rows):
        y = 36 + down * (index + 0.5)
        color, weight = (ACCENT, "bold") if row.is_chosen else (INK, "normal")
        axes.plot([SIDE, width - SIDE], [y - down / 2] * 2, color=RULE, linewidth=0.8)
        said = cut(row.name, 30)
        axes.text(SIDE, y, said, va="center", color=color, weight=weight)
        for column, dot in enumerate(row.dots):
            if dot is None:
                continue
            left, right = names + column * across + 4, names + (column + 1) * across - 84
            axes.plot([left, right], [y, y], color=RULE, linewidth=1.6, zorder=1)
            x = left + dot.share / 100 * (right - left)
            face = ACCENT if row.is_chosen else CLOUD
            axes.scatter([x], [y], s=34, color=face, zorder=2)
            axes.text(right + 66, y, dot.text, va="center", ha="right", color=color, weight=weight)
    top = 44 + down * len(tracks.rows)
    if agreements:
        axes.text(SIDE, top + 12, "Kendall's tau", va="center", fontsize=8, color=SOFT)
    for index, said in enumerate(agreements):
        axes.text(SIDE, top + 30 + 18 * index, said, va="center", fontsize=8, color=SOFT)
    return figure


def _curve(axes: Axes, curve: Curve, color: str, left: float, down: float) -> None:
    corners = [(left + x, down + y) for x, y in curve]
    path = Path(corners, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
    axes.add_patch(PathPatch(path, fill=False, edgecolor=color, linewidth=1.4))
