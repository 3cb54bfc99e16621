"""A search as a table, for notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..space.spec import Candidate, ParameterSpec
from ..tables import Table

if TYPE_CHECKING:
    from .module import BaseOneShotLightningModule

CANDIDATES_SHOWN = 8


def search_table(search: BaseOneShotLightningModule) -> Table:
    """Return what can be chosen, and how probable the candidates are at present."""
    probabilities = search.export_probs()
    rows = [[d.spec.label, _offer(d.spec, probabilities)] for d in search.decisions]
    title = f"{type(search).__name__} over {type(search.model).__name__}: {len(rows)} choices"
    return Table(["label", "candidates and their probabilities"], rows, title)


def _offer(spec: ParameterSpec, probabilities: Mapping[str, Mapping[Candidate, float]]) -> str:
    if spec.interval is not None:
        return spec.offer
    ordered = sorted(probabilities[spec.label].items(), key=lambda pair: -pair[1])
    shown = ", ".join(f"{name} {p:.2f}" for name, p in ordered[:CANDIDATES_SHOWN])
    more = len(ordered) - CANDIDATES_SHOWN
    several = "" if spec.n_chosen == 1 else f"{spec.n_chosen or 'any'} of "
    return f"{several}{shown}" + (f", ... {more} more" if more > 0 else "")
