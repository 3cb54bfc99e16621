"""The documentation's site: built with warnings as errors, and opened in a browser."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .browser import CHROMIUM, opened

ROOT = Path(__file__).parent.parent
needs_a_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="needs chromium on the path (apt-get install chromium)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as ``make docs`` does: what mkdocs warns about is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_has_every_page_and_resolves_what_docstrings_name(site: Path) -> None:
    pages = {page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")}
    for page in [*pages, Path("contributing.md"), Path("changelog.md")]:
        assert (site / page.with_suffix(".html")).is_file(), page
    api = (site / "api.html").read_text()
    assert 'href="#oneshot_core.Mutable"' in api  # from :class:`Mutable`
    assert ":class:" not in api
    assert "<autoref" not in api


@pytest.mark.slow
@needs_a_browser
@pytest.mark.parametrize("page", ["index.html", "concepts.html", "api.html", "contributing.html"])
def test_a_page_of_the_site_opens_without_errors(site: Path, tmp_path: Path, page: str) -> None:
    seen = opened(site, page, tmp_path)
    assert "oneshot-core" in seen.html
    assert (seen.console, seen.missing) == ([], [])


@pytest.mark.slow
@needs_a_browser
def test_a_page_with_errors_does_not_pass(tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        '<img src="figure.svg"><script src="https://example.org/x.js"></script>'
        "<script>document.title = undefined_name</script>"
    )
    seen = opened(tmp_path, "bad.html", tmp_path / "profile")
    assert "/figure.svg" in seen.missing
    assert any("https://example.org/x.js" in line for line in seen.console)
    assert any("undefined_name" in line for line in seen.console)
