"""Show docstrings on the site as they are meant: roles as links, tables as tables.

An extension of griffe, which reads docstrings for mkdocstrings; named in ``mkdocs.yml``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`([^`]+)`")
RULE = re.compile(r"=+(?: +=+)*")


class Docstrings(griffe.Extension):
    """Rewrite every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of one module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value, lambda name: resolved(obj, name))


def resolved(obj: griffe.Object, name: str) -> str:
    """Return the full path of a name as ``obj`` sees it; unknown names stay as they are."""
    first, dot, rest = name.lstrip(".").partition(".")
    try:
        return obj.resolve(first) + dot + rest
    except griffe.NameResolutionError:
        return name


def markdown(text: str, resolve: Callable[[str], str]) -> str:
    """Return a docstring as Markdown.

    Roles become links where the site has their target, and code elsewhere; simple tables of
    reStructuredText become pipe tables; a paragraph that ends in ``::`` ends in a colon.

    Args:
        text: the docstring.
        resolve: name -> full path.
    """

    def link(match: re.Match[str]) -> str:
        title, _, target = match[1].rpartition(" <")  # :role:`title <target>`, or the target alone
        name = target.rstrip(">").lstrip("~.")
        shown = title or (name.rpartition(".")[2] if target[0] in "~." else name)
        return f'<autoref optional identifier="{resolve(name)}"><code>{shown}</code></autoref>'

    text = re.sub(r"::$", ":", ROLE.sub(link, text), flags=re.M)
    return "\n".join(_with_pipe_tables(text.split("\n")))


def _with_pipe_tables(lines: list[str]) -> Iterator[str]:
    while lines:
        line, *lines = lines
        if not RULE.fullmatch(line.strip()):
            yield line
            continue
        indent = line[: len(line) - len(line.lstrip())]
        starts = [m.start() for m in re.finditer("=+", line)]
        *head, body = _until_rules(lines, line)
        lines = lines[sum(len(part) + 1 for part in [*head, body]) :]
        titles = next(_rows(head[0], starts)) if head else [""] * len(starts)
        for row in [titles, ["---"] * len(starts), *_rows(body, starts)]:
            yield f"{indent}| {' | '.join(row)} |"


def _until_rules(lines: list[str], rule: str) -> list[list[str]]:
    """Return what is above each further rule of a table, which an empty line ends."""
    table = list(takewhile(str.strip, lines))
    parts: list[list[str]] = [[]]
    for line in table:
        if line == rule:
            parts.append([])
        else:
            parts[-1].append(line)
    return parts[:-1]


def _rows(lines: list[str], starts: list[int]) -> Iterator[list[str]]:
    """Yield the cells of each row; a line without a first cell goes on with the row before."""
    row: list[str] = []
    for line in lines:
        bounds = zip(starts, [*starts[1:], None], strict=True)
        cells = [line[a:b].strip().replace("|", r"\|") for a, b in bounds]
        if row and not cells[0]:
            row = [f"{old} {new}".strip() for old, new in zip(row, cells, strict=True)]
            continue
        if row:
            yield row
        row = cells
    if row:
        yield row
