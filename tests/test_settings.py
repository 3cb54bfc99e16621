"""What environment variables and a project's pyproject.toml may say about plugins."""

from __future__ import annotations

import importlib

import pytest

from oneshot_core.discovery.settings import read_settings
from oneshot_core.errors import PluginError, PluginSettingsError


@pytest.fixture
def project(tmp_path):
    """Write a pyproject.toml and return its path."""

    def write(text: str):
        file = tmp_path / "pyproject.toml"
        file.write_text(text)
        return file

    return write


def rules(settings) -> list[tuple[str, tuple[str, ...], bool]]:
    return [(r.source, r.patterns, r.keep) for r in settings.restrictions]


def test_the_table_is_read_from_the_file(project):
    file = project(
        "[tool.oneshot.plugins]\n"
        'deny = ["x"]\nallow = [" y ", "cost:*"]\n'
        'order = ["strategy:b", "strategy:a"]\nrequired = ["y>=1"]\n'
    )
    found = read_settings({}, file)
    assert rules(found) == [
        (f"deny in {file}", ("x",), False),
        (f"allow in {file}", ("y", "cost:*"), True),
    ]
    assert found.order == ("strategy:b", "strategy:a")
    assert (found.required, found.project) == (("y>=1",), str(file))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[tool]\noneshot.plugins.deny = ['x']", id="dotted"),
        pytest.param("[tool]\noneshot = {plugins = {deny = ['x']}}", id="inline"),
        pytest.param("['tool' . 'oneshot' . 'plugins']\ndeny = ['x']", id="quoted"),
    ],
)
def test_every_spelling_that_toml_allows_is_understood(project, text):
    assert read_settings({}, project(text)).restrictions[0].patterns == ("x",)


def test_the_nearest_file_from_the_working_directory_upwards_counts(project, tmp_path, monkeypatch):
    file = project('[tool.oneshot.plugins]\ndeny = ["x"]\n')
    inner = tmp_path / "a/b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert read_settings({}, True).project == str(file)
    assert read_settings({}, False).restrictions == ()
    (tmp_path / "a/pyproject.toml").write_text("[project]\nname = 'a'\n")
    assert read_settings({}, True).restrictions == ()


def test_a_working_directory_that_was_deleted_has_no_project(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert read_settings({}, True).restrictions == ()


@pytest.mark.parametrize(
    ("environ", "allowed"),
    [
        pytest.param({}, ("allow in", ("x",)), id="file"),
        pytest.param({"ONESHOT_PLUGINS": "y"}, ("ONESHOT_PLUGINS", ("y",)), id="variable"),
        pytest.param({"ONESHOT_PLUGINS": ""}, ("ONESHOT_PLUGINS", ()), id="empty-variable"),
        pytest.param({"ONESHOT_PLUGIN_AUTOLOAD": "0"}, ("ONESHOT_PLUGIN_AUTOLOAD", ()), id="off"),
        pytest.param({"ONESHOT_PLUGIN_AUTOLOAD": "1"}, ("allow in", ("x",)), id="on"),
    ],
)
def test_of_what_is_allowed_the_environment_beats_the_file(project, environ, allowed):
    file = project('[tool.oneshot.plugins]\nallow = ["x"]\n')
    (rule,) = read_settings(environ, file).restrictions
    assert rule.source.startswith(allowed[0])
    assert (rule.patterns, rule.keep) == (allowed[1], True)


def test_denials_of_the_environment_and_the_file_both_count(project):
    file = project('[tool.oneshot.plugins]\ndeny = ["x"]\n')
    found = read_settings({"ONESHOT_DISABLE_PLUGINS": "y"}, file)
    assert [rule.patterns for rule in found.restrictions] == [("y",), ("x",)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[tool.oneshot.plugins]\ndenny = []", "did you mean deny", id="key"),
        pytest.param("[tool.oneshot.plugin]\ndeny = []", "did you mean plugins", id="table"),
        pytest.param("[tool.oneshot.plugins]\nload = ['./x.py']", "take it out", id="load"),
        pytest.param("[tool.oneshot]\nplugins = 3", "is 3", id="no-table"),
        pytest.param("[tool.oneshot.plugins]\ndeny = 'x'", "deny = 'x'", id="string"),
        pytest.param("[tool.oneshot.plugins]\ndeny = [1]", r"deny = \[1\]", id="number"),
        pytest.param("[tool.oneshot.plugins]\nallow = ['']", "non-empty", id="empty-name"),
        pytest.param("[tool.oneshot.plugins]\norder = ['x']", "holds 'x'", id="no-id"),
        pytest.param("[tool.oneshot.plugins]\norder = ['cost:*']", "wildcards", id="wildcard"),
        pytest.param("[tool.oneshot.plugins]\nrequired = ['x >> 1']", "holds 'x >> 1'", id="bad"),
        pytest.param("[tool.oneshot.plugins]\nrequired = ['x[a]']", "more than a name", id="extra"),
        pytest.param("[tool.oneshot.plugins]\ndeny = [", "is no TOML", id="no-toml"),
    ],
)
def test_what_cannot_be_followed_is_an_error_that_names_file_and_fix(project, text, message):
    file = project(text)
    with pytest.raises(PluginSettingsError, match=message) as caught:
        read_settings({}, file)
    assert isinstance(caught.value, PluginError)
    for part in (str(file), "expected:", "fix:"):
        assert part in str(caught.value)


def test_a_broken_file_without_the_table_is_not_our_business(project):
    text = "[project.scripts]\noneshot = 'oneshot_core.cli:main'\nbroken ="
    assert read_settings({}, project(text)).restrictions == ()


def test_a_file_that_does_not_exist_is_an_error_if_it_was_named(tmp_path):
    with pytest.raises(PluginSettingsError, match="cannot be read"):
        read_settings({}, tmp_path / "pyproject.toml")


def test_without_a_toml_library_the_table_is_an_error_and_other_files_are_fine(
    project, monkeypatch
):
    """As on Python 3.10 without tomli."""
    imported = importlib.import_module

    def without(name, *rest):
        if name in ("tomllib", "tomli"):
            raise ModuleNotFoundError(name)
        return imported(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    assert read_settings({}, project("dependencies = ['oneshot-core']")).order == ()
    with pytest.raises(PluginSettingsError, match="pip install tomli"):
        read_settings({}, project('[tool.oneshot.plugins]\ndeny = ["x"]\n'))


def test_a_misspelt_variable_is_a_problem_and_a_plugins_own_is_none():
    found = read_settings({"ONESHOT_DISABLE_PLUGIN": "x", "ONESHOT_PLUGIN_X_SEED": "1"}, False)
    (problem,) = found.problems
    assert (problem.subject, problem.state) == ("ONESHOT_DISABLE_PLUGIN", "unknown")
    assert "ONESHOT_DISABLE_PLUGINS" in problem.fix
