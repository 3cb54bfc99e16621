"""The picture at the top of docs/design.md is what the source says."""

from __future__ import annotations

import html
import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOUSE = runpy.run_path(str(ROOT / "docs/pictures/house.py"))
RUN = "run: python docs/pictures/house.py"


def drawn() -> dict[str, object]:
    """Return what the picture says of itself."""
    text = (ROOT / "docs/pictures/house.svg").read_text(encoding="utf-8")
    (found,) = re.findall(r"<dc:description>(.*?)</dc:description>", text, re.S)
    told: dict[str, object] = json.loads(html.unescape(found))
    return told


def test_the_arrows_of_the_house_are_the_imports_of_the_source() -> None:
    assert drawn()["arrows"] == [list(arrow) for arrow in HOUSE["facts"]()["arrows"]], RUN


def test_the_sizes_of_the_house_are_about_those_of_the_source() -> None:
    lines = HOUSE["facts"]()["lines"]
    assert drawn()["lines"] == pytest.approx(lines, rel=0.15, abs=40), RUN


def test_no_line_of_the_house_goes_through_a_box() -> None:
    places = HOUSE["boxes"]()
    for start, end in drawn()["arrows"]:  # type: ignore[attr-defined]
        way = HOUSE["route"](start, end, places)
        others = [box for name, box in places.items() if name not in {start, end}]
        assert not any(HOUSE["crosses"](way, box) for box in others), (start, end)


def test_a_line_through_a_box_is_noticed() -> None:
    box = HOUSE["Box"](10, 10, 5, 5, "box")
    assert HOUSE["crosses"](((0, 0), (20, 20)), box)
    assert not HOUSE["crosses"](((0, 0), (20, 0)), box)
