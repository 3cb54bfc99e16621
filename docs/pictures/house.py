"""Draw docs/pictures/house.svg: the parts of oneshot-core, their sizes, and who imports whom.

Everything but the places of the boxes is read from the source: lines, and every import, also those
inside functions and for types. ``python docs/pictures/house.py`` draws; a test fails when a part or
an arrow is new.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple, TypeAlias

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Line

ROOT = Path(__file__).parents[2]
PICTURE = "house.svg"
Edges: TypeAlias = "frozenset[tuple[str, str]]"
Points: TypeAlias = "tuple[tuple[float, float], ...]"


class Box(NamedTuple):
    """Where a part is drawn. All numbers are per cent of the picture's width.

    Attributes:
        left: the left edge.
        bottom: the lower edge.
        width: of the box.
        height: of the box.
        title: printed in bold letters.
        text: one line below the title.
    """

    left: float
    bottom: float
    width: float
    height: float
    title: str
    text: str = ""


CORE = {
    "faces": ("__init__", "__main__", "testing", "nn", "importers"),
    "lightning": ("lightning",),
    "cli": ("cli",),
    "door": ("hookspecs", "discovery"),
    "architecture": ("architecture", "freezing"),
    "searching": ("searching",),
    "model_space": ("model_space",),
    "kernel": ("errors", "hooks", "traversal", "optimizers", "decision", "supernet"),
    "space": ("space",),
    "ground": ("files", "tables", "terminal", "_version"),
}
"""Part -> what belongs to it in ``oneshot_core``."""

UNDER_ALL = {"errors", "files", "tables", "terminal", "_version"}
"""Anything may import these; arrows to them would say nothing."""

FLOORS = {
    "faces": Box(2, 84, 39, 8.5, "faces", "oneshot_core, testing, nn, importers"),
    "lightning": Box(2, 70, 21.5, 8.5, "lightning", "the search as a module"),
    "cli": Box(26, 70, 15, 8.5, "cli", "oneshot ..."),
    "door": Box(2, 56, 39, 8.5, "hookspecs + discovery", "the door for plugins"),
    "architecture": Box(2, 42, 21.5, 8.5, "architecture", "Architecture, freeze"),
    "searching": Box(26, 42, 15, 8.5, "searching", "Searcher"),
    "model_space": Box(2, 28, 39, 8.5, "model_space", "what depends on what; counting"),
    "kernel": Box(2, 13, 39, 10, "kernel: errors, hooks, traversal,", ""),
    "space": Box(2, 1, 39, 7, "space", "choices, values, constraints"),
}
FRAME = Box(52, 12, 46.6, 80.5, "oneshot_plugins")
PLACES = {
    "report": (0, 4), "checks": (1, 4), "scaffold": (2, 4), "search": (0, 2), "inspect": (1, 3),
    "demo": (2, 3), "run": (1, 2), "spaces": (3, 2), "strategies": (0, 1), "ranking": (1, 1),
    "cells": (2, 1), "elastic": (3, 1), "costs": (1, 0), "supernets": (3, 0),
    "pretrained": (2, 0), "distillation": (0, 0),
}  # fmt: skip
"""Plugin -> column from the left and row from below; who imports stands above."""

KERNEL, WALL, DOOR, PLUGIN, INK = "#30638e", "#dbe4ec", "#d1495b", "#f3e3c3", "#333333"


# --- measured -------------------------------------------------------------------------------------


def lines(*places: str) -> int:
    """Return how many lines of Python are in the files and folders with these paths."""
    files = [
        file
        for place in places
        for file in (ROOT.joinpath(place).with_suffix(".py"), *ROOT.joinpath(place).rglob("*.py"))
        if file.is_file()
    ]
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


def imported(file: Path) -> Iterator[tuple[str, str]]:
    """Yield (package, part) for whatever of ours a file imports, wherever the import stands."""
    package = file.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [str(a.value) for a in node.args if isinstance(a, ast.Constant)]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            if rest and top in {"oneshot_core", "oneshot_plugins"}:
                yield top, rest.partition(".")[0]


def measure() -> tuple[Edges, Edges, dict[str, int]]:
    """Return imports between parts of the core, between plugins, and how many plugins use a part.

    Raises:
        KeyError: a part of the core or a plugin has no place in the picture yet.
    """
    part_of = {name: part for part, names in CORE.items() for name in names}
    core, plugins, users = set(), set(), set[tuple[str, str]]()
    for file in ROOT.joinpath("oneshot_core").rglob("*.py"):
        own = part_of[file.relative_to(ROOT).with_suffix("").parts[1]]
        for top, name in imported(file):
            # A name that is no part is in the table of contents: types of plugins.
            if top == "oneshot_core" and name in part_of and name not in UNDER_ALL:
                core.add((own, part_of[name]))
    for file in ROOT.joinpath("oneshot_plugins").glob("*/**/*.py"):
        own = file.relative_to(ROOT).parts[1]
        PLACES[own]
        for top, name in imported(file):
            if top == "oneshot_plugins":
                plugins.add((own, name))
            elif name not in UNDER_ALL:
                users.add((own, part_of.get(name, "faces")))
    counts = {part: sum(used == part for _, used in users) for part in CORE}
    return (*(frozenset((a, b) for a, b in e if a != b) for e in (core, plugins)), counts)  # type: ignore[return-value]


def needed(edges: Edges) -> Edges:
    """Leave out an arrow where other arrows lead to the same part."""

    def leads(start: str, end: str, without: tuple[str, str]) -> bool:
        seen, ahead = set[str](), [start]
        while ahead:
            here = ahead.pop()
            for edge in edges:
                if edge[0] == here and edge != without and edge[1] not in seen:
                    seen.add(edge[1])
                    ahead.append(edge[1])
        return end in seen

    return frozenset(edge for edge in edges if not leads(*edge, without=edge))


def facts() -> dict[str, object]:
    """Return what the picture says, as it is kept in the picture: parts, arrows, lines."""
    core, plugins, users = measure()
    return {
        "arrows": sorted([*needed(core), *needed(plugins)]),
        "users": users,
        "lines": {
            **{part: lines(*(f"oneshot_core/{n}" for n in names)) for part, names in CORE.items()},
            **{name: lines(f"oneshot_plugins/{name}") for name in PLACES},
        },
    }


# --- drawn ----------------------------------------------------------------------------------------


def boxes() -> dict[str, Box]:
    """Return where each part is drawn."""
    return FLOORS | {
        name: Box(53 + 11.3 * column, 20 + 15.8 * row, 10.2, 7.5, name)
        for name, (column, row) in PLACES.items()
    }


def route(start: str, end: str, places: dict[str, Box]) -> Points:
    """Return the shortest way from one box to another that touches no other box."""
    a, b = places[start], places[end]
    others = [box for name, box in places.items() if name not in {start, end}]
    shares = (0.5, 0.25, 0.75, 0.1, 0.9)
    ways: list[Points] = []
    left, right = max(a.left, b.left), min(a.left + a.width, b.left + b.width)
    if left < right:
        ways.append((((left + right) / 2, a.bottom), ((left + right) / 2, b.bottom + b.height)))
    for x, y in product(shares, shares):
        first = (a.left + x * a.width, a.bottom)
        last = (b.left + y * b.width, b.bottom + b.height)
        ways.append((first, last))
        for gutter in (a.left - 0.55, a.left + a.width + 0.55, b.left - 0.55):
            turns = (gutter, a.bottom - 2), (gutter, b.bottom + b.height + 2.5)
            ways.append((first, *turns, last))
    free = [way for way in ways if not any(crosses(way, box) for box in others)]
    return (
        free[0] if free and free[0] == ways[0] and left < right else min(free or ways, key=_length)
    )


def crosses(way: Points, box: Box) -> bool:
    """Say whether a line touches a box."""
    for (x0, y0), (x1, y1) in pairwise(way):
        for step in range(201):
            x, y = x0 + (x1 - x0) * step / 200, y0 + (y1 - y0) * step / 200
            inside = box.left - 0.3 < x < box.left + box.width + 0.3
            if inside and box.bottom - 0.3 < y < box.bottom + box.height + 0.3:
                return True
    return False


def _length(way: Points) -> float:
    """Return the length of a line; each turn counts as much as a detour would."""
    pairs = pairwise(way)
    return sum(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5 for (x0, y0), (x1, y1) in pairs) + len(way)


def draw(told: dict[str, object]) -> Figure:
    """Return the figure for what :func:`facts` returned."""
    figure = Figure(figsize=(10, 9.8))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 100)
    axes.set_ylim(-1, 97)
    axes.axis("off")
    sizes: dict[str, int] = told["lines"]  # type: ignore[assignment]
    users: dict[str, int] = told["users"]  # type: ignore[assignment]
    core = sum(sizes[part] for part in CORE)
    axes.text(2, 94.5, f"oneshot_core: {core:,} lines", fontsize=14, weight="bold", color=INK)
    axes.text(
        52, 94.5, f"oneshot_plugins: {sum(sizes[name] for name in PLACES):,} lines",
        fontsize=14, weight="bold", color=INK,
    )  # fmt: skip
    _box(axes, FRAME, "none", "#c9a24b")
    for name, box in boxes().items():
        _part(axes, name, box, sizes, users)
    arrows: list[tuple[str, str]] = told["arrows"]  # type: ignore[assignment]
    for start, end in arrows:
        _arrow(axes, route(start, end, boxes()))
    _between(axes)
    axes.text(
        53, 2.5,
        "An arrow points to what is imported. It is left out\n"
        "where other arrows lead there, and to errors, files,\n"
        f"tables and terminal ({sizes['ground']} lines beside the boxes).",
        fontsize=11, color=INK, linespacing=1.45,
    )  # fmt: skip
    return figure


def _part(axes: Axes, name: str, box: Box, sizes: dict[str, int], users: dict[str, int]) -> None:
    middle, center = box.left + box.width / 2, box.bottom + box.height / 2
    if name in PLACES:
        _box(axes, box, PLUGIN, "none")
        _words(axes, middle, center + 1.3, name, weight="bold", fontsize=11.5)
        _words(axes, middle, center - 1.6, f"{sizes[name]:,}")
        return
    color = {"kernel": KERNEL, "door": DOOR}.get(name, WALL)
    ink = INK if color == WALL else "white"
    _box(axes, box, color, "none")
    used = f"{sizes[name]:,} lines; {users[name]} plugins" if box.width > 30 else f"{sizes[name]:,}"
    if users[name] and box.width > 30:
        used += " import it"
    elif box.width > 30:
        used = f"{sizes[name]:,} lines"
    elif box.width > 20:
        used = f"{sizes[name]:,} lines; {users[name]} plugins"
    else:
        used = f"{sizes[name]:,}; {users[name]} plugins"
    if name == "kernel":
        rows = ("kernel: errors, hooks, traversal,", "optimizers, decision, supernet", used)
        for place, row in enumerate(rows):
            weight = "bold" if place < 2 else "normal"
            _words(axes, middle, center + 2.9 - 2.9 * place, row, color=ink, weight=weight)
        return
    step = 2.4 if box.height > 8 else 2.1
    _words(axes, middle, center + step, box.title, color=ink, weight="bold", fontsize=11.5)
    _words(axes, middle, center, box.text, color=ink)
    _words(axes, middle, center - step, used, color=ink)


def _words(axes: Axes, x: float, y: float, text: str, **style: object) -> None:
    given = {"ha": "center", "va": "center", "fontsize": 11, "color": INK, "zorder": 4} | style
    axes.text(x, y, text, **given)


def _box(axes: Axes, box: Box, color: str, edge: str) -> None:
    shape = FancyBboxPatch(
        (box.left, box.bottom), box.width, box.height, facecolor=color, edgecolor=edge,
        boxstyle="round,pad=0,rounding_size=0.8", linewidth=1.5, zorder=2 if edge == "none" else 1,
    )  # fmt: skip
    axes.add_patch(shape)


def _arrow(axes: Axes, way: Iterable[tuple[float, float]], **style: object) -> None:
    points = [*way]
    given = {"facecolor": "none", "edgecolor": "#555555", "linewidth": 1.4, "zorder": 3} | style
    if len(points) > 2:
        axes.add_patch(PathPatch(Line(points[:-1]), **given))
    arrow = {"arrowstyle": "-|>", "color": given["edgecolor"], "linewidth": given["linewidth"]}
    axes.annotate(
        "", points[-1], points[-2], zorder=3,
        arrowprops=arrow | {"shrinkA": 0, "shrinkB": 0, "linestyle": style.get("linestyle", "-")},
    )  # fmt: skip


def _between(axes: Axes) -> None:
    """Draw what leads from one package to the other: the door, and the faces."""
    door, faces = FLOORS["door"], FLOORS["faces"]
    y = door.bottom + door.height / 2
    _arrow(axes, [(52, y), (41.2, y)], edgecolor=DOOR, linewidth=3)
    _words(axes, 46.6, y + 3.6, "entry\npoints", color=DOOR, weight="bold", linespacing=1.2)
    y = faces.bottom + faces.height / 2
    _arrow(axes, [(41.2, y), (52, y)], linestyle="--")
    _words(axes, 46.6, y + 2, "when used")
    _words(axes, 75.3, 15.5, "plugins of other packages: the same way in", style="italic")


if __name__ == "__main__":
    mpl.rcParams.update({"svg.hashsalt": "house", "svg.fonttype": "path"})
    told = facts()
    draw(told).savefig(
        Path(__file__).with_name(PICTURE),
        metadata={"Date": None, "Description": json.dumps(told, sort_keys=True)},
    )
