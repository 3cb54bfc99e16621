"""Who may import whom: read from the source, so that a forbidden line fails wherever it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = sorted((ROOT / "oneshot_core").rglob("*.py"))
PLUGINS = sorted((ROOT / "oneshot_plugins").rglob("*.py"))

RANK = {
    "_version": 0, "errors": 0, "terminal": 0, "nests": 0,
    "_table": 1, "space": 1, "optimizers": 1, "hookspecs": 1, "_metadata": 1, "files": 1,
    "_requirements": 2, "_records": 2, "decision": 2, "hooks": 2, "tied": 2,
    "_settings": 3, "supernet": 3,
    "_discovery": 4, "traversal": 4, "model_space": 4,
    "_registry": 5, "architecture": 5, "sizes": 5,
    "nn": 6, "importers": 6,
    "lightning": 7,
    "inspection": 8, "testing": 8, "cli": 9, "__main__": 10, "__init__": 10,
}  # fmt: skip
"""A module imports from lower ranks only (and from its own package)."""

TORCH_FREE = {
    "__init__", "__main__", "_version", "_discovery", "_metadata", "_records", "_registry",
    "_requirements", "_settings", "_table", "cli", "errors", "files", "hookspecs", "nests",
    "terminal",
}  # fmt: skip
"""Imported by ``import oneshot_core``, ``oneshot --help`` or by listing plugins."""


def imports(path: Path) -> Iterator[str]:
    """Yield the absolute names that a file imports when it runs, not for type checking only."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    skipped: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            skipped |= {inner for part in node.body for inner in ast.walk(part)}
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def layer(path: Path) -> str:
    """Return the top-level name in ``oneshot_core`` that a file belongs to."""
    parts = path.relative_to(ROOT / "oneshot_core").with_suffix("").parts
    return parts[0]


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_core_imports_go_one_way_and_never_to_a_plugin(path: Path) -> None:
    own = layer(path)
    assert own in RANK, f"give {own} a place in the order"
    for name in imports(path):
        parts = name.split(".")
        assert parts[0] != "oneshot_plugins", f"core imports a plugin: {name}"
        if parts[0] == "oneshot_core" and len(parts) > 1 and parts[1] in RANK and parts[1] != own:
            assert RANK[parts[1]] < RANK[own], f"{own} imports {name}"


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_each_heavy_library_is_imported_in_its_place_only(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports(path)}
    own = layer(path)
    if own not in ("lightning", "testing"):
        assert not roots & {"pytorch_lightning", "lightning", "lightning_fabric", "torchmetrics"}
    if own not in ("hookspecs", "_registry"):
        assert "pluggy" not in roots
    if own != "_metadata":
        assert "importlib_metadata" not in roots
    if own in TORCH_FREE:
        assert not roots & {"torch", "numpy"}


@pytest.mark.parametrize("path", PLUGINS, ids=lambda p: str(p.relative_to(ROOT)))
def test_our_plugins_use_the_public_door_only(path: Path) -> None:
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "oneshot_core":
            assert not any(part.startswith("_") for part in parts), f"private: {name}"


@pytest.mark.parametrize(
    "path", [p for p in PLUGINS if p.name == "plugin.py"], ids=lambda p: p.parent.name
)
def test_a_manifest_imports_nothing_but_the_hookspecs(path: Path) -> None:
    found = {name for name in imports(path) if not name.startswith("__future__")}
    assert all(name.startswith("oneshot_core.hookspecs.") for name in found)


def test_the_checks_start_without_torch() -> None:
    for name in ("__init__", "case", "fresh", "plan", "plugin", "report", "suite"):
        path = ROOT / f"oneshot_core/testing/{name}.py"
        # Inside a function is allowed: that is what a check needs when it runs.
        top = ast.Module([n for n in ast.parse(path.read_text()).body if _imports(n)], [])
        names = ast.dump(top)
        assert "'torch'" not in names, path
        assert "lightning" not in names, path


def _imports(node: ast.AST) -> bool:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def test_every_manifest_of_ours_is_an_entry_point() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for path in PLUGINS:
        if path.name == "plugin.py":
            assert f'"oneshot_plugins.{path.parent.name}.plugin"' in text
