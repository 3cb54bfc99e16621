"""Docstrings on the site: roles become links, simple tables pipe tables."""

from __future__ import annotations

import pytest

from tools.site_docstrings import markdown


def on_site(text: str) -> str:
    return markdown(text, lambda name: f"package.{name}")


@pytest.mark.parametrize(
    ("role", "target", "shown"),
    [
        pytest.param(":class:`Net`", "package.Net", "Net", id="name"),
        pytest.param(":meth:`~a.Net.run`", "package.a.Net.run", "run", id="last part"),
        pytest.param(":class:`.Net`", "package.Net", "Net", id="anywhere"),
        pytest.param(":func:`go <a.run>`", "package.a.run", "go", id="title"),
    ],
)
def test_a_role_becomes_a_link_that_may_stay_unresolved(role: str, target: str, shown: str) -> None:
    link = f'<autoref optional identifier="{target}"><code>{shown}</code></autoref>'
    assert on_site(f"See {role}.") == f"See {link}."


def test_a_simple_table_becomes_a_pipe_table() -> None:
    text = """\
Before:

  ====  ======
  no.   means
  ====  ======
  1     a|b
        and c
  2     d
  ====  ======

After."""
    rows = ["| no. | means |", "| --- | --- |", r"| 1 | a\|b and c |", "| 2 | d |"]
    assert on_site(text).split("\n") == ["Before:", "", *(f"  {r}" for r in rows), "", "After."]


def test_a_table_without_titles_gets_empty_ones() -> None:
    assert on_site("===  ===\na    b\n===  ===") == "|  |  |\n| --- | --- |\n| a | b |"


def test_what_introduces_a_block_ends_in_one_colon() -> None:
    assert on_site("As in::\n\n    a::b") == "As in:\n\n    a::b"
