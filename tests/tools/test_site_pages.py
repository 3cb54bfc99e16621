"""Links between files of the repository become links between pages."""

from __future__ import annotations

import pytest

from tools.site_pages import relinked


@pytest.mark.parametrize(
    ("source", "page", "link", "expected"),
    [
        ("CONTRIBUTING.md", "contributing.md", "[a](docs/design.md)", "[a](design.md)"),
        ("CONTRIBUTING.md", "contributing.md", "[a](docs/b/c.md#d)", "[a](b/c.md#d)"),
        ("CONTRIBUTING.md", "contributing.md", "[`a`](oneshot_core/a.py)", "`a`"),
        ("docs/index.md", "index.md", "[a](../CONTRIBUTING.md#b)", "[a](contributing.md#b)"),
        ("docs/a/b.md", "a/b.md", "[a](../../CHANGELOG.md)", "[a](../changelog.md)"),
        ("docs/a/b.md", "a/b.md", "[a](../faq.md)", "[a](../faq.md)"),
        ("docs/a/b.md", "a/b.md", "![a](../pictures/a.svg)", "![a](../pictures/a.svg)"),
        ("docs/a.md", "a.md", "[a](https://example.org)", "[a](https://example.org)"),
        ("docs/a.md", "a.md", "[a](#b)", "[a](#b)"),
    ],
)
def test_a_link_leads_to_the_page_of_what_it_names(
    source: str, page: str, link: str, expected: str
) -> None:
    assert relinked(f"See {link}.", source, page) == f"See {expected}."
