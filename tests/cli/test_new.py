"""``oneshot plugins new``: what it says, and that what it writes works as it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from oneshot_core.cli import main
from oneshot_plugins.scaffold.project import KINDS, MAX_LENGTH

from ..typed import mypy

DIST = "oneshot-plugin-made-here"
NOTHING_TO_TRY = "nothing to try|samples? (are|is) declared|no samples"
"""What a check says that is skipped for want of samples, not since it does not apply."""


def python(*arguments: str, cwd: Path, path: Path | None = None) -> str:
    """Run Python with ``path`` in front of what is installed; return its output."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ONESHOT_")}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def generate(folder: Path, *kinds: str, name: str = "made-here") -> Path:
    """Write a package of some kinds, all without any, and return its folder."""
    options = [f"--kind={kind}" for kind in kinds or KINDS]
    assert main(["plugins", "new", name, *options, "--out", str(folder / "project")]) == 0
    return folder / "project"


def installed(*projects: Path) -> Path:
    """Install packages without network, and return where."""
    folder = projects[0].parent
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    options += ["--target", str(folder / "site")]
    python("-m", "pip", "install", *options, *map(str, projects), cwd=folder)
    return folder / "site"


class TestTheCommand:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def test_it_says_what_was_written_and_what_comes_next(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["plugins", "new", "made-here", "--kind", "cost"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"{DIST}: A cost for oneshot-core"
        assert lines[1] == f"wrote 14 files to {DIST}:"
        written = {str(p.relative_to(DIST)) for p in Path(DIST).rglob("*") if p.is_file()}
        assert {line.strip() for line in lines[2:16]} == written
        assert lines[16:] == [
            "next:",
            f"  cd {DIST}",
            "  pip install -e '.[testing]'",
            f"  oneshot plugins check {DIST}",
        ]

    def test_json_says_the_same(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["--kind", "space", "--kind", "cost", "--out", "a folder", "--json"]
        assert main(["plugins", "new", "made-here", *arguments]) == 0
        written = json.loads(capsys.readouterr().out)
        assert written["schema"] == "oneshot.plugins/1"
        assert written["distribution"] == DIST
        assert written["kinds"] == ["cost", "space"]
        assert Path(written["folder"]) == folder / "a folder"
        assert all((folder / "a folder" / path).is_file() for path in written["files"])
        assert written["next"][0] == "cd 'a folder'"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["Made", "--kind", "cost"], "error: a plugin cannot be named 'Made'.\n"),
            (["made", "--kind", "costs"], "did you mean cost"),
            (["made", "--kind", "cost", "--out", "no/where"], "there is no folder 'no'"),
            (["made"], "--kind"),
        ],
    )
    def test_what_does_not_fit_is_exit_code_2_and_writes_nothing(
        self,
        arguments: list[str],
        message: str,
        folder: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert main(["plugins", "new", *arguments]) == 2
        assert message in capsys.readouterr().err
        assert not list(folder.iterdir())

    def test_a_second_time_it_refuses_to_write_over_the_first(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ["plugins", "new", "made-here", "--kind", "cost"]
        assert main(arguments) == 0
        Path(DIST, "README.md").write_text("changed")
        assert main(arguments) == 2
        assert "is not empty" in capsys.readouterr().err
        assert Path(DIST, "README.md").read_text() == "changed"

    def test_the_help_says_what_it_writes_for_each_kind(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["plugins", "new", "--help"]) == 0
        out = capsys.readouterr().out
        assert "conformance checks" in out
        for kind, (_, about) in KINDS.items():
            assert kind in out
            assert about in out

    def test_it_imports_no_torch(self, folder: Path) -> None:
        code = (
            "import sys; from oneshot_core.cli import main;"
            "assert main(['plugins', 'new', 'x', '--kind', 'strategy', '--kind', 'cost']) == 0;"
            "sys.exit(bool({'torch', 'pytorch_lightning', 'lightning'} & set(sys.modules)))"
        )
        python("-c", code, cwd=folder)


@pytest.mark.parametrize("name", ["x", "a23456789-" * (MAX_LENGTH // 10)])
def test_what_is_written_is_laid_out_as_ruff_would_whatever_its_name(
    name: str, tmp_path: Path
) -> None:
    project = generate(tmp_path, name=name.rstrip("-"))
    python("-m", "ruff", "check", "--no-cache", ".", cwd=project)
    python("-m", "ruff", "format", "--no-cache", "--check", ".", cwd=project)


@pytest.mark.slow
def test_a_new_package_is_installed_listed_checked_and_run(tmp_path: Path) -> None:
    project = generate(tmp_path, "cost", "command")
    site = installed(project)
    oneshot = ["-m", "oneshot_core"]
    listed = json.loads(python(*oneshot, "plugins", "list", "--json", cwd=tmp_path, path=site))
    mine = [c for c in listed["components"] if c["provider"] == DIST]
    assert {c["id"]: c["state"] for c in mine} == {
        "command:made-here-compare": "available",
        "cost:made-here.activations": "available",
    }
    assert not listed["problems"]
    out = python(*oneshot, "plugins", "check", DIST, cwd=tmp_path, path=site)
    assert re.fullmatch(r"\d+ passed\n", out)
    (tmp_path / "a.json").write_text('{"schema": "oneshot.architecture/1", "choices": {"op": 1}}')
    out = python(*oneshot, "made-here-compare", "a.json", cwd=tmp_path, path=site)
    assert out == "label  a.json\nop     1\n"


CHECK = """
import contextlib, io, json, sys
from oneshot_core.cli import main

found = {}
for name in sys.argv[1:]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(["plugins", "check", name, "--json"])
    found[name] = {"code": code, "report": json.loads(out.getvalue())}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write one package for each kind; return their folders, which have one parent."""
    folder = tmp_path_factory.mktemp("packages")
    projects = {kind: folder / kind for kind in KINDS}
    for kind, project in projects.items():
        assert main(["plugins", "new", named(kind), "--kind", kind, "--out", str(project)]) == 0
    return projects


@pytest.fixture(scope="module")
def site(packages: dict[str, Path]) -> Path:
    """Install the packages side by side, and return where."""
    return installed(*packages.values())


def named(kind: str) -> str:
    return "made-" + kind.replace("_", "-")


@pytest.mark.slow
def test_packages_of_one_kind_keep_all_promises(packages: dict[str, Path], site: Path) -> None:
    """The kit finds everything that it can try in each, with what that package has alone.

    One process checks them one after another, as most of the time goes into importing torch.
    """
    names = {f"oneshot-plugin-{named(kind)}": kind for kind in packages}
    found = json.loads(python("-c", CHECK, *names, cwd=site.parent, path=site))
    assert found.keys() == names.keys()
    for name, kind in names.items():
        report = found[name]["report"]
        assert (found[name]["code"], report["ok"]) == (0, True), (name, report)
        left = [r["message"] for r in report["results"] if r["outcome"] != "passed"]
        assert not [message for message in left if re.search(NOTHING_TO_TRY, message)], name
        assert any(r["check"].startswith(kind.replace("_", "-")) for r in report["results"]), name


@pytest.mark.slow
def test_packages_of_one_kind_pass_their_own_tests_and_snippets(
    packages: dict[str, Path], site: Path
) -> None:
    """All in one process; what their conformance tests run, the test before has run."""
    tests = [f"{kind}/tests" for kind in packages]
    for kind in packages:
        tests += ["--ignore", f"{kind}/tests/test_conformance.py"]
    options = ["-v", "-p", "no:cacheprovider", "--import-mode=importlib"]
    options += ["--rootdir", str(site.parent), "-c", str(packages["strategy"] / "pyproject.toml")]
    out = python("-m", "pytest", *options, *tests, cwd=site.parent, path=site)
    assert {kind for kind in packages if f"{kind}/tests/test_docs.py" not in out} == set()


@pytest.mark.slow
def test_a_package_of_all_kinds_passes_its_own_tests_and_strict_types(tmp_path: Path) -> None:
    project = generate(tmp_path)
    site = installed(project)
    out = python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project, path=site)
    assert not re.search(NOTHING_TO_TRY, out)
    done = mypy(project / "src", project / "tests")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.nightly
def test_strict_types_hold_by_the_options_of_the_package_itself(tmp_path: Path) -> None:
    """They are those of this project, but for its cache: torch takes half a minute to read."""
    project = generate(tmp_path)
    site = installed(project)
    out = python("-m", "mypy", cwd=project, path=site)
    assert out.startswith("Success")
