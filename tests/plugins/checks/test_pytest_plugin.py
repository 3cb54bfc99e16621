"""The pytest option and the importable suite, and that pytest is left alone without them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

MANIFEST = """
from oneshot_core.hookspecs import Component, Conformance, hookimpl

@hookimpl
def oneshot_components():
    return [
        Component("cost", "x.one", "x_parts:one", summary="one"),
        Component("cost", "x.nan", "x_parts:nan", summary="not a number"),
        Component("cost", "x.int", "x_parts:integer", summary="an int"),
    ]

@hookimpl
def oneshot_conformance():
    return Conformance(expected_failures={("cost:x.int", "cost.is-a-number"): "not yet"})
"""

PARTS = """
def one(network, *inputs):
    return 1.0

def nan(network, *inputs):
    return float("nan")

def integer(network, *inputs):
    return 1
"""


@pytest.fixture
def x(fake_dist, tmp_path_factory) -> Path:
    site: Path = fake_dist(
        "oneshot-plugin-x",
        entry_points={"main": "x_manifest"},
        modules={"x_manifest.py": MANIFEST, "x_parts.py": PARTS},
        requires=["oneshot-core>=0.1,<0.2"],
    )
    folder: Path = tmp_path_factory.mktemp("work")
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "site").symlink_to(site)
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(folder / "site")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
    )


def test_the_entry_point_is_named_as_its_module() -> None:
    (ours,) = [p for p in entry_points(group="pytest11") if p.value.startswith("oneshot_core")]
    assert ours.name == ours.value == "oneshot_core.testing.plugin"


def test_without_the_option_pytest_neither_imports_torch_nor_collects_anything(x: Path) -> None:
    (x / "test_one.py").write_text(
        "import sys\n"
        "def test_one():\n"
        "    assert 'oneshot_core.testing.plugin' in sys.modules\n"
        "    heavy = {'torch', 'pytorch_lightning', 'lightning', 'x_manifest', 'rich'}\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    done = run(x, "-q")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert run(x, "-q", "--collect-only").stdout.count("::") == 1


def test_the_option_makes_one_item_for_each_check_of_each_component(x: Path) -> None:
    done = run(x, "-rxf", "-W", "error", "--oneshot-conformance", "oneshot-plugin-x")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout
    assert "1 xfailed" in done.stdout
    assert "FAILED oneshot-conformance::cost.is-a-number[cost:x.nan]" in done.stdout
    assert "the cost of a Sequential is nan.\n  expected: a finite float" in done.stdout
    assert "not yet" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_misspelt_name_is_an_error(x: Path) -> None:
    wrong = run(x, "--oneshot-conformance", "oneshot-plugin-y")
    assert wrong.returncode == pytest.ExitCode.USAGE_ERROR
    assert "nothing that is installed is named 'oneshot-plugin-y'" in wrong.stdout + wrong.stderr


@pytest.mark.slow
def test_the_suite_gives_the_same_as_tests_of_a_module(x: Path) -> None:
    suite = "from oneshot_core.testing.suite import *\n"
    (x / "test_conformance.py").write_text(
        f"{suite}conformance = ['cost:x.one', 'cost:x.int']\n\ndef test_of_its_own(): ...\n"
    )
    done = run(x, "-rx")
    assert "1 xfailed" in done.stdout, done.stdout + done.stderr
    assert "failed" not in done.stdout.replace("xfailed", "")
    (x / "test_conformance.py").write_text(suite)
    assert "does not say what to check" in run(x).stdout


def test_authors_get_an_empty_registry_that_nothing_installed_gets_into(x: Path) -> None:
    (x / "test_mine.py").write_text(
        "import sys\n"
        "def test_mine(oneshot_registry):\n"
        "    assert list(oneshot_registry) == []\n"
        "    oneshot_registry.register('cost', 'mine', abs)\n"
        "    assert list(oneshot_registry) == ['cost:mine']\n"
        "    assert not {'torch', 'x_manifest'} & set(sys.modules)\n"
        "def test_another(oneshot_registry):\n"
        "    assert list(oneshot_registry) == []\n"
    )
    done = run(x, "-q")
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_items_are_selected_by_keyword_and_show_what_a_component_raises(x: Path) -> None:
    (x / "site" / "x_parts.py").write_text("def one(network, *inputs):\n    return {}['gone']\n")
    keyword = ("-k", "x.one and is-a-number")
    done = run(x, "--oneshot-conformance", "oneshot-plugin-x", *keyword)
    assert re.search(r"1 failed, \d+ deselected", done.stdout), done.stdout + done.stderr
    assert "KeyError: 'gone' (" in done.stdout
    assert "return {}['gone']" in done.stdout


def test_a_misspelt_name_in_a_suite_is_an_error_without_a_traceback(x: Path) -> None:
    suite = "from oneshot_core.testing.suite import *\nconformance = 'oneshot-plugin-y'\n"
    (x / "test_conformance.py").write_text(suite)
    out = run(x).stdout
    assert "test_conformance: nothing that is installed is named 'oneshot-plugin-y'" in out
    assert "suite.py" not in out
