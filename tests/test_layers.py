"""Who may import whom, and how large things may be: read from the source, one test per rule.

Imports are counted wherever they stand: at the top, inside a function, and under
``TYPE_CHECKING``. Only a *face* of the core may name a plugin, and only where nothing runs before
somebody asks for it: in a string that is imported lazily, inside a function, or for types.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
CORE = sorted((ROOT / "oneshot_core").rglob("*.py"))
PLUGINS = sorted((ROOT / "oneshot_plugins").rglob("*.py"))

RANK = {
    "_version": 0, "errors": 0, "terminal": 0,
    "tables": 1, "space": 1, "optimizers": 1, "files": 1,
    "decision": 2, "hooks": 2,
    "supernet": 3,
    "traversal": 4, "model_space": 4, "freezing": 4,
    "architecture": 5, "searching": 5,
    "hookspecs": 6,
    "discovery": 7,
    "nn": 0, "importers": 0,
    "lightning": 9,
    "testing": 10, "cli": 10, "__main__": 11, "__init__": 11,
}  # fmt: skip
"""A module of the core imports from lower ranks only (and from its own package)."""

FACES = {"__init__", "importers", "nn", "space", "testing"}
"""The only parts of the core that name plugins: paths that stay where users import them."""

KERNEL = ("errors", "hooks", "traversal", "optimizers", "decision", "supernet")
"""Who has read these files and ``hookspecs`` knows what a plugin is."""

DOCUMENTED = {
    "oneshot_core", "oneshot_core.architecture", "oneshot_core.cli", "oneshot_core.cli.parser",
    "oneshot_core.cli.target", "oneshot_core.decision", "oneshot_core.discovery",
    "oneshot_core.errors", "oneshot_core.files", "oneshot_core.hooks", "oneshot_core.hookspecs",
    "oneshot_core.lightning", "oneshot_core.lightning.kit", "oneshot_core.model_space",
    "oneshot_core.nn", "oneshot_core.optimizers",
    "oneshot_core.searching", "oneshot_core.space", "oneshot_core.supernet",
    "oneshot_core.tables", "oneshot_core.terminal", "oneshot_core.testing",
    "oneshot_core.traversal",
}  # fmt: skip
"""What a plugin may import; docs/design.md lists them."""

MAY_IMPORT = {
    "cells": {"supernets"},
    "checks": {"costs", "elastic", "inspect", "pretrained"},
    "demo": {"costs", "spaces"},
    "elastic": {"supernets"},
    "inspect": {"costs", "ranking", "run"},
    "pretrained": {"elastic"},
    "ranking": {"costs"},
    "run": {"costs", "ranking"},
    "search": {"ranking"},
    "spaces": {"cells", "elastic", "supernets"},
    "strategies": {"costs", "distillation", "ranking"},
}
"""Which of our plugins imports which others."""

HEAVY = {"pytorch_lightning", "lightning", "lightning_fabric", "torchmetrics"}
TORCH_FREE = {
    "__init__", "__main__", "_version", "cli", "discovery", "errors", "files", "hookspecs",
    "tables", "terminal", "testing",
}  # fmt: skip
"""Imported by ``import oneshot_core``, ``oneshot --help`` or by listing plugins."""


class Import(NamedTuple):
    """One imported name: where, which, and whether it runs when the file is imported."""

    path: Path
    name: str
    runs: bool


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """Return the absolute names that a file imports, also inside functions and for types."""
    tree = ast.parse(path.read_text())
    lazy: set[ast.AST] = set()
    for node in ast.walk(tree):
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if typing_only or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lazy |= set(ast.walk(node))
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    return tuple(
        Import(path, name, node not in lazy)
        for node in ast.walk(tree)
        for name in _names(node, package)
    )


def _names(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else ()
        module = ".".join([*base, *([node.module] if node.module else [])])
        yield from (f"{module}.{alias.name}" for alias in node.names)


def all_imports(paths: list[Path]) -> list[Import]:
    return [found for path in paths for found in imports(path)]


def layer(path: Path) -> str:
    """Return the top-level name in its package that a file belongs to."""
    return path.relative_to(ROOT).with_suffix("").parts[1]


def where(found: Import) -> str:
    return f"{found.path.relative_to(ROOT)} imports {found.name}"


def module_of(name: str) -> str:
    """Return the module that an imported name is in, or is."""
    here = ROOT.joinpath(*name.split("."))
    is_module = here.with_suffix(".py").exists() or (here / "__init__.py").exists()
    return name if is_module else name.rpartition(".")[0]


# --- who imports whom -----------------------------------------------------------------------------


def test_imports_of_the_core_go_one_way_those_for_types_included() -> None:
    wrong = []
    for found in all_imports(CORE):
        own, parts = layer(found.path), found.name.split(".")
        assert own in RANK, f"give {own} a place in the order"
        if own not in FACES and parts[0] == "oneshot_core" and len(parts) > 1 and parts[1] != own:
            if parts[1] not in RANK:  # a name from the table of contents: types of plugins
                assert not found.runs, where(found)
            elif RANK[parts[1]] >= RANK[own]:
                wrong.append(where(found))
    assert wrong == []


def test_no_modules_of_the_core_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for found in all_imports(CORE):
        own = ".".join(found.path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        target = module_of(found.name)
        if layer(found.path) not in FACES and target.startswith("oneshot_core.") and target != own:
            graph.setdefault(own, set()).add(target)
    assert list(_circles(graph)) == []


def _circles(graph: dict[str, set[str]]) -> Iterator[str]:
    """Yield circles: what remains when modules that import nothing that remains are taken away."""
    left = {name: {t for t in targets if t in graph} for name, targets in graph.items()}
    while free := {name for name, targets in left.items() if not targets & left.keys()}:
        left = {name: targets for name, targets in left.items() if name not in free}
    imported = set().union(*left.values()) if left else set()
    yield from (f"{n} <-> {sorted(t & left.keys())}" for n, t in left.items() if n in imported)


def test_only_faces_of_the_core_name_plugins_and_only_lazily() -> None:
    wrong = [
        where(found)
        for found in all_imports(CORE)
        if found.name.startswith("oneshot_plugins")
        and (layer(found.path) not in FACES or (found.runs and found.path.name == "__init__.py"))
    ]
    assert wrong == []


def test_plugins_import_documented_modules_of_the_core_only() -> None:
    wrong = {
        where(found)
        for found in all_imports(PLUGINS)
        if found.name.split(".")[0] == "oneshot_core" and module_of(found.name) not in DOCUMENTED
    }
    assert wrong == set()


def test_the_modules_that_plugins_may_import_are_documented() -> None:
    page = (ROOT / "docs/design.md").read_text()
    assert [name for name in sorted(DOCUMENTED) if f"`{name}`" not in page] == []


def test_our_plugins_import_each_other_as_declared_and_in_no_circle() -> None:
    found: dict[str, set[str]] = {}
    for each in all_imports(PLUGINS):
        parts = each.name.split(".")
        if parts[0] == "oneshot_plugins" and len(parts) > 1 and parts[1] != layer(each.path):
            found.setdefault(layer(each.path), set()).add(parts[1])
    assert {"circles": list(_circles({k: v & found.keys() for k, v in found.items()}))} == {
        "circles": []
    }
    assert {name: found.get(name, set()) - MAY_IMPORT.get(name, set()) for name in found} == (
        {name: set() for name in found}
    )


def test_each_heavy_library_is_imported_in_its_place_only() -> None:
    wrong = []
    for found in all_imports(CORE):
        own, root = layer(found.path), found.name.split(".")[0]
        places = {
            **{name: {"lightning"} for name in HEAVY},
            "pluggy": {"hookspecs", "discovery"},
            "importlib_metadata": {"discovery"},
            "packaging": {"discovery"},
        }
        if own not in places.get(root, {own}) or (
            own in TORCH_FREE and found.runs and root in {"torch", "numpy"}
        ):
            wrong.append(where(found))
    assert wrong == []


def test_a_manifest_imports_nothing_but_the_hookspecs() -> None:
    wrong = [
        where(found)
        for path in PLUGINS
        if path.name == "plugin.py"
        for found in imports(path)
        if found.runs
        and not found.name.startswith(("oneshot_core.hookspecs.", "__future__", "typing."))
    ]
    assert wrong == []


def test_the_packages_of_manifests_import_nothing_else() -> None:
    """A manifest is read whenever plugins are listed, and its package's ``__init__`` with it."""
    packages = {path.parent for path in PLUGINS if path.name == "plugin.py"}
    wrong = [where(i) for p in packages for i in imports(p / "__init__.py") if i.runs]
    assert wrong == []


