"""No file that a stranger may have written runs code: read from the sources, and from the docs."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("oneshot_core", "oneshot_plugins", "examples", "benchmarks", "docs", "tools")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEMPLATES = sorted((ROOT / "oneshot_plugins/scaffold").rglob("*.py.tmpl"))

RUNS_CODE = {
    "load": {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"},
    "loads": {"pickle", "cPickle", "dill", "cloudpickle", "marshal"},
    "Unpickler": {"pickle", "dill", "cloudpickle"},
    "open": {"shelve"},
    "read_pickle": {"pandas", "pd"},
    "unsafe_load": {"yaml"},
}
"""Function -> modules whose function of that name runs what it reads."""


def offences(source: str) -> Iterator[str]:
    """Yield the calls that may run code from what they read."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        writes = isinstance(node.func, ast.Attribute) and node.func.attr == "save_checkpoint"
        if "allow_pickle" in given or (not writes and _is(given.get("weights_only"), False)):
            yield ast.unparse(node)
        if not isinstance(node.func, ast.Attribute) or not isinstance(node.func.value, ast.Name):
            continue
        module, function = node.func.value.id, node.func.attr
        if (module, function) == ("torch", "load") and "weights_only" not in given:
            yield ast.unparse(node)  # before torch 2.6 the default was to run code
        if module in RUNS_CODE.get(function, ()) and not _own(node):
            yield ast.unparse(node)


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _own(node: ast.Call) -> bool:
    """Say whether it reads what the same line has just pickled."""
    return bool(node.args) and "pickle.dumps(" in ast.unparse(node.args[0])


def test_no_source_reads_a_file_in_a_way_that_runs_code() -> None:
    found = {path: list(offences(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert {path: calls for path, calls in found.items() if calls} == {}


def test_no_page_shows_how_to_read_a_file_in_a_way_that_runs_code() -> None:
    for path in PAGES:
        for block in re.findall(r"^```python.*?\n(.*?)^```$", path.read_text(), re.M | re.S):
            assert list(offences(textwrap.dedent(block))) == [], path


def test_no_template_of_a_package_reads_a_file_in_a_way_that_runs_code() -> None:
    assert TEMPLATES
    for path in TEMPLATES:
        assert not re.search(r"torch\.load|pickle\.load|weights_only=False", path.read_text())


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "trainer.fit(search, ckpt_path=path, weights_only=False)",
        "pickle.load(file)",
        "pickle.loads(data)",
        "numpy.load(path, allow_pickle=True)",
        "with open(path) as f: x = [joblib.load(f)]",
    ],
)
def test_such_lines_would_be_found(source: str) -> None:
    assert list(offences(source))


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path, weights_only=True)",
        "torch.load(path, weights_only=weights_only)",
        "pickle.loads(pickle.dumps(model))",
        "json.load(file)",
    ],
)
def test_other_lines_are_left_alone(source: str) -> None:
    assert not list(offences(source))
