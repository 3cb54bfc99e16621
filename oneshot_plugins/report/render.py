"""The page: what a run says, put into ``page/page.html``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import oneshot_core

from . import curves, plots, text
from .cells import CellGraph, cells
from .chain import Column, columns, rows
from .clouds import Cloud, agreements, best_rows, clouds, names, said_of
from .folder import Choices, Point, Run, Scores
from .movement import Panel, entropies, entropy_panel, metric_panels, panels, preferred
from .tracks import Tracks, tracks

HERE = Path(__file__).parent / "page"
PANELS = 24
"""Labels whose probabilities are shown at once; those that moved most."""
SAID = 170
"""Letters of the architecture in the first sentence, where several choices are named."""
COLUMNS = 4
"""Columns of the architecture that are shown at once."""


class Page:
    """What the template asks for.

    Args:
        run: a run folder.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.record = run.record
        self.space: Mapping[str, Any] = run.record["space"]
        self.parameters: Mapping[str, Any] = self.space["parameters"]

    @property
    def strategy(self) -> str:
        """Its name, or its class."""
        found = self.record["strategy"]
        return str(found.get("name") or text.last(found.get("class", "a strategy")))

    @property
    def model(self) -> str:
        return text.last(str(self.record["model"]))

    @property
    def metric(self) -> str | None:
        return next(iter(self.run.ranking.objectives)) if self.run.ranking else None

    # --- what was found -----------------------------------------------------------------------

    @cached_property
    def choices(self) -> Choices | None:
        """What is chosen; else what is preferred at present; None if nothing is."""
        if self.run.architecture is not None or self.run.history is None:
            return self.run.architecture
        return preferred(self.run.history, self.parameters) or None

    @property
    def said(self) -> str:
        return self._in_words(self.choices or {})

    def _in_words(self, choices: Choices) -> str:
        return next(
            said
            for most in range(6, 0, -1)
            if len(said := said_of(choices, most)) <= SAID or most == 1
        )

    @property
    def who(self) -> str:
        """Who chose the architecture."""
        if self.run.source is not None:
            return f"{self.run.source.name} holds"
        if self.moved or self.metric is None:
            return "the search chose"
        return f"{self.strategy} itself prefers none, and the ranking by {self.metric} chose"

    @property
    def other(self) -> str | None:
        """The best of the ranking in words, if another architecture is chosen."""
        best = self.best
        if best is None or best.architecture == self.run.architecture:
            return None
        return self._in_words(best.architecture)

    @cached_property
    def cells(self) -> list[CellGraph]:
        return [] if self.choices is None else cells(self.space, self.choices)

    @cached_property
    def columns(self) -> list[Column]:
        drawn = frozenset().union(*(cell.labels for cell in self.cells))
        history = self.run.history
        at_the_end = history.epochs[-1].probabilities if history and history.epochs else {}
        return columns(rows(self.space, self.choices or {}, at_the_end, drawn))

    @property
    def n_architectures(self) -> str:
        """How many there are in the space."""
        size = self.space.get("size")
        return "1 architecture" if size == "1" else f"{text.count(size)} architectures"

    @property
    def has_alternatives(self) -> bool:
        """Whether some label has two candidates."""
        return any(len(p["candidates"]) > 1 or p.get("interval") for p in self.parameters.values())

    @property
    def n_hidden(self) -> int:
        """How many labels are drawn further down."""
        return sum(len(column.lines) for column in self.columns[COLUMNS:])

    @property
    def as_json(self) -> str:
        return json.dumps(self.choices, indent=2, ensure_ascii=False)

    @property
    def best(self) -> Point | None:
        """The best of the ranking."""
        return self.run.ranking.points[0] if self.run.ranking and self.run.ranking.points else None

    @cached_property
    def place(self) -> int | None:
        """Which place of the ranking the chosen architecture has."""
        points = self.run.ranking.points if self.run.ranking else []
        places = (i for i, p in enumerate(points, 1) if p.architecture == self.run.architecture)
        return next(places, None)

    # --- how it moved ---------------------------------------------------------------------------

    @cached_property
    def panels(self) -> list[Panel]:
        """All labels."""
        return [] if self.run.history is None else panels(self.run.history)

    @cached_property
    def moved(self) -> bool:
        return any(panel.moved >= 1e-6 for panel in self.panels)

    @cached_property
    def first_panels(self) -> list[Panel]:
        """Those that are shown at once, in the order of the model."""
        most = sorted(self.panels, key=lambda panel: -panel.moved)[:PANELS]
        return [panel for panel in self.panels if any(panel is other for other in most)]

    @cached_property
    def other_panels(self) -> list[Panel]:
        return [p for p in self.panels if not any(p is shown for shown in self.first_panels)]

    @property
    def names_width(self) -> int:
        """Room beside a panel for its longest name, in px."""
        longest = max((len(name.text) for panel in self.panels for name in panel.names), default=0)
        return 50 + 7 * min(max(longest, 6), 18)

    @cached_property
    def entropies(self) -> list[float]:
        return entropies(self.run.history, self.parameters) if self.run.history else []

    @cached_property
    def entropy_panel(self) -> Panel | None:
        if self.run.history is None or not self.moved:
            return None
        return entropy_panel(self.run.history, self.parameters)

    @cached_property
    def metric_panels(self) -> list[Panel]:
        return metric_panels(self.run.history) if self.run.history else []

    # --- what it was compared with --------------------------------------------------------------

    @cached_property
    def comparisons(self) -> list[tuple[str, Scores, list[Cloud]]]:
        """Ranking and front: name, scores, plots."""
        return [
            (name, scores, clouds(scores, self.run.architecture, self.run.baselines or ()))
            for name, scores in (("ranking", self.run.ranking), ("front", self.run.front))
            if scores is not None and scores.points
        ]

    def beside(self, scores: Scores) -> Tracks | None:
        """Return what was scored beside a ranking or a front."""
        return tracks(scores.beside.rows, self.run.architecture) if scores.beside else None

    @cached_property
    def baselines(self) -> Tracks | None:
        """The user's own."""
        return tracks(self.run.baselines, self.run.architecture) if self.run.baselines else None

    @property
    def names_json(self) -> Markup:
        """For the page's script: one entry for each of :attr:`comparisons`."""
        data = [
            {**names(scores), "places": [cloud.places for cloud in drawn]}
            for _, scores, drawn in self.comparisons
        ]
        # No tag can end inside of a JSON string: "<" is written as an escape.
        return Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"))

    # --- how to repeat it -----------------------------------------------------------------------

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Names and values."""
        record = self.record
        registry = record.get("registry") or {}
        sessions = record.get("sessions", 1)
        return [
            ("seed", str(record.get("seed"))),
            ("strategy", f"{self.strategy} ({record['strategy'].get('class')})"),
            *((f"option {k}", v) for k, v in record["strategy"].get("options", {}).items()),
            ("model", str(record["model"])),
            ("space", f"{text.count(self.space.get('size'))} architectures, "
                      f"fingerprint {self.space.get('fingerprint')}"),
            ("registry fingerprint", str(registry.get("fingerprint"))),
            ("device", f"{record.get('device')} × {record.get('world_size', 1)}"),
            ("epochs, steps", f"{record.get('epochs')} of {record.get('max_epochs')}, "
                              f"{record.get('steps')} steps"),
            ("started", text.moment(record.get("started"))),
            ("ended", text.moment(record.get("ended"))),
            ("took", text.duration(record.get("seconds"))
                     + (f", in {sessions} sessions" if sessions > 1 else "")),
            *((name, str(version)) for name, version in record.get("versions", {}).items()),
        ]  # fmt: skip

    @property
    def components(self) -> list[tuple[str, str]]:
        registry = self.record.get("registry") or {}
        return sorted(
            (name, str(source)) for name, source in registry.get("components", {}).items()
        )

    @property
    def metrics(self) -> list[tuple[str, str]]:
        return [(n, text.number(v)) for n, v in (self.record.get("metrics") or {}).items()]


def render(run: Run) -> str:
    """Return the page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": text.number, "duration": text.duration, "moment": text.moment,
        "count": text.count, "of": text.of,
        "line": plots.line, "dots": plots.dots, "curve": curves.svg,
    }  # fmt: skip
    template = environment.get_template("page.html")
    return template.render(
        page=Page(run),
        run=run,
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "script.js").read_text(encoding="utf-8")),
        version=oneshot_core.__version__,
        best_rows=best_rows,
        agreements=agreements,
    )


__all__: Sequence[str] = ["Page", "render"]
