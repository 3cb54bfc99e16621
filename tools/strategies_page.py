"""Write the tables of ``docs/strategies.md``: ``python -m tools.strategies_page``.

What strategies can do is found by running them, which takes minutes; it is kept in
``docs/strategies.json``, of which the tables are made. A test compares the page with that file, and
the file with runs of its own: some in every run of the tests, all in the slow one.
"""

from __future__ import annotations

import json
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Any, Final, TypeAlias

import oneshot_core as oneshot
from oneshot_core.testing import Sample
from oneshot_plugins.checks.capabilities import capability, choices_of, subject_of

from .claims import Claim, claims, linked, paragraph
from .cost_matrix import table_of, with_cost, with_factor, with_penalty

DOCS: Final = Path(__file__).parent.parent / "docs"
PAGE: Final = DOCS / "strategies.md"
DATA: Final = DOCS / "strategies.json"
OURS: Final = "oneshot-core"
"""The page is about what this distribution brings, whatever else is installed."""

SPACES: Final = ("nas-bench-201",)
"""Whole spaces that are small enough to be tried with every strategy."""

Found: TypeAlias = dict[str, dict[str, str]]
"""Row -> column -> a word, or ``"refused: why"``."""

PENALTIES: Final[Mapping[str, Callable[[str], str]]] = {
    "expected cost": lambda strategy: with_penalty(strategy, "probabilities"),
    "cost of the draw": lambda strategy: with_penalty(strategy, "sample"),
    "`cost=`": with_factor,
}
"""Column -> what finds the word for it."""

WORDS: Final = {"learned": "learns", "ranked": "ranks"}


def strategies() -> list[str]:
    """Return the names of our strategies, in the order of their manifest."""
    return [r.name for r in oneshot.registry.find("strategy", provider=OURS) if r.usable]


@cache
def choices() -> dict[str, list[Sample]]:
    """Return name -> samples of what our strategies are tried with."""
    with oneshot.registry.only(OURS):
        spaces = {
            f"space {n}": subject_of(oneshot.registry, f"space:{n}").samples() for n in SPACES
        }
        return choices_of(oneshot.registry) | spaces


def costs() -> list[str]:
    """Return the names of our costs, in the order of their manifest."""
    return [r.name for r in oneshot.registry.find("cost", provider=OURS) if r.usable]


# --- found by running -----------------------------------------------------------------------------


def choice_cell(choice: str, strategy: str) -> str:
    """Let a strategy search a choice, and return the word for what it does.

    Raises:
        AssertionError: it neither works nor is refused as it should be.
    """
    with oneshot.registry.only(OURS):
        found = capability(strategy, choices()[choice], oneshot.registry)
    assert found.outcome != "failed", f"{strategy} with {choice}: {found.message}"
    return f"refused: {_first_line(found.message)}" if found.message else found.outcome


def cost_cell(strategy: str, column: str) -> str:
    """Let a strategy search with a cost or penalty, and return the word for what it does."""
    return PENALTIES[column](strategy) if column in PENALTIES else with_cost(strategy, column)


def measured() -> dict[str, Any]:
    """Run everything: the choices, the costs, and whether tables of costs are exact."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "choices": _filled(choices(), strategies(), choice_cell),
            "costs": _filled(strategies(), [*costs(), *PENALTIES], cost_cell),
            "exact tables": [cost for cost in costs() if table_of(cost).exact],
        }


def _filled(rows: Iterable[str], columns: list[str], cell: Callable[[str, str], str]) -> Found:
    found: Found = {}
    for row in rows:
        print(row, file=sys.stderr)
        found[row] = {column: cell(row, column) for column in columns}
    return found


def _first_line(message: str) -> str:
    return textwrap.shorten(message.splitlines()[0], 150, placeholder=" …")


# --- written --------------------------------------------------------------------------------------


def tables(data: Mapping[str, Any]) -> dict[str, str]:
    """Return name of a section of the page -> its text."""
    return {
        "papers": _papers(),
        "choices": _matrix("", data["choices"]),
        "costs": _matrix("strategy", data["costs"], code=True) + _exactness(data),
    }


def page(text: str, data: Mapping[str, Any]) -> str:
    """Return the text of the page with the sections between markers written anew."""
    for name, table in tables(data).items():
        start, end = f"<!-- {name}: written by tools/strategies_page.py -->", f"<!-- /{name} -->"
        before, found, rest = text.partition(start)
        assert found, f"{PAGE} has no {start}"
        text = f"{before}{start}\n{table}{end}{rest.partition(end)[2]}"
    return text


def _papers() -> str:
    made = claims()
    return "".join(map(_paper, strategies(), repeat(made)))


def _paper(name: str, made: list[Claim]) -> str:
    cls = oneshot.registry.load("strategy", name)
    shown: dict[str, list[str]] = {}
    for claim in made:
        if name in claim.strategies:
            shown.setdefault(claim.file, []).append(claim.what)
    tests = ". ".join(f"`{file}`: {'; '.join(what)}" for file, what in shown.items())
    source, exact = linked(paragraph(cls, "Source")), paragraph(cls, "Exact")
    text = f"- **`{name}`**: {source} *Exact:* {exact} *Computed independently in* {tests}."
    text = text.replace("``", "`")
    return textwrap.fill(text, 100, subsequent_indent="  ", break_on_hyphens=False) + "\n"


def _matrix(corner: str, found: Found, *, code: bool = False) -> str:
    columns = list(next(iter(found.values())))
    notes: dict[str, int] = {}
    lines = [
        f"| {' | '.join([corner, *map(_heading, columns)])} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for row, cells in _folded(found).items():
        words = [_word(cells[column], notes) for column in columns]
        lines.append(f"| {' | '.join([f'`{row}`' if code else row, *words])} |")
    lines += ["", *(f"{number}. {why}" for why, number in notes.items())]
    return "\n".join(lines) + "\n"


def _folded(found: Found) -> Found:
    """Return ``found`` with one row for layers in which nothing differs."""
    rows: dict[str, list[str]] = {}
    for row, cells in found.items():
        rows.setdefault(repr(cells) if row.startswith("nn.") else row, []).append(row)
    return {", ".join(names): found[names[0]] for names in rows.values()}


def _heading(column: str) -> str:
    return column if " " in column or "`" in column else f"`{column}`"


def _word(cell: str, notes: dict[str, int]) -> str:
    """Return what stands in a cell; why something is refused is collected in ``notes``."""
    if not cell.startswith("refused: "):
        return WORDS.get(cell, cell)
    number = notes.setdefault(cell.removeprefix("refused: "), len(notes) + 1)
    return f"no <sup>{number}</sup>"


def _exactness(data: Mapping[str, Any]) -> str:
    exact = ", ".join(f"`{cost}`" for cost in data["exact tables"])
    return f"\nTables that are exact for the model that was searched: {exact}.\n"


def main() -> None:
    """Run everything, and write data and page; with ``--render`` the page only."""
    if "--render" not in sys.argv[1:]:
        DATA.write_text(json.dumps(measured(), indent=1, ensure_ascii=False) + "\n", "utf-8")
    data = json.loads(DATA.read_text(encoding="utf-8"))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), data), encoding="utf-8")


if __name__ == "__main__":
    main()
