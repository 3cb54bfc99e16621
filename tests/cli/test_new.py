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

ROOT = Path(__file__).parent.parent.parent
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


def installed(project: Path) -> Path:
    """Install a package without network, and return where."""
    target = project.parent / "site"
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    python("-m", "pip", "install", *options, "--target", str(target), ".", cwd=project)
    return target


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


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_package_of_one_kind_keeps_all_promises(kind: str, tmp_path: Path) -> None:
    """The kit finds everything that it can try, and the tests and snippets of the package pass."""
    project = generate(tmp_path, kind)
    site = installed(project)
    out = python("-m", "oneshot_core", "plugins", "check", DIST, "--json", cwd=tmp_path, path=site)
    report = json.loads(out)
    assert report["ok"]
    left = [r["message"] for r in report["results"] if r["outcome"] != "passed"]
    assert not [message for message in left if re.search(NOTHING_TO_TRY, message)]
    assert any(r["check"].startswith(kind.replace("_", "-")) for r in report["results"])
    tests = ["tests", "--ignore", "tests/test_conformance.py"]
    python("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, cwd=project, path=site)


@pytest.mark.slow
def test_a_package_of_all_kinds_passes_its_own_tests_and_strict_types(tmp_path: Path) -> None:
    project = generate(tmp_path)
    site = installed(project)
    out = python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project, path=site)
    assert not re.search(NOTHING_TO_TRY, out)
    cache = ROOT / ".mypy_cache" / "generated"  # torch takes half a minute to read
    out = python("-m", "mypy", "--cache-dir", str(cache), cwd=project, path=site)
    assert out.startswith("Success")
