"""Put README's neighbours, the changelog and the guide for contributors, on the site.

A hook of mkdocs, named in ``mkdocs.yml``. Links are written for people who read the files in the
repository; here they lead to the pages of the site, and what is no page of it is shown without a
link.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
FROM_ROOT = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(!?)\[([^\]]+)\]\(([^)#:\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie beside ``docs``."""
    for source, page in FROM_ROOT.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links between files of the repository links between pages."""
    uri = page.file.src_uri
    beside = {page: source for source, page in FROM_ROOT.items()}
    return relinked(markdown, beside.get(uri, f"docs/{uri}"), uri)


def relinked(markdown: str, source: str, page: str) -> str:
    """Return the text of a page with links as the site needs them.

    Args:
        markdown: the text, with links as in the repository.
        source: path of the file, from the root of the repository.
        page: path of the page, from the root of the site.
    """

    def link(match: re.Match[str]) -> str:
        image, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        path = os.path.normpath(os.path.join(os.path.dirname(source), target))
        if path in FROM_ROOT:
            path = FROM_ROOT[path]
        elif path.startswith("docs/"):
            path = path.removeprefix("docs/")
        else:
            return text
        return f"{image}[{text}]({os.path.relpath(path, os.path.dirname(page) or '.')}{anchor})"

    return LINK.sub(link, markdown)