def test_the_checks_start_without_torch() -> None:
    names = ("case", "command", "fresh", "kit", "plan", "pytest_plugin", "report", "suite")
    wrong = [
        where(found)
        for name in names
        for found in imports(ROOT / f"oneshot_plugins/checks/{name}.py")
        if found.runs and found.name.split(".")[0] in {"torch", *HEAVY}
    ]
    assert wrong == []


def test_every_manifest_of_ours_is_an_entry_point() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for path in PLUGINS:
        if path.name == "plugin.py":
            assert f'"oneshot_plugins.{path.parent.name}.plugin"' in text


# --- the core alone -------------------------------------------------------------------------------

ALONE = """
import sys, warnings
sys.modules["oneshot_plugins"] = None  # as if it were deleted
import torch, oneshot_core as oneshot
from pytorch_lightning import LightningModule, Trainer
from torch import nn

class Pick(oneshot.BaseSuperNetModule):
    def __init__(self, choice, decision):
        super().__init__(decision)
        self.layers = choice
    def select(self, chosen): return self.layers[chosen["layer"]]
    def branches(self): return {}
    def forward(self, x):
        (active,) = next(iter(self.decisions)).active()
        return self.layers[str(active.candidate)](x)

def handle(module, name, memo, kwargs):
    if isinstance(module, oneshot.LayerChoice):
        (spec,) = module.specs_at(name)
        layers = {str(c): module.select_at(name, {"layer": c}) for c in spec.candidates}
        return Pick(nn.ModuleDict(layers), kwargs["decisions"].decide(spec, path=name))

class First(oneshot.Decision):
    def mixture(self): return [oneshot.Active(self.spec.candidates[0])]
    def probabilities(self): return torch.tensor([1.0] + [0.0] * (self.spec.size - 1))

class Always(oneshot.BaseOneShotLightningModule):
    def make_decision(self, spec): return First(spec)

class Model(LightningModule):
    def __init__(self):
        super().__init__()
        layers = [nn.Linear(2, 2), nn.Identity()]
        self.body = nn.Sequential(oneshot.LayerChoice(layers, label="layer"))
    def training_step(self, batch, index): return self.body(batch).square().mean()
    def configure_optimizers(self): return torch.optim.SGD(self.parameters(), 0.1)

model = Model()
search = Always(model, [handle], registry=oneshot.Registry(entry_points=False))
assert [type(m).__name__ for m in search.nas_modules] == ["Pick"]
before = model.body[0].layers["0"].weight.detach().clone()
warnings.simplefilter("ignore")
batches = torch.utils.data.DataLoader(torch.ones(4, 2), 2)
Trainer(max_steps=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu").fit(search, batches)
assert not torch.equal(before, model.body[0].layers["0"].weight)
opt = torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1)
assert oneshot.merge_optimizers(None, [opt]) == [opt]
print("works alone")
"""


