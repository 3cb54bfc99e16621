"""What a new plugin package is called, what its files say, and how they are written."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from oneshot_core.errors import PluginError
from oneshot_plugins.scaffold.project import KINDS, MAX_LENGTH, Project, core_bounds
from oneshot_plugins.scaffold.render import render
from oneshot_plugins.scaffold.write import write

ROOT = Path(__file__).parent.parent.parent


def project(*kinds: str, name: str = "drop-path", author: str = "Ada Example") -> Project:
    return Project.read(name, kinds or list(KINDS), author)


class TestNames:
    @pytest.mark.parametrize("name", ["drop-path", "oneshot-plugin-drop-path"])
    def test_the_prefix_may_be_written_or_not(self, name: str) -> None:
        read = project("cost", name=name)
        assert read.distribution == "oneshot-plugin-drop-path"
        assert read.module == "oneshot_plugin_drop_path"

    @pytest.mark.parametrize("name", ["x", "3d", "a1-b2-c3", "a" * MAX_LENGTH])
    def test_words_of_small_letters_and_digits_are_names(self, name: str) -> None:
        assert project("cost", name=name).name == name

    @pytest.mark.parametrize(
        ("name", "fix"),
        [
            ("Drop-Path", "call it drop-path"),
            ("drop_path", "call it drop-path"),
            ("drop.path!", "call it drop-path"),
            ("-drop--path-", "call it drop-path"),
            ("a" * (MAX_LENGTH + 1), "call it aaa"),
            ("../evil", "call it evil"),
            ("", "choose a name"),
            ("oneshot-plugin-", "choose a name"),
            ("é", "choose a name"),
        ],
    )
    def test_what_pip_or_python_would_not_take_is_refused_with_a_better_name(
        self, name: str, fix: str
    ) -> None:
        with pytest.raises(PluginError, match=f"fix: {fix}"):
            project("cost", name=name)


class TestKinds:
    def test_there_is_something_to_write_for_each_kind_that_is_checked(self) -> None:
        from oneshot_core.testing import all_checks

        scopes = {check.scope.replace("-", "_") for check in all_checks()}
        assert set(KINDS) == scopes - {"packaging", "component", "cross", "cross_hook"}

    def test_an_unknown_kind_is_refused_with_those_that_look_like_it(self) -> None:
        with pytest.raises(PluginError, match="did you mean mutation_hook"):
            project("mutation-hook")
        with pytest.raises(PluginError, match="name one of these"):
            project("cost", "zzz")

    def test_their_order_is_that_of_the_list_and_repetitions_do_not_count(self) -> None:
        assert project("cost", "mutation_hook", "cost").kinds == ("mutation_hook", "cost")


@pytest.mark.parametrize(
    ("version", "lowest", "above"),
    [
        ("0.1.0", "0.1", "0.2"),
        ("0.1.3", "0.1.3", "0.2"),
        ("0.9.0.post1", "0.9", "0.10"),
        ("0.2.0.dev4", "0.2.0.dev4", "0.3"),  # >=0.2 would not allow it
        ("1.4.0", "1.4", "2"),
    ],
)
def test_the_core_is_required_from_the_running_version_to_the_next_that_may_break(
    version: str, lowest: str, above: str
) -> None:
    assert core_bounds(version) == (lowest, above)


class TestAuthor:
    @pytest.fixture(autouse=True)
    def git(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Let git know nothing but what a test writes into the file that is returned."""
        config = tmp_path / "gitconfig"
        config.touch()
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
        monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        return config

    def test_git_knows_who_it_is(self, git: Path) -> None:
        git.write_text("[user]\n    name = Grace Example\n", encoding="utf-8")
        files = render(Project.read("x", ["cost"]))
        assert "Copyright (c)" in files["LICENSE"]
        assert "Grace Example" in files["LICENSE"]

    def test_where_git_does_not_know_it_is_the_authors(self) -> None:
        assert Project.read("x", ["cost"]).author == "The authors of oneshot-plugin-x"

    def test_without_git_it_is_the_authors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        assert Project.read("x", ["cost"]).author == "The authors of oneshot-plugin-x"

    @pytest.mark.parametrize("author", ['Ann "Q" \\ Öz', "tab\there", "a\x7fb"])
    def test_any_name_is_written_as_toml(self, author: str) -> None:
        tomllib = pytest.importorskip("tomllib")
        text = render(project("cost", author=author))["pyproject.toml"]
        assert tomllib.loads(text)["project"]["authors"] == [{"name": author}]


