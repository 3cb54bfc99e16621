"""``python -m benchmarks.page``: write the tables of ratios and growth of ``docs/benchmarks.md``.

From ``benchmarks/results/ratios.json`` (``python -m benchmarks --json``) and ``nni.json``
(``benchmarks/against_nni.sh``). A test fails where the page is not what the results say.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from .cases import CASES, MEMORIES
from .growth import GROWTHS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"
BEGIN = "<!-- Written by python -m benchmarks.page; change that file instead. -->\n"
END = "<!-- End of the ratios. -->\n"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def page(text: str) -> str:
    """Return ``text`` with what is between the markers written anew."""
    ratios, nni = (_read(RESULTS / name) for name in ("ratios.json", "nni.json"))
    before, rest = text.split(BEGIN)
    return before + BEGIN + "\n" + tables(ratios, nni) + "\n" + END + rest.split(END)[1]


def tables(ratios: Mapping[str, Any], nni: Mapping[str, Any]) -> str:
    """Return all tables, in Markdown."""
    head = f"torch {ratios['torch']}, {ratios['threads']} thread, Python {ratios['python']}."
    return "\n".join(
        [
            head,
            "",
            "| time | ours / theirs | quartiles | ours, ms | NNI 3.0 / theirs |",
            "|---|---|---|---|---|",
            *_rows(CASES, ratios["time"], lambda name, found: _time(found, nni["time"].get(name))),
            "",
            "| memory beyond weights | ours / theirs | ours, MB |",
            "|---|---|---|",
            *_rows(MEMORIES, ratios["memory"], _memory),
            "",
            "| growth | exponents |",
            "|---|---|",
            *_rows(GROWTHS, ratios["growth"], _growth),
            "",
        ]
    )


def _rows(
    cases: Mapping[str, Callable[..., object]],
    results: Mapping[str, Any],
    cells: Callable[[str, Mapping[str, Any]], Iterable[str]],
) -> list[str]:
    return [
        f"| `{name}`: {_summary(cases[name])} | {' | '.join(cells(name, found))} |"
        for name, found in results.items()
    ]


def _summary(case: Callable[..., object]) -> str:
    text = " ".join((inspect.getdoc(case) or "").split("\n\n")[0].split())
    return (text[0].lower() + text[1:].rstrip(".")).replace("``", "`")


def _time(found: Mapping[str, Any], nni: Mapping[str, Any] | None) -> list[str]:
    return [
        f"{found['median']:.2f}",
        f"{found['low']:.2f} to {found['high']:.2f}",
        f"{1e3 * found['ours']:.3g}",
        "" if nni is None else f"{nni['median']:.3g}",
    ]


def _memory(name: str, found: Mapping[str, Any]) -> list[str]:
    return [f"{found['median']:.2f}", f"{found['ours'] / 1e6:.1f}"]


def _growth(name: str, found: Mapping[str, Any]) -> list[str]:
    return [", ".join(f"{what} {power:.2f}" for what, power in found["exponents"].items())]


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