def test_the_core_walks_merges_and_wraps_with_the_plugins_deleted(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"},
    )
    assert "works alone" in done.stdout, done.stderr


def test_the_core_names_no_algorithm_of_a_plugin() -> None:
    """No string in the core equals the name of a strategy, searcher, cost or space of ours."""
    from oneshot_core import Registry

    kinds = ("strategy", "searcher", "cost", "space")
    names = {record.name for kind in kinds for record in Registry().find(kind)}
    names -= {"random", "parameters"}  # the default strategy; torch's word for weights
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value!r}"
        for path in CORE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert wrong == []


# --- budgets: they may only go down ---------------------------------------------------------------

BUDGETS = {"kernel": 1165, "core": 10_890, "file": 450, "function": 60, "parameters": 12}
"""Lines (of Python, docstrings included), and the parameters of one function. The core is to reach
10,500."""


def _lines(paths: list[Path]) -> int:
    return sum(len(path.read_text().splitlines()) for path in paths)


def _functions(paths: list[Path]) -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield f"{path.relative_to(ROOT)}:{node.name}", node


def test_the_kernel_and_the_core_stay_small() -> None:
    kernel = _lines([ROOT / f"oneshot_core/{name}.py" for name in KERNEL])
    assert (kernel <= BUDGETS["kernel"], _lines(CORE) <= BUDGETS["core"]) == (True, True), (
        f"kernel {kernel}, core {_lines(CORE)} lines"
    )


def test_no_file_of_the_core_is_long() -> None:
    long = {str(p.relative_to(ROOT)): _lines([p]) for p in CORE if _lines([p]) > BUDGETS["file"]}
    assert long == {}


def test_no_function_of_the_core_is_long_or_takes_many_parameters() -> None:
    wrong = []
    for name, node in _functions(CORE):
        taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        if node.end_lineno - node.lineno + 1 > BUDGETS["function"]:  # type: ignore[operator]
            wrong.append(f"{name}: {node.end_lineno - node.lineno + 1} lines")  # type: ignore[operator]
        if len(taken) > BUDGETS["parameters"]:
            wrong.append(f"{name}: {len(taken)} parameters")
    assert wrong == []


def test_no_class_of_the_core_has_many_public_methods() -> None:
    wrong = {}
    for path in CORE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                public = {
                    m.name
                    for m in node.body
                    if isinstance(m, ast.FunctionDef) and re.match(r"[a-z]", m.name)
                }
                if len(public) > 35:
                    wrong[node.name] = len(public)
    assert wrong == {}


def test_faces_are_short() -> None:
    short = [path for path in CORE if layer(path) in FACES - {"__init__", "space"}]
    assert [str(path) for path in short if _lines([path]) > 20] == []
