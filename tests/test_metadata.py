"""What one pass over the installed packages finds, however broken some of them are."""

from __future__ import annotations

import sys

import pytest

from oneshot_core.discovery.metadata import EntryPoint, Problem, Scan, normalise, scan

GROUP = "oneshot_core"


def names(found: Scan) -> list[str]:
    return [d.name for d in found.distributions if d.name.startswith("oneshot-plugin-")]


def about(found: Scan, text: str) -> list[Problem]:
    return [p for p in found.problems if text in p.subject or text in p.reason]


def test_a_distribution_is_read_with_version_requirements_and_entry_points(fake_dist):
    fake_dist(
        "Oneshot_Plugin.X",
        "0.4.1",
        entry_points={"b": "pkg.b", "a": "pkg.a"},
        requires=["oneshot-core<2", "torch"],
    )
    (found,) = [d for d in scan(GROUP).distributions if d.name == "oneshot-plugin-x"]
    assert found.version == "0.4.1"
    assert found.requires == ("oneshot-core<2", "torch")
    assert found.entry_points == (EntryPoint("a", "pkg.a"), EntryPoint("b", "pkg.b"))


def test_the_installed_project_is_found_like_any_other():
    assert "oneshot-core" in [d.name for d in scan(GROUP).distributions]


def test_entry_points_of_other_groups_are_left_alone(fake_dist):
    fake_dist("oneshot-plugin-x", entry_points="[oneshot_core_other]\nx = pkg\n")
    (found,) = [d for d in scan(GROUP).distributions if d.name == "oneshot-plugin-x"] or [None]
    assert found is None or found.entry_points == ()


def test_spellings_of_one_name_are_one_name():
    assert normalise(" Oneshot_Plugin..X") == "oneshot-plugin-x"


@pytest.mark.parametrize(
    "entry_points",
    [
        pytest.param("[console_scripts]\nthis is no entry point\n", id="malformed-line"),
        pytest.param(b"[console_scripts]\nx = \xff\xfe\n", id="bad-utf8"),
        pytest.param("no section = at all\n", id="no-section"),
        pytest.param("[console_scripts]\nx = not valid!!\n", id="invalid-value"),
    ],
)
def test_malformed_entry_points_of_an_unrelated_package_hurt_nobody(fake_dist, entry_points):
    fake_dist("oneshot-plugin-x", entry_points={"x": "pkg.x"})
    fake_dist("unrelated", entry_points=entry_points)
    assert names(scan(GROUP)) == ["oneshot-plugin-x"]


def test_metadata_that_is_no_text_is_reported_and_hurts_nobody(fake_dist):
    fake_dist("oneshot-plugin-x", entry_points={"x": "pkg.x"})
    folder = fake_dist("unrelated")
    (folder / "unrelated-1.0.dist-info" / "METADATA").write_bytes(b"Name: \xff\xfe\n")
    found = scan(GROUP)
    assert names(found) == ["oneshot-plugin-x"]
    (problem,) = about(found, "unrelated-1.0.dist-info")
    assert problem.state == "failed"
    assert "UnicodeDecodeError" in problem.reason


def test_a_malformed_line_in_our_group_costs_only_that_line(fake_dist):
    fake_dist(
        "oneshot-plugin-x", entry_points="[oneshot_core]\n# note\nnonsense\nx = pkg.x\nx = pkg.y\n"
    )
    found = scan(GROUP)
    (distribution,) = [d for d in found.distributions if d.name == "oneshot-plugin-x"]
    assert distribution.entry_points == (EntryPoint("x", "pkg.x"),)
    reasons = [problem.reason for problem in about(found, "oneshot-plugin-x")]
    assert len(reasons) == 2
    assert any("'nonsense'" in reason for reason in reasons)
    assert any("two entry points named 'x'" in reason for reason in reasons)


def test_an_empty_leftover_folder_is_reported_and_does_not_hide_the_real_one(fake_dist):
    fake_dist("oneshot-plugin-x", "2.0", entry_points={"x": "pkg.x"})
    fake_dist("oneshot-plugin-x", "1.0", metadata="")
    found = scan(GROUP)
    (distribution,) = [d for d in found.distributions if d.name == "oneshot-plugin-x"]
    assert distribution.version == "2.0"
    (problem,) = about(found, "oneshot_plugin_x-1.0.dist-info")
    assert problem.state == "stale"
    assert "delete" in problem.fix


def test_of_two_copies_the_first_on_the_path_wins_and_the_other_is_reported(fake_dist):
    fake_dist("oneshot-plugin-x", "2.0", entry_points={"old": "pkg.old"})
    fake_dist("Oneshot.Plugin.X", "1.0", entry_points={"new": "pkg.new"})
    found = scan(GROUP)
    (distribution,) = [d for d in found.distributions if d.name == "oneshot-plugin-x"]
    assert distribution.version == "1.0"
    assert distribution.entry_points == (EntryPoint("new", "pkg.new"),)
    (problem,) = [p for p in found.problems if p.state == "shadowed"]
    assert "oneshot_plugin_x-2.0.dist-info" in problem.subject


def test_a_copy_without_entry_points_still_comes_first(fake_dist):
    fake_dist("oneshot-plugin-x", "2.0", entry_points={"x": "pkg.x"})
    fake_dist("oneshot-plugin-x", "1.0")
    found = scan(GROUP)
    assert names(found) == []
    assert [p.state for p in about(found, "oneshot-plugin-x")] == ["shadowed"]


@pytest.mark.parametrize("versions", [["1.9", "1.10"], ["1.10", "1.9"], ["1.10", "nonsense"]])
def test_of_two_copies_in_one_folder_the_newest_wins(fake_dist, versions):
    """Which one the file system lists first has no influence."""
    first, second = versions
    folder = fake_dist("oneshot-plugin-x", first, entry_points={"x": "pkg.x"})
    fake_dist("oneshot-plugin-x", second, entry_points={"x": "pkg.x"}, folder=folder)
    (found,) = [d for d in scan(GROUP).distributions if d.name == "oneshot-plugin-x"]
    assert found.version == "1.10"


def test_a_folder_that_is_twice_on_the_path_is_no_copy(fake_dist, monkeypatch):
    folder = fake_dist("oneshot-plugin-x", entry_points={"x": "pkg.x"})
    monkeypatch.syspath_prepend(folder / ".." / folder.name)
    found = scan(GROUP)
    assert names(found) == ["oneshot-plugin-x"]
    assert about(found, "oneshot-plugin-x") == []


def test_two_copies_of_an_unrelated_package_are_none_of_our_business(fake_dist):
    fake_dist("unrelated", "1.0")
    fake_dist("unrelated", "2.0")
    assert about(scan(GROUP), "unrelated") == []


def test_a_finder_that_raises_is_reported(fake_dist, monkeypatch):
    class Broken:
        @staticmethod
        def find_spec(*_):
            return None

        @staticmethod
        def find_distributions(context):
            raise RuntimeError("out of order")

    fake_dist("oneshot-plugin-x", entry_points={"x": "pkg.x"})
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Broken()])
    found = scan(GROUP)
    assert names(found) == ["oneshot-plugin-x"]
    assert [p.subject for p in found.problems if "out of order" in p.reason] == ["sys.meta_path"]