class TestFiles:
    def test_nothing_is_left_to_fill_in(self) -> None:
        for path, text in render(project()).items():
            left = re.findall(r"\$[a-z_]+|TODO|FIXME|\byour[-_ ]", text, re.I)
            if path == "README.md" or path == "docs/index.md":
                left = [word for word in left if word != "$ pip"]
            assert not left, f"{path}: {left}"

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_has_code_a_test_and_a_page_of_its_own(self, kind: str) -> None:
        module = "src/oneshot_plugin_drop_path"
        files = render(project(kind))
        common = {"__init__.py", "plugin.py", "samples.py", "py.typed"}
        assert {f"{module}/__init__.py", f"{module}/plugin.py", f"{module}/py.typed"} <= set(files)
        code = [p for p in files if p.startswith(module) and p.split("/")[-1] not in common]
        tests = [p for p in files if p.startswith("tests/")]
        assert code
        assert len(tests) == 3, "one beside those of the kit and of the documentation"
        assert "```python" in files["docs/index.md"]
        assert {"pyproject.toml", "LICENSE", ".gitignore", ".github/workflows/ci.yml"} <= set(files)

    def test_the_workflow_checks_with_the_lowest_core_and_with_the_latest(self) -> None:
        yaml = pytest.importorskip("yaml")
        files = render(project("cost"))
        job = yaml.safe_load(files[".github/workflows/ci.yml"])["jobs"]["test"]
        lowest, above = core_bounds()
        assert job["strategy"]["matrix"]["core"] == [f"oneshot-core=={lowest}", "oneshot-core"]
        assert f'"oneshot-core>={lowest},<{above}"' in files["pyproject.toml"]
        commands = [step["run"] for step in job["steps"] if "run" in step]
        assert commands == [
            'pip install "${{ matrix.core }}" -e ".[dev]"',
            "ruff check .",
            "ruff format --check .",
            "mypy",
            "oneshot plugins check oneshot-plugin-drop-path",
            "pytest",
        ]

    def test_the_readme_lists_each_component_and_each_file_of_code(self) -> None:
        files = render(project())
        assert "| `strategy:drop-path.fair` | one path for each batch" in files["README.md"]
        for path in files:
            if path.endswith(".py"):
                assert f"| `{path}` | " in files["README.md"]

    def test_the_distribution_of_the_core_holds_all_templates(self, tmp_path: Path) -> None:
        """Built as a release is; what a package manager installs must not lack any."""
        build = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
        with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
            packed = set(wheel.namelist())
        with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as sdist:
            source = {name.partition("/")[2] for name in sdist.getnames()}
        templates = list((ROOT / "oneshot_plugins/scaffold/templates").rglob("*.tmpl"))
        assert len(templates) > 30
        for template in templates:
            path = template.relative_to(ROOT).as_posix()
            assert path in packed
            assert path in source


class TestWriting:
    FILES = {"a.txt": "ä\n", "b/c/d.txt": "1\r\n2\n"}  # noqa: RUF012

    def test_files_are_written_as_they_are(self, tmp_path: Path) -> None:
        folder = write(self.FILES, tmp_path / "new")
        assert folder == tmp_path / "new"
        assert (folder / "a.txt").read_bytes() == "ä\n".encode()
        assert (folder / "b/c/d.txt").read_bytes() == b"1\r\n2\n"
        assert [child.name for child in tmp_path.iterdir()] == ["new"]
        (tmp_path / "other").mkdir()
        assert folder.stat().st_mode == (tmp_path / "other").stat().st_mode

    def test_an_empty_folder_is_filled(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        monkeypatch.chdir(empty)
        assert write(self.FILES, Path()) == empty
        assert Path("b/c/d.txt").is_file(), "who stands in it stands in it still"
        assert [child.name for child in tmp_path.iterdir()] == ["empty"]

    @pytest.mark.parametrize(
        ("out", "message"),
        [
            ("full", "not empty: it holds kept.txt"),
            ("file", "no folder"),
            ("no/where", "no folder"),
        ],
    )
    def test_another_place_is_refused_and_left_as_it_is(
        self, out: str, message: str, tmp_path: Path
    ) -> None:
        (tmp_path / "full").mkdir()
        (tmp_path / "full/kept.txt").write_text("mine")
        (tmp_path / "file").touch()
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(PluginError, match=message):
            write(self.FILES, tmp_path / out)
        assert sorted(tmp_path.rglob("*")) == before

    @pytest.mark.parametrize("exists", [True, False])
    def test_what_fails_half_way_leaves_nothing(self, exists: bool, tmp_path: Path) -> None:
        if exists:
            (tmp_path / "new").mkdir()
        with pytest.raises(UnicodeEncodeError):
            write({**self.FILES, "z.txt": "\udc80"}, tmp_path / "new")
        assert [p.name for p in tmp_path.rglob("*")] == (["new"] if exists else [])
