"""What is said of strategies and shown by tests: read from docstrings and from markers of tests."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Claim:
    """One thing that a test computes independently.

    Args:
        what: as the marker says.
        strategies: names of those that it is about.
        test: function, in file.
        file: name of the file.
    """

    what: str
    strategies: tuple[str, ...]
    test: str
    file: str


def paragraph(cls: type, key: str) -> str:
    """Return what a docstring says after ``"key:"``, as one line; nothing if it says nothing."""
    paragraphs = inspect.cleandoc(cls.__doc__ or "").split("\n\n")
    said = [text for text in paragraphs if text.startswith(f"{key}:")]
    return " ".join(said[0].removeprefix(f"{key}:").split()) if said else ""


def linked(text: str) -> str:
    """Return ``text`` with links to the papers it names by their arXiv ids."""
    return re.sub(r"arXiv:(\d{4}\.\d{5})", r"[\1](https://arxiv.org/abs/\1)", text)


def claims(folder: Path = ROOT / "tests") -> list[Claim]:
    """Return what tests say by ``@pytest.mark.verifies(what, *strategies)``."""
    return [
        Claim(arguments[0], tuple(arguments[1:]), function.name, path.name)
        for path in sorted(folder.rglob("test_*.py"))
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef) and function.name.startswith("test_")
        for arguments in _marked(function)
    ]


def _marked(function: ast.FunctionDef) -> Iterator[list[str]]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith(".verifies"):
            yield [ast.literal_eval(argument) for argument in decorator.args]
