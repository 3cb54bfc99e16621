"""The example package, as somebody else's: a wheel, a fresh environment, a search, uninstalled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from ..typed import mypy

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/oneshot-plugin-example"
NAME = "oneshot-plugin-example"
ID = "supernet:example.activation"

LIST = """
import json, sys
from oneshot_core.cli import main
code = main(["plugins", "list", "--json"])
names = ("torch", "pytorch_lightning", "oneshot_plugin_example.supernet")
print(json.dumps([name for name in names if name in sys.modules]), file=sys.stderr)
sys.exit(code)
"""

BLOCKS = """
import pathlib, re, sys
names = {"__name__": "readme"}
text = pathlib.Path(sys.argv[1]).read_text()
for block in re.findall(r"^```python\\n(.*?)^```$", text, re.M | re.S):
    exec(block, names)
assert set(names["best"]) == {"net.1", "net.3"}
"""


def wheel(project: Path, folder: Path) -> Path:
    """Build a wheel without network and without an environment of its own."""
    options = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet")
    run([sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, project])
    (built,) = folder.glob("*.whl")
    return built


def run(
    command: list[Any], cwd: Path | None = None, code: int = 0, **environ: str
) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "ONESHOT", "PIP"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**kept, "PYTHONDONTWRITEBYTECODE": "1", **environ},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done


def listed(text: str) -> dict[str, dict[str, Any]]:
    return {record["id"]: record for record in json.loads(text)["components"]}


@pytest.fixture(scope="module")
def example_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel(EXAMPLE, tmp_path_factory.mktemp("wheels"))


def test_a_wheel_brings_the_plugin_and_without_its_files_it_is_gone(
    example_wheel: Path, tmp_path: Path
) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    run([*pip, "--target", site, example_wheel])
    done = run([sys.executable, "-c", LIST], cwd=empty, PYTHONPATH=str(site))
    record = listed(done.stdout)[ID]
    assert (record["provider"], record["version"], record["state"]) == (NAME, "0.1.0", "available")
    assert done.stderr.splitlines()[-1] == "[]"  # neither torch nor what the plugin names
    assert not list(site.glob("tests*"))
    shutil.rmtree(site)
    done = run([sys.executable, "-c", LIST], cwd=empty, PYTHONPATH=str(site))
    assert ID not in listed(done.stdout)


class Environment:
    """A fresh environment with the two wheels, and an empty folder to work in.

    Everything else that is installed here is lent to it by links, this project excepted.
    """

    def __init__(self, folder: Path, wheels: list[Path]) -> None:
        self.bin = folder / "venv/bin"
        self.empty = folder / "empty"
        self.empty.mkdir()
        lent = folder / "lent"
        lent.mkdir()
        for site in (Path(entry) for entry in sys.path if any(Path(entry).glob("*.dist-info"))):
            for item in site.iterdir():
                ours = item.name.lstrip("_").startswith(("oneshot", "editable"))
                if not ours and item.suffix != ".pth" and not (lent / item.name).exists():
                    (lent / item.name).symlink_to(item)
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        (self.site,) = (folder / "venv/lib").glob("python*/site-packages")
        (self.site / "lent.pth").write_text(f"{lent}\n")
        self.pip("install", "--no-index", "--no-deps", *wheels)

    def pip(self, command: str, *arguments: Any) -> None:
        run([sys.executable, "-m", "pip", "--python", self.python, command, "--quiet", *arguments])

    @property
    def python(self) -> Path:
        return self.bin / "python"

    def oneshot(self, *arguments: str, code: int = 0, **environ: str) -> str:
        return run([self.bin / "oneshot", *arguments], self.empty, code, **environ).stdout

    def run(self, *arguments: Any, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return run([self.python, *arguments], cwd or self.empty)


@pytest.fixture(scope="module")
def environment(example_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    core = wheel(ROOT, tmp_path_factory.mktemp("core"))
    return Environment(tmp_path_factory.mktemp("environment"), [core, example_wheel])


@pytest.mark.slow
def test_it_is_listed_with_provider_and_version_and_nothing_is_imported(
    environment: Environment,
) -> None:
    done = environment.run("-c", LIST)
    assert listed(done.stdout)[ID]["provider"] == NAME
    assert done.stderr.splitlines()[-1] == "[]"
    where = environment.run("-c", "import oneshot_core; print(oneshot_core.__file__)").stdout
    assert Path(where.strip()).is_relative_to(environment.site)  # the wheel, not this tree
    assert environment.oneshot("plugins", "doctor") == "problems: 0\n"
    assert f"{NAME}  0.1.0" in environment.oneshot("plugins", "list", "--kind", "supernet")


@pytest.mark.slow
def test_its_component_is_shown_and_loads(environment: Environment) -> None:
    shown = json.loads(environment.oneshot("plugins", "info", ID, "--load", "--json"))["component"]
    assert shown["state"] == "loaded"
    assert shown["handles"] == ["oneshot_plugin_example.choice:ActivationChoice"]
    assert "Run the active activation functions" in shown["doc"]


@pytest.mark.slow
def test_it_keeps_the_promises_of_plugins(environment: Environment) -> None:
    report = json.loads(environment.oneshot("plugins", "check", NAME, "--json"))
    assert report["ok"]
    assert report["counts"]["advice"] == report["counts"]["expected"] == 0
    passed = {r["check"] for r in report["results"] if r["outcome"] == "passed"}
    assert {"packaging.installs-its-packages-only", "packaging.is-typed"} <= passed
    pairs = {r["subject"] for r in report["results"] if r["check"].startswith("cross.")}
    assert {f"{ID} x strategy:random", f"{ID} x strategy:darts"} <= pairs


@pytest.mark.slow
def test_a_model_without_choices_is_searched_by_two_strategies(environment: Environment) -> None:
    script = ROOT / "tests/integration/search_activations.py"
    found = json.loads(environment.run(script).stdout.splitlines()[-1])
    for strategy in ("random", "darts"):
        facts = found[strategy]
        assert facts["labels"] == ["blocks.0.relu", "blocks.1.relu", "stem.2"]
        assert set(facts["best"]) == set(facts["labels"])
        assert facts["supernet_is_frozen"]
        assert facts["frozen_is_by_hand"]
        assert facts["foreign"] == []
        assert facts["keys"]


@pytest.mark.slow
def test_its_readme_runs(environment: Environment) -> None:
    environment.run("-c", BLOCKS, EXAMPLE / "README.md")


@pytest.mark.slow
def test_its_own_tests_pass_and_its_types_hold(environment: Environment, tmp_path: Path) -> None:
    """By the options of this project, which are as strict; mypy knows its torch already."""
    done = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=copied(tmp_path))
    assert " passed" in done.stdout
    assert "failed" not in done.stdout
    typed = mypy(EXAMPLE / "src")
    assert typed.returncode == 0, typed.stdout + typed.stderr


@pytest.mark.nightly
def test_its_types_hold_by_its_own_options_against_the_wheels(
    environment: Environment, tmp_path: Path
) -> None:
    environment.run("-m", "mypy", "--cache-dir", tmp_path / "cache", cwd=copied(tmp_path))


def copied(folder: Path) -> Path:
    """Copy what is not in the wheel, to where the source is not."""
    for name in ("pyproject.toml", "tests"):
        copy: Any = shutil.copytree if (EXAMPLE / name).is_dir() else shutil.copy
        copy(EXAMPLE / name, folder / name)
    return folder


@pytest.mark.slow
def test_the_users_settings_hide_it(environment: Environment) -> None:
    assert ID not in environment.oneshot("plugins", "list", ONESHOT_PLUGINS="")
    assert ID in environment.oneshot("plugins", "list", ONESHOT_PLUGINS=NAME)
    assert ID not in environment.oneshot("plugins", "list", ONESHOT_DISABLE_PLUGINS=NAME)


@pytest.mark.slow
def test_a_broken_manifest_hurts_only_itself(environment: Environment) -> None:
    manifest = environment.site / "oneshot_plugin_example/plugin.py"
    whole = manifest.read_text()
    manifest.write_text("raise RuntimeError('broken on purpose')\n")
    try:
        records = listed(environment.oneshot("plugins", "list", "--json", "--all"))
        assert ID not in records
        assert "supernet:layer-choice" in records
        doctor = environment.oneshot("plugins", "doctor", code=1)
        assert "broken on purpose" in doctor
        assert "ONESHOT_DISABLE_PLUGINS=" in doctor
        assert environment.oneshot("plugins", "check", "cost:macs")
        failed = environment.oneshot("plugins", "check", NAME, code=1)
        assert "packaging.manifest-is-readable" in failed
    finally:
        manifest.write_text(whole)


@pytest.mark.slow
def test_uninstalling_takes_it_away_and_nothing_is_left(
    environment: Environment, example_wheel: Path
) -> None:
    before = listed(environment.oneshot("plugins", "list", "--json", "--all"))
    environment.pip("uninstall", "--yes", NAME)
    try:
        assert not list(environment.site.glob("oneshot_plugin_example*"))
        left = listed(environment.oneshot("plugins", "list", "--json", "--all"))
        assert set(before) - set(left) == {ID}
        assert environment.oneshot("plugins", "doctor") == "problems: 0\n"
        assert list(environment.empty.iterdir()) == []  # nor did any command leave a file
    finally:
        environment.pip("install", "--no-index", "--no-deps", example_wheel)
