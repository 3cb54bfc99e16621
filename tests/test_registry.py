"""What the registry promises about plugins, above all about those that are broken."""

from __future__ import annotations

import collections
import json
import os
import pickle
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from oneshot_core import Component, Registry
from oneshot_core.discovery.records import REGISTERED
from oneshot_core.discovery.registry import default_registry
from oneshot_core.errors import (
    DuplicateComponentError,
    PluginError,
    PluginLoadError,
    PluginSettingsError,
    UnknownComponentError,
)

from .typed import mypy

X = "oneshot-plugin-x"
Y = "oneshot-plugin-y"


def manifest(*components: str, more: str = "") -> str:
    """Return the source of a manifest that offers components, written as source."""
    return (
        "from oneshot_core.hookspecs import Component, hookimpl\n"
        f"{more}\n"
        "@hookimpl\n"
        "def oneshot_components():\n"
        f"    return [{', '.join(components)}]\n"
    )


def component(name: str, target: str = "collections:OrderedDict", **more: object) -> str:
    kind = more.pop("kind", "strategy")
    fields = "".join(f", {key}={value!r}" for key, value in more.items())
    return f"Component({kind!r}, {name!r}, {target!r}{fields})"


@pytest.fixture
def plugin(fake_dist):
    """Install a distribution with one manifest of the given source."""

    def install(name: str, source: str, version: str = "1.0", **more: object):
        module = "first_party" if name == "oneshot-core" else name.replace("-", "_")
        modules = {f"{module}.py": source, **more.pop("modules", {})}
        return fake_dist(name, version, entry_points={"main": module}, modules=modules, **more)

    return install


def registry(**environ: str) -> Registry:
    return Registry(environ=environ)


def states(found: Registry, provider: str = "oneshot-plugin-*") -> dict[str, str]:
    return {record.id: record.state for record in found.find(provider=provider)}


class TestQueries:
    def test_components_of_the_installed_project_come_in_by_the_common_door(self):
        found = registry()
        record = found["supernet:layer-choice"]
        assert (record.provider, record.plugin) == ("oneshot-core", "supernets")
        assert {"layer-choice", "input-choice", "repeat"} <= set(found.names("supernet"))
        assert "supernet" in found.kinds()

    def test_a_record_says_whose_the_component_is(self, plugin):
        plugin(X, manifest(component("x.a", summary="first", priority=3)), version="0.4.1")
        record = registry().get("strategy", "x.a")
        assert record.id == "strategy:x.a"
        assert (record.provider, record.version, record.plugin) == (X, "0.4.1", "main")
        assert (record.state, record.usable) == ("available", True)
        assert record.component.priority == 3
        assert pickle.loads(pickle.dumps(record)) == record

    def test_asking_imports_no_target(self, plugin):
        plugin(X, manifest(component("x.a", "x_target:A")), modules={"x_target.py": "A = 1"})
        found = registry()
        found.find(), found.ordered(), found.problems(), found.fingerprint(), found.snapshot()
        assert "x_target" not in sys.modules
        assert found.load("strategy:x.a") == 1
        assert "x_target" in sys.modules

    def test_it_reads_like_a_mapping_of_ids(self, plugin):
        plugin(X, manifest(component("x.b"), component("x.a")))
        found = registry(ONESHOT_DISABLE_PLUGINS="oneshot-core")
        assert [id for id in found if id.startswith("strategy:")] == [
            "strategy:x.b",
            "strategy:x.a",
        ]
        assert len(found) == len(list(found))
        assert "strategy:x.a" in found
        assert "strategy:x.c" not in found
        assert found["strategy:x.a"] == found.get("strategy", "x.a")

    def test_names_and_kinds_hold_what_is_usable(self, plugin):
        plugin(X, manifest(component("x.a", kind="mine"), component("x.b", kind="mine")))
        found = registry(ONESHOT_DISABLE_PLUGINS="mine:x.a")
        assert found.names("mine") == ["x.b"]
        assert "mine" in found.kinds()
        found.disable("mine:x.b")
        assert "mine" not in found.kinds()

    def test_find_narrows_by_every_criterion(self, plugin):
        plugin(X, manifest(component("x.a"), component("x.b", kind="cost")))
        plugin(Y, manifest(component("y.a")))
        found = registry(ONESHOT_DISABLE_PLUGINS=Y)
        assert [r.id for r in found.find("strategy", provider=X)] == ["strategy:x.a"]
        assert [r.id for r in found.find(provider="Oneshot_Plugin_X", kind="cost")] == ["cost:x.b"]
        assert [r.provider for r in found.find(state="disabled")] == [Y]

    def test_find_by_what_is_handled_takes_a_string_or_a_class(self, plugin):
        handles = ("collections:OrderedDict", "never.imported:Thing")
        plugin(X, manifest(component("x.a", handles=handles)))

        class Special(collections.OrderedDict):
            pass

        found = registry()
        for wanted in ("never.imported:Thing", collections.OrderedDict, Special):
            assert [r.name for r in found.find(handles=wanted)] == ["x.a"]
        for wanted in ("never.imported:Other", dict):
            assert found.find(handles=wanted) == []

    def test_the_order_of_use_is_priority_then_first_party_then_names(self, plugin):
        plugin(Y, manifest(component("b", kind="k"), component("a", kind="k")))
        plugin(X, manifest(component("z", kind="k"), component("late", kind="k", priority=-1)))
        plugin("oneshot-core", manifest(component("core", kind="k")))
        plugin("oneshot-plugin-z", manifest(component("first", kind="k", priority=7)))
        found = registry()
        order = [(r.provider, r.name) for r in found.ordered("k")]
        assert order == [
            ("oneshot-plugin-z", "first"),
            ("oneshot-core", "core"),
            (X, "z"),
            (Y, "a"),
            (Y, "b"),
            (X, "late"),
        ]
        lines = found.explain_order("k").splitlines()
        assert lines[0].split() == ["1", "+7", "oneshot-plugin-z", "k:first"]
        assert len(lines) == 6

    def test_the_order_of_mutation_hooks_is_told_from_the_users_to_the_core(self, plugin):
        hooks = component("x.h", kind="mutation_hook", priority=50), component("x.s")
        plugin(X, manifest(*hooks))
        for kind in ("mutation_hook", "supernet"):
            text = registry().explain_order(kind)
            told = [line.split()[0] for line in text.splitlines()[1:] if not line.startswith(" ")]
            assert [*told[:2], *told[-2:]] == ["user", "strategy", "strategy", "core"]
            assert set(told[2:-2]) == {"plugin"}
            assert text.index("mutation_hooks=[...]") < text.index("mutation_hook:x.h")
            assert text.index("mutation_hook:x.h") < text.index("supernet:repeat")
            assert text.index("supernet:repeat") < text.index("no_default_hook")
            assert "cannot" in text.partition("no_default_hook")[2]
            assert "strategy:x.s" not in text
        everything = registry().explain_order()
        assert everything.startswith(text)
        assert "strategy:x.s" in everything

    def test_the_projects_order_comes_before_priorities(self, plugin, tmp_path):
        names = component("a"), component("b", priority=9), component("c"), component("d")
        plugin(X, manifest(*names))
        file = tmp_path / "pyproject.toml"
        file.write_text('[tool.oneshot.plugins]\norder = ["strategy:d", "strategy:a"]\n')
        found = Registry(environ={"ONESHOT_PLUGINS": X}, project=file)
        plain = registry(ONESHOT_PLUGINS=X)
        order = [r.name for r in found.ordered("strategy") if r.provider == X]
        assert order == ["d", "a", "b", "c"]
        first, *_ = found.explain_order("strategy").splitlines()
        assert first.endswith(f"strategy:d  (order in {file})")
        assert found.fingerprint() != plain.fingerprint()

    def test_a_snapshot_is_frozen_and_serialises(self, plugin):
        plugin(X, manifest(component("x.a")))
        found = registry()
        snapshot = found.snapshot()
        found.load("strategy:x.a")
        data = json.loads(snapshot.to_json())
        assert data["schema"] == "oneshot.registry/1"
        assert data["fingerprint"] == found.fingerprint()
        (row,) = [row for row in data["components"] if row["id"] == "strategy:x.a"]
        assert (row["state"], row["provider"], row["handles"]) == ("available", X, [])

    def test_notebooks_get_a_table_in_which_nothing_is_markup(self, plugin):
        plugin(X, manifest(component("x.a", summary="<b>bold</b>")))
        table = registry()._repr_html_()
        assert ">strategy:x.a</td>" in table
        assert "&lt;b&gt;" in table
        assert "reason" not in table  # nothing has one

    def test_the_default_registry_is_one_object(self):
        assert default_registry() is default_registry()

    def test_without_entry_points_it_is_empty(self):
        found = Registry(entry_points=False)
        assert (list(found), found.problems(), found.kinds()) == ([], [], [])


class TestFingerprint:
    def test_it_is_equal_for_equal_plugins_whatever_is_loaded(self, plugin):
        plugin(X, manifest(component("x.a")))
        first, second = registry(), registry()
        first.load("strategy:x.a")
        assert first.fingerprint() == second.fingerprint()
        assert first.fingerprint().startswith("oneshot1:")

    def test_it_changes_with_the_version_and_with_what_is_switched_off(self, plugin):
        plugin(X, manifest(component("x.a")))
        found = registry()
        before = found.fingerprint()
        with found.disable("strategy:x.a"):
            assert found.fingerprint() != before
        assert found.fingerprint() == before
        plugin(X, manifest(component("x.a")), version="1.1")
        assert registry().fingerprint() != before

    def test_commands_do_not_count(self, plugin):
        plugin(X, manifest(component("x.a", kind="command")))
        found = registry()
        before = found.fingerprint()
        with found.disable("command:x.a"):
            assert found.fingerprint() == before

    def test_plugins_that_only_listen_count(self, plugin):
        before = registry().fingerprint()
        plugin(X, manifest())
        assert registry().fingerprint() != before


class TestBrokenPlugins:
    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            pytest.param("import no_such_module", "No module named 'no_such_module'", id="import"),
            pytest.param("raise SystemExit(3)", "SystemExit: 3", id="system-exit"),
            pytest.param("import sys\nsys.exit()", "SystemExit", id="sys-exit"),
            pytest.param(
                "class Panic(BaseException): pass\nraise Panic('core dumped')",
                "Panic: core dumped",
                id="no-exception-class",
            ),
            pytest.param("def broken(:", "SyntaxError", id="syntax"),
            pytest.param("1 / 0", "ZeroDivisionError", id="raises"),
            pytest.param("x = 1", "no function marked with @hookimpl", id="no-hookimpl"),
            pytest.param(manifest("1"), "offers 1, no Component", id="wrong-type"),
            pytest.param(
                manifest("Component('manifest', 'a', 'b:c')"), "no Component", id="reserved-kind"
            ),
            pytest.param(manifest("Component('k', 'n', 'bad')"), "target='bad'", id="bad-target"),
            pytest.param(
                "from oneshot_core.hookspecs import Component, hookimpl\n"
                "@hookimpl\n"
                "def oneshot_components():\n"
                "    return Component('k', 'n', 'm:O')\n",
                "expected a list",
                id="no-list",
            ),
            pytest.param(
                manifest(more="@hookimpl\ndef oneshot_module_replaced(path, no_such_argument): 0"),
                "no_such_argument",
                id="wrong-arguments",
            ),
            pytest.param(
                manifest(more="from oneshot_core import Registry"),
                None,
                id="lazy-names-are-fine",
            ),
        ],
    )
    def test_a_broken_manifest_hurts_only_its_distribution(self, plugin, source, reason):
        plugin(X, source)
        plugin(Y, manifest(component("y.a")))
        found = registry()
        assert found.load("strategy:y.a") is collections.OrderedDict
        if reason is None:
            assert found.find(provider=X) == []
            return
        (record,) = found.find(provider=X)
        assert (record.id, record.state) == (f"manifest:{X}.main", "failed")
        assert reason in record.reason
        (problem,) = [p for p in found.problems() if p.subject == record.id]
        assert f"ONESHOT_DISABLE_PLUGINS={record.id}" in problem.fix
        with pytest.raises(PluginLoadError, match="cannot be loaded"):
            found.load(record.id)

    def test_an_interrupt_while_reading_manifests_is_no_plugin_failure(self, plugin):
        plugin(X, "raise KeyboardInterrupt")
        with pytest.raises(KeyboardInterrupt):
            registry().find()

    def test_a_module_that_does_not_exist_is_stale_metadata(self, fake_dist):
        fake_dist(X, entry_points={"main": "oneshot_plugin_x.gone"})
        (record,) = registry().find(provider=X)
        assert record.state == "stale"
        assert "oneshot_plugin_x.gone" in record.reason
        assert "pip uninstall" in record.fix

    @pytest.mark.parametrize("value", ["not valid!!", "pkg.mod:Object", "pkg.mod [extra]", "-"])
    def test_an_entry_point_that_names_no_module_is_a_problem(self, fake_dist, value):
        fake_dist(X, entry_points={"main": value})
        found = registry()
        assert found.find(provider=X) == []
        (problem,) = [p for p in found.problems() if p.subject == X]
        assert repr(value) in problem.reason

    def test_a_hook_that_does_not_exist_is_a_problem_and_the_rest_works(self, plugin):
        more = "@hookimpl\ndef oneshot_after_mutatoin(model): 0"
        plugin(X, manifest(component("x.a"), more=more))
        found = registry()
        assert found.load("strategy:x.a")
        (problem,) = [p for p in found.problems() if X in p.subject]
        assert "oneshot_after_mutatoin" in problem.reason
        assert "oneshot_after_mutation" in problem.fix

    def test_a_misspelt_hook_raises_in_strict_mode(self, plugin):
        plugin(X, manifest(more="@hookimpl\ndef oneshot_after_mutatoin(model): 0"))
        environ = {"ONESHOT_STRICT_PLUGINS": "1", "ONESHOT_DISABLE_PLUGINS": "oneshot-core"}
        with pytest.raises(PluginLoadError, match="did you mean oneshot_after_mutation"):
            Registry(environ=environ).names("strategy")

    def test_a_kind_that_is_nearly_one_of_ours_is_a_problem_and_others_are_not(self, plugin):
        plugin(X, manifest(component("x.a", kind="stratgy"), component("x.b", kind="dataset")))
        (problem,) = [p for p in registry().problems() if X in p.reason]
        assert problem.subject == "stratgy:x.a"
        assert "did you mean 'strategy'" in problem.fix

    def test_what_a_manifest_offers_lazily_is_not_touched(self, plugin):
        """pluggy 1.6 asks a module for each of its names, which would import it all."""
        more = """
def __dir__(): return ["heavy", "oneshot_components"]
def __getattr__(name): raise SystemExit(f"asked for {name}")
"""
        plugin(X, manifest(component("x.a"), more=more))
        found = registry()
        assert states(found) == {"strategy:x.a": "available"}
        assert found.hook.oneshot_report_header() == []

    def test_manifests_that_are_equal_objects_are_two_plugins(self, plugin):
        """pluggy tells plugins apart by ==, and takes the second for the first."""
        source = """
            import sys
            from dataclasses import dataclass
            from oneshot_core.hookspecs import Component, hookimpl

            @dataclass
            class Manifest:
                level: int = 1
                def __eq__(self, other): return True
                @hookimpl
                def oneshot_components(self): return [Component("strategy", NAME, "m:A")]
                @hookimpl
                def oneshot_report_header(self): return NAME

            NAME = __name__[-1]
            Manifest.__file__ = __file__
            sys.modules[__name__] = Manifest()
        """
        plugin(X, source)
        plugin(Y, source)
        found = registry()
        assert states(found) == {"strategy:x": "available", "strategy:y": "available"}
        assert found.hook.oneshot_report_header() == ["x", "y"]

    def test_a_hook_for_other_versions_may_be_marked_optional(self, plugin):
        more = "@hookimpl(optionalhook=True)\ndef oneshot_of_the_future(model): 0"
        plugin(X, manifest(component("x.a"), more=more))
        assert [p for p in registry().problems() if X in p.subject] == []

    @pytest.mark.parametrize(
        ("source", "cause", "reason"),
        [
            pytest.param("import no_such", ModuleNotFoundError, "x_target.py:1", id="import"),
            pytest.param("raise SystemExit", SystemExit, "x_target.py:1", id="system-exit"),
            pytest.param(
                "class P(BaseException): pass\nraise P", BaseException, "x_target.py:2", id="panic"
            ),
            pytest.param("B = 1", AttributeError, "no attribute 'A'", id="no-such-object"),
        ],
    )
    def test_a_broken_target_hurts_only_itself(self, plugin, source, cause, reason):
        """Asked for by name it raises, chained, with provider, place and way out."""
        components = component("x.a", "x_target:A"), component("x.b")
        plugin(X, manifest(*components), "0.4.1", modules={"x_target.py": source})
        found = registry()
        assert found.get("strategy:x.a").state == "available"
        with pytest.raises(PluginLoadError) as caught:
            found.load("strategy:x.a")
        assert isinstance(caught.value.__cause__, cause)
        message = str(caught.value)
        for part in (
            f"strategy:x.a of {X} 0.4.1",
            reason,
            "expected: x_target:A",
            "fix:",
            "ONESHOT_DISABLE_PLUGINS=strategy:x.a",
        ):
            assert part in message
        assert found.get("strategy:x.a").state == "failed"
        assert "strategy:x.a" in [p.subject for p in found.problems()]
        assert found.load("strategy", "x.b") is collections.OrderedDict

    def test_the_place_named_is_the_plugins_last_frame(self, plugin):
        modules = {
            "x_pkg/__init__.py": "",
            "x_pkg/inner.py": "import json\n\njson.loads('{')\n",
            "x_pkg/outer.py": "from x_pkg import inner\n",
        }
        plugin(X, manifest(component("x.a", "x_pkg.outer:A")), modules=modules)
        with pytest.raises(PluginLoadError, match=r"JSONDecodeError.*inner\.py:3\)"):
            registry().load("strategy:x.a")

    def test_a_failed_component_is_tried_again_when_asked_again(self, plugin):
        target = {"x_target.py": "import x_needs\nA = x_needs.A"}
        folder = plugin(X, manifest(component("x.a", "x_target:A")), modules=target)
        found = registry()
        with pytest.raises(PluginLoadError):
            found.load("strategy:x.a")
        (folder / "x_needs.py").write_text("A = 1")
        found.refresh()
        assert found.load("strategy:x.a") == 1
        assert found.get("strategy:x.a").state == "loaded"

    def test_a_target_that_loads_itself_is_a_clear_error(self, plugin):
        source = (
            "from oneshot_core.discovery.registry import default_registry\n"
            "default_registry().load('strategy:x.a')\nA = 1\n"
        )
        plugin(X, manifest(component("x.a", "x_target:A")), modules={"x_target.py": source})
        found = default_registry()
        found.refresh()
        try:
            with pytest.raises(PluginLoadError, match="circular import"):
                found.load("strategy:x.a")
        finally:
            found.refresh()

    def test_a_manifest_that_asks_the_registry_is_a_clear_error(self, plugin):
        more = "from oneshot_core.discovery import default_registry\ndefault_registry().find()"
        plugin(X, manifest(component("x.a"), more=more))
        found = default_registry()
        found.refresh()
        try:
            (record,) = found.find(provider=X)
            assert "asked the registry that is just reading it" in record.reason
        finally:
            found.refresh()

    @pytest.mark.parametrize(
        ("requirement", "state"),
        [
            pytest.param("oneshot-core<0.0.1", "incompatible", id="too-new-for-it"),
            pytest.param("Oneshot_Core>=999", "incompatible", id="too-old-for-it"),
            pytest.param("oneshot-core>=0.0.1", "available", id="fits"),
            pytest.param("oneshot-core", "available", id="any"),
            pytest.param('oneshot-core<0.0.1; extra == "dev"', "available", id="other-extra"),
            pytest.param("oneshot-core ~~ nonsense", "available", id="malformed"),
            pytest.param("oneshot-corelike<0.0.1", "available", id="other-package"),
        ],
    )
    def test_a_plugin_for_another_core_is_not_imported(self, plugin, requirement, state):
        plugin(X, manifest(component("x.a")), requires=[requirement])
        found = registry()
        (record,) = found.find(provider=X)
        assert record.state == state
        assert ("oneshot_plugin_x" in sys.modules) == (state == "available")
        if state == "incompatible":
            assert "it needs oneshot-core" in record.reason
            with pytest.raises(UnknownComponentError, match=r"not read: .*\(incompatible\)"):
                found.load("strategy:x.a")

    def test_metadata_problems_are_shown_but_are_nobodys_failure(self, plugin, fake_dist):
        plugin(X, manifest(component("x.a")))
        fake_dist("leftover", metadata="")
        found = registry(ONESHOT_STRICT_PLUGINS="1", ONESHOT_DISABLE_PLUGINS="oneshot-core")
        assert found.load("strategy:x.a")
        assert any("leftover" in problem.subject for problem in found.problems())


class TestConflicts:
    def test_the_first_provider_keeps_the_name_and_the_other_is_shadowed(self, plugin):
        plugin(Y, manifest(component("same", "collections:Counter", priority=9)))
        plugin(X, manifest(component("same")))
        found = registry()
        first, second = found.find("strategy", provider="oneshot-plugin-*")
        assert (first.provider, first.state) == (X, "available")
        assert (second.provider, second.state) == (Y, "shadowed")
        assert X in second.reason
        assert found.load("strategy:same") is collections.OrderedDict
        assert [r.provider for r in found.ordered("strategy") if r.name == "same"] == [X]
        (problem,) = [p for p in found.problems() if p.subject == "strategy:same"]
        assert f"ONESHOT_DISABLE_PLUGINS=strategy:same@{X}" in problem.fix

    def test_the_fix_that_is_named_works(self, plugin):
        plugin(Y, manifest(component("same", "collections:Counter")))
        plugin(X, manifest(component("same")))
        found = registry(ONESHOT_DISABLE_PLUGINS=f"strategy:same@{X}")
        assert found.load("strategy:same") is collections.Counter
        assert [p for p in found.problems() if p.subject == "strategy:same"] == []

    def test_a_third_party_does_not_take_a_first_party_name(self, plugin):
        plugin(X, manifest(component("repeat", kind="supernet", priority=100)))
        found = registry()
        assert found["supernet:repeat"].provider == "oneshot-core"
        assert states(found) == {"supernet:repeat": "shadowed"}

    def test_a_failure_does_not_hand_the_name_to_somebody_else(self, plugin):
        plugin(X, manifest(component("same", "no_such:A")))
        plugin(Y, manifest(component("same")))
        found = registry()
        for _ in range(2):
            with pytest.raises(PluginLoadError, match=X):
                found.load("strategy:same")

    def test_two_of_one_name_in_one_distribution_are_a_conflict_too(self, plugin):
        plugin(X, manifest(component("same"), component("same", "collections:Counter")))
        found = registry()
        assert [r.state for r in found.find(provider=X)] == ["available", "shadowed"]
        assert found.find(provider=X)[1].fix == f"give one of the two in {X} another name"

    def test_the_same_entry_point_name_in_two_distributions_is_no_conflict(self, plugin):
        plugin(X, manifest(component("x.a")))
        plugin(Y, manifest(component("y.a")))
        assert states(registry()) == {"strategy:x.a": "available", "strategy:y.a": "available"}

    def test_two_distributions_with_the_same_entry_point_keep_their_own_names(
        self, plugin, fake_dist
    ):
        """importlib's entry points are equal then, and a set of them forgets one provider."""
        header = "@hookimpl\ndef oneshot_report_header(): return 'once'"
        plugin(X, manifest(component("same"), more=header))
        fake_dist(Y, entry_points={"main": "oneshot_plugin_x"})
        found = registry()
        assert [(r.provider, r.state) for r in found.find(provider="oneshot-plugin-*")] == [
            (X, "available"),
            (Y, "shadowed"),
        ]
        assert found.hook.oneshot_report_header() == ["once"]
        with found.disable(X):
            assert found["strategy:same"].provider == Y
            assert found.hook.oneshot_report_header() == ["once"]

    def test_of_two_copies_of_a_distribution_only_the_first_is_read(self, plugin):
        plugin(X, manifest(component("old")), version="2.0")
        plugin(X, manifest(component("new")), version="1.0")
        found = registry()
        assert states(found) == {"strategy:new": "available"}
        assert [p.state for p in found.problems() if X in p.reason] == ["shadowed"]


class TestUnknownNames:
    @pytest.mark.parametrize(
        "wanted", [("strategy:x.dart",), ("strategy", "x.dart"), ("strategie:x.darts",)]
    )
    def test_close_matches_are_named(self, plugin, wanted):
        plugin(X, manifest(component("x.darts"), component("x.gdas")))
        with pytest.raises(UnknownComponentError) as caught:
            registry().load(*wanted)
        assert "did you mean strategy:x.darts" in str(caught.value)
        assert "x.gdas" in str(caught.value)

    def test_a_name_without_its_kind_is_answered_with_the_id(self, plugin):
        plugin(X, manifest(component("x.darts")))
        with pytest.raises(UnknownComponentError, match=r"did you mean strategy:x\.darts"):
            registry().get("x.darts")

    def test_it_is_a_lookup_error(self):
        with pytest.raises(LookupError):
            Registry(entry_points=False)["strategy:x"]


class TestSettings:
    @pytest.mark.parametrize(
        ("environ", "x", "y", "core"),
        [
            pytest.param({}, True, True, True, id="nothing"),
            pytest.param({"ONESHOT_PLUGIN_AUTOLOAD": "0"}, False, False, True, id="no-autoload"),
            pytest.param({"ONESHOT_PLUGIN_AUTOLOAD": ""}, True, True, True, id="autoload-empty"),
            pytest.param({"ONESHOT_PLUGINS": ""}, False, False, True, id="allow-nothing"),
            pytest.param({"ONESHOT_PLUGINS": X}, True, False, True, id="allow-one"),
            pytest.param({"ONESHOT_PLUGINS": "Oneshot_Plugin.X"}, True, False, True, id="spelling"),
            pytest.param({"ONESHOT_PLUGINS": "oneshot-*"}, True, True, True, id="allow-glob"),
            pytest.param({"ONESHOT_PLUGINS": "strategy:x.a"}, True, False, True, id="allow-id"),
            pytest.param({"ONESHOT_PLUGINS": "*:x.*"}, True, False, True, id="allow-id-glob"),
            pytest.param(
                {"ONESHOT_PLUGIN_AUTOLOAD": "0", "ONESHOT_PLUGINS": X},
                True,
                False,
                True,
                id="no-autoload-but-one",
            ),
            pytest.param({"ONESHOT_DISABLE_PLUGINS": X}, False, True, True, id="deny-one"),
            pytest.param({"ONESHOT_DISABLE_PLUGINS": "strategy:x.a"}, False, True, True, id="id"),
            pytest.param(
                {"ONESHOT_DISABLE_PLUGINS": f" {X} , strategy:y.a,"}, False, False, True, id="two"
            ),
            pytest.param(
                {"ONESHOT_DISABLE_PLUGINS": f"manifest:{X}.main"}, False, True, True, id="manifest"
            ),
            pytest.param(
                {"ONESHOT_PLUGINS": X, "ONESHOT_DISABLE_PLUGINS": X},
                False,
                False,
                True,
                id="deny-beats-allow",
            ),
            pytest.param({"ONESHOT_DISABLE_PLUGINS": "oneshot-core"}, True, True, False, id="core"),
        ],
    )
    def test_lists_allow_and_deny(self, plugin, environ, x, y, core):
        plugin(X, manifest(component("x.a")))
        plugin(Y, manifest(component("y.a")))
        found = Registry(environ=environ)
        assert ("x.a" in found.names("strategy")) == x
        assert ("y.a" in found.names("strategy")) == y
        assert ("repeat" in found.names("supernet")) == core

    @pytest.mark.parametrize(
        "environ",
        [
            {"ONESHOT_PLUGIN_AUTOLOAD": "0"},
            {"ONESHOT_PLUGINS": ""},
            {"ONESHOT_PLUGINS": Y},
            {"ONESHOT_DISABLE_PLUGINS": X},
            {"ONESHOT_DISABLE_PLUGINS": "manifest:*.main"},
        ],
    )
    def test_what_is_switched_off_is_not_even_imported(self, plugin, environ):
        plugin(X, "raise SystemExit('must not be imported')")
        plugin(Y, manifest(component("y.a")))
        found = Registry(environ=environ)
        (record,) = found.find(provider=X)
        assert record.state == "disabled"
        assert next(iter(environ)) in record.reason
        assert [p for p in found.problems() if X in p.subject] == []
        assert "oneshot_plugin_x" not in sys.modules

    def test_asking_for_what_is_switched_off_says_by_what(self, plugin):
        plugin(X, manifest(component("x.a")))
        with pytest.raises(PluginLoadError, match=r"ONESHOT_DISABLE_PLUGINS names it"):
            registry(ONESHOT_DISABLE_PLUGINS="strategy:x.a").load("strategy:x.a")
        with pytest.raises(UnknownComponentError, match=rf"not read: .*{X}.main \(disabled\)"):
            registry(ONESHOT_DISABLE_PLUGINS=X).load("strategy:x.a")

    @pytest.mark.parametrize("setting", ["ONESHOT_PLUGINS", "ONESHOT_DISABLE_PLUGINS"])
    def test_names_that_nothing_has_are_a_problem(self, plugin, setting):
        plugin(X, manifest(component("x.a")))
        found = Registry(environ={setting: "oneshot-plugin-xx,strategy:x.aa"})
        first, second = [p for p in found.problems() if p.subject == setting]
        assert "'oneshot-plugin-xx'" in first.reason
        assert "did you mean oneshot-plugin-x" in first.fix
        assert "did you mean strategy:x.a" in second.fix

    def test_strict_raises_for_every_problem_and_each_time(self, plugin):
        plugin(X, "1 / 0")
        plugin(Y, manifest(component("y.a")), requires=["oneshot-core<0.0.1"])
        environ = {"ONESHOT_STRICT_PLUGINS": "1", "ONESHOT_DISABLE_PLUGINS": "oneshot-core"}
        found = Registry(environ=environ)
        for _ in range(2):
            with pytest.raises(PluginLoadError, match="ONESHOT_STRICT_PLUGINS is set") as caught:
                found.names("strategy")
            assert isinstance(caught.value.__cause__, ZeroDivisionError)
            assert "ZeroDivisionError" in str(caught.value)
            assert "incompatible" in str(caught.value)

    def test_strict_is_silent_without_problems(self, plugin):
        plugin(X, manifest(component("x.a")))
        environ = {"ONESHOT_STRICT_PLUGINS": "1", "ONESHOT_DISABLE_PLUGINS": "oneshot-core"}
        assert Registry(environ=environ).names("strategy") == ["x.a"]

    @pytest.mark.parametrize(
        "name",
        [
            "no_default_hook",
            "mutation_hook:no_default_hook",
            "no-default-hook@oneshot-core",
            "optimizer_shapes",
            "configure_optimizers",
        ],
    )
    def test_what_belongs_to_the_core_cannot_be_switched_off(self, plugin, tmp_path, name):
        file = tmp_path / "pyproject.toml"
        file.write_text(f'[tool.oneshot.plugins]\ndeny = ["{name}"]\n')
        for found in (
            Registry(environ={"ONESHOT_DISABLE_PLUGINS": name}),
            Registry(environ={}, project=file),
        ):
            for _ in range(2):
                with pytest.raises(PluginSettingsError, match="belongs to the core and cannot"):
                    found.names("strategy")
        found = registry()
        with pytest.raises(PluginSettingsError, match="belongs to the core and cannot"):
            found.disable(name)
        assert found.names("strategy")

    def test_allowing_what_belongs_to_the_core_is_needless(self):
        found = registry(ONESHOT_PLUGINS="no_default_hook")
        (problem,) = [p for p in found.problems() if p.subject == "ONESHOT_PLUGINS"]
        assert "always in use" in problem.fix
        with registry().disable("mutation_hook:*"):
            pass  # a glob means what plugins offer

    def test_the_projects_file_restricts_before_anything_is_imported(self, plugin, tmp_path):
        plugin(X, "raise SystemExit('must not be imported')")
        plugin(Y, manifest(component("y.a")))
        file = tmp_path / "pyproject.toml"
        for table in (f'deny = ["{X}"]', f'allow = ["{Y}"]', "allow = []"):
            file.write_text(f"[tool.oneshot.plugins]\n{table}\n")
            (record,) = Registry(environ={}, project=file).find(provider=X)
            assert record.state == "disabled"
            assert str(file) in record.reason
        file.write_text(f'[tool.oneshot.plugins]\nallow = ["{X}"]\ndeny = ["{X}"]\n')
        assert Registry(environ={}, project=file).find(provider=X)[0].reason.startswith("deny")
        assert "oneshot_plugin_x" not in sys.modules

    def test_the_working_directorys_project_counts_at_discovery(
        self, plugin, tmp_path, monkeypatch
    ):
        plugin(X, manifest(component("x.a")))
        (tmp_path / "pyproject.toml").write_text(f'[tool.oneshot.plugins]\ndeny = ["{X}"]\n')
        monkeypatch.chdir(tmp_path)
        found = registry()
        assert "x.a" not in found.names("strategy")
        monkeypatch.chdir("/")
        assert "x.a" not in found.names("strategy")
        found.refresh()
        assert "x.a" in found.names("strategy")
        assert "x.a" in Registry(environ={}, project=False).names("strategy")

    @pytest.mark.parametrize(
        ("required", "deny", "reason"),
        [
            pytest.param(f"{X}>=0.4", "", None, id="there"),
            pytest.param("Oneshot_Plugin.X", "", None, id="any-version"),
            pytest.param(f"{X}>=0.5", "", "0.4.1 is installed", id="too-old"),
            pytest.param("oneshot-plugin-xx", "", f"there is {X}", id="not-installed"),
            pytest.param(X, X, "it is disabled", id="switched-off"),
            pytest.param(Y, "", "it is failed: ZeroDivisionError", id="broken"),
            pytest.param("oneshot-core>=0.1", "", None, id="core"),
        ],
    )
    def test_what_the_project_requires_must_be_in_use(
        self, plugin, tmp_path, required, deny, reason
    ):
        plugin(X, manifest(component("x.a")), version="0.4.1")
        plugin(Y, "1 / 0")
        file = tmp_path / "pyproject.toml"
        file.write_text(f'[tool.oneshot.plugins]\nrequired = ["{required}"]\n')
        environ = {"ONESHOT_DISABLE_PLUGINS": deny}
        found = Registry(environ=environ, project=file)
        assert found.names("strategy")  # looking is not using
        if reason is None:
            found.require()
            assert found.missing() == []
            return
        (problem,) = found.missing()
        assert problem in found.problems()
        assert problem.state == "missing"
        assert reason in problem.reason
        with pytest.raises(PluginLoadError, match="requires plugins") as caught:
            found.require()
        assert f"required in {file}" in str(caught.value)
        strict = Registry(environ={**environ, "ONESHOT_STRICT_PLUGINS": "1"}, project=file)
        with pytest.raises(PluginLoadError, match="missing"):
            strict.names("strategy")

    def test_an_order_that_names_nothing_is_a_problem(self, plugin, tmp_path):
        plugin(X, manifest(component("x.a")))
        file = tmp_path / "pyproject.toml"
        file.write_text('[tool.oneshot.plugins]\norder = ["strategy:x.aa"]\n')
        (problem,) = [
            p for p in Registry(environ={}, project=file).problems() if str(file) in p.subject
        ]
        assert "did you mean strategy:x.a" in problem.fix

    def test_calls_of_hooks_can_be_watched(self, plugin, capsys):
        plugin(X, manifest(more=LISTENER))
        plugin(Y, manifest(more="@hookimpl\ndef oneshot_before_mutation(): 1 / 0"))
        found = registry(ONESHOT_TRACE_PLUGINS="1")
        with pytest.raises(ZeroDivisionError):
            found.hook.oneshot_before_mutation(model=object(), mutate_kwargs={})
        found.hook.oneshot_module_replaced(path="a.0", original=1, replacement=2)
        captured = capsys.readouterr()
        assert captured.out == ""
        first, second = captured.err.splitlines()
        assert first.startswith(
            "oneshot: oneshot_before_mutation(model=object, mutate_kwargs=dict)"
        )
        assert f"{X}.main, {Y}.main" in first
        assert "ZeroDivisionError" in first
        assert second.endswith("(path='a.0', original=int, replacement=int) -> nobody")
        registry().hook.oneshot_module_replaced(path="a.0", original=1, replacement=2)
        assert capsys.readouterr().err == ""

    def test_the_process_environment_is_read_at_discovery(self, plugin, monkeypatch):
        plugin(X, manifest(component("x.a")))
        found = Registry()
        monkeypatch.setenv("ONESHOT_DISABLE_PLUGINS", X)
        assert "x.a" not in found.names("strategy")
        monkeypatch.delenv("ONESHOT_DISABLE_PLUGINS")
        assert "x.a" not in found.names("strategy")
        found.refresh()
        assert "x.a" in found.names("strategy")


class TestRegister:
    def test_an_object_is_registered_by_call_or_decorator(self):
        found = Registry(entry_points=False)

        @found.register("mutation_hook", "nb.swap", priority=10, summary="swap")
        def swap(module, name, memo, mutate_kwargs):
            return None

        value = object()
        assert found.register("space", "nb.value", value) is value
        assert found.load("mutation_hook", "nb.swap") is swap
        assert found.load("space:nb.value") is value
        record = found["mutation_hook:nb.swap"]
        assert (record.provider, record.state) == (REGISTERED, "loaded")
        assert record.component.priority == 10
        assert record.component.target.endswith("<locals>.swap")
        assert found["space:nb.value"].component.target == "builtins:object"

    def test_a_component_or_a_path_is_imported_when_loaded(self):
        found = Registry(entry_points=False)
        offered = Component("space", "a", "collections:OrderedDict")
        assert found.register(offered) is offered
        found.register("space", "b", "collections:Counter")
        assert found["space:a"].state == "available"
        assert found.load("space:a") is collections.OrderedDict
        assert found.load("space:b") is collections.Counter

    def test_a_taken_name_is_refused(self, plugin):
        plugin(X, manifest(component("x.a")))
        found = registry()
        with pytest.raises(DuplicateComponentError, match=f"from {X} 1.0"):
            found.register("strategy", "x.a", dict)
        found.register("strategy", "mine", dict)
        with pytest.raises(DuplicateComponentError, match="override=True"):
            found.register("strategy", "mine", list)

    def test_an_override_takes_the_name_until_it_is_taken_back(self, plugin):
        plugin(X, manifest(component("x.a")))
        found = registry()
        found.register("strategy", "x.a", dict, override=True)
        found.register("strategy", "x.a", list, override=True)
        assert found.load("strategy:x.a") is list
        assert [r.state for r in found.find("strategy", provider=X)] == ["shadowed"]
        assert [p for p in found.problems() if p.subject == "strategy:x.a"] == []
        found.unregister("strategy", "x.a")
        assert found.load("strategy:x.a") is dict
        found.unregister("strategy:x.a")
        assert found.load("strategy:x.a") is collections.OrderedDict

    def test_only_what_was_registered_can_be_unregistered(self, plugin):
        plugin(X, manifest(component("x.a")))
        with pytest.raises(UnknownComponentError, match=r"disable\('strategy:x.a'\)"):
            registry().unregister("strategy:x.a")

    def test_malformed_registrations_are_refused(self):
        found = Registry(entry_points=False)
        with pytest.raises(PluginError, match="name="):
            found.register("strategy", "a b", dict)
        with pytest.raises(TypeError, match="positional"):
            found.register("strategy")
        assert list(found) == []

    def test_a_registration_whose_target_fails_says_so(self):
        found = Registry(entry_points=False)
        found.register("space", "a", "no_such_module:A")
        with pytest.raises(PluginLoadError, match="correct the target"):
            found.load("space:a")

    def test_registrations_survive_a_refresh(self, plugin):
        found = registry()
        found.register("strategy", "mine", dict)
        plugin(X, manifest(component("x.a")))
        assert "strategy:x.a" not in found
        found.refresh()
        assert "strategy:x.a" in found
        assert found.load("strategy:mine") is dict


class TestRestrictions:
    def test_disable_and_only_hold_inside_with(self, plugin):
        plugin(X, manifest(component("x.a"), component("x.b")))
        plugin(Y, manifest(component("y.a")))
        found = registry()
        with found.disable(X):
            assert states(found)["strategy:x.a"] == "disabled"
            with pytest.raises(PluginLoadError, match="disable"):
                found.load("strategy:x.a")
        with found.only("*:x.*", Y), found.disable("strategy:x.b"):
            assert [r.id for r in found.ordered()] == ["strategy:x.a", "strategy:y.a"]
        assert set(states(found).values()) == {"available"}
        assert found.names("supernet")

    def test_a_plain_call_holds_for_good(self, plugin):
        plugin(X, manifest(component("x.a"), component("x.b")))
        found = registry()
        found.disable("strategy:x.a")
        found.only(X)
        found.refresh()
        assert [r.id for r in found.ordered()] == ["strategy:x.b"]

    def test_disabling_the_first_provider_frees_the_name(self, plugin):
        plugin(X, manifest(component("same")))
        plugin(Y, manifest(component("same", "collections:Counter")))
        found = registry()
        with found.disable(X):
            assert found.load("strategy:same") is collections.Counter
        assert found.load("strategy:same") is collections.OrderedDict

    @pytest.mark.parametrize("verb", ["disable", "only"])
    def test_a_name_that_nothing_has_is_refused(self, plugin, verb):
        plugin(X, manifest(component("x.a")))
        found = registry()
        with pytest.raises(UnknownComponentError, match=r"strategy:x\.a"):
            getattr(found, verb)("strategy:x.aa")
        getattr(found, verb)("nothing-yet-*")

    def test_restrictions_end_with_an_exception(self, plugin):
        plugin(X, manifest(component("x.a")))
        found = registry()
        with pytest.raises(RuntimeError, match="stop"), found.disable(X):
            raise RuntimeError("stop")
        assert found["strategy:x.a"].usable


LISTENER = """
log = []

@hookimpl
def oneshot_before_mutation(model, mutate_kwargs):
    return (__name__, model, mutate_kwargs)
"""


class TestEvents:
    def test_plugins_are_called_first_party_first_and_then_by_name(self, plugin):
        for name in (Y, X, "oneshot-core"):
            plugin(name, manifest(more=LISTENER))
        answers = registry().hook.oneshot_before_mutation(model=1, mutate_kwargs={})
        heard = [answer[0] for answer in answers]
        assert heard == ["first_party", "oneshot_plugin_x", "oneshot_plugin_y"]

    def test_who_is_switched_off_hears_nothing(self, plugin):
        plugin(X, manifest(component("x.a"), more=LISTENER))
        plugin(Y, manifest(more=LISTENER))
        found = registry()

        def heard():
            answers = found.hook.oneshot_before_mutation(model=1, mutate_kwargs={})
            return [answer[0] for answer in answers]

        assert heard() == ["oneshot_plugin_x", "oneshot_plugin_y"]
        with found.disable(X):
            assert heard() == ["oneshot_plugin_y"]
        with found.only("strategy:x.a"):
            assert heard() == []
        assert heard() == ["oneshot_plugin_x", "oneshot_plugin_y"]

    def test_nobody_listening_costs_nothing(self):
        found = Registry(entry_points=False)
        assert found.hook.oneshot_before_mutation(model=1, mutate_kwargs={}) == []


class TestThreads:
    def test_threads_that_load_together_get_one_object(self, plugin):
        source = "import time\ntime.sleep(0.05)\nclass A: pass\n"
        plugin(X, manifest(component("x.a", "x_target:A")), modules={"x_target.py": source})
        found = registry()
        together = threading.Barrier(8)

        def load(_):
            together.wait()
            return found.load("strategy:x.a")

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(load, range(8)))) == 1
        assert [r.state for r in found.find(provider=X)] == ["loaded"]

    def test_a_target_that_registers_something_loads_once_for_all_threads(self, plugin):
        source = """
            import time
            from oneshot_core.discovery.registry import default_registry
            time.sleep(0.05)
            default_registry().register("space", "x.once", object())  # twice would raise
            class A: pass
        """
        plugin(X, manifest(component("x.a", "x_target:A")), modules={"x_target.py": source})
        found = default_registry()
        found.refresh()
        together = threading.Barrier(8)

        def load(_):
            together.wait()
            return found.load("strategy:x.a")

        try:
            with ThreadPoolExecutor(8) as pool:
                assert len(set(pool.map(load, range(8)))) == 1
            assert found["space:x.once"].state == "loaded"
        finally:
            found.unregister("space:x.once")
            found.refresh()

    def test_threads_that_ask_first_together_get_one_answer(self, plugin):
        plugin(X, manifest(component("x.a"), more="import time\ntime.sleep(0.05)"))
        found = registry()
        together = threading.Barrier(8)

        def ask(_):
            together.wait()
            return tuple(found.find())

        with ThreadPoolExecutor(8) as pool:
            (records,) = set(pool.map(ask, range(8)))
        assert "x.a" in {record.name for record in records}

    def test_no_lock_is_held_while_a_plugin_is_imported(self, plugin):
        """Another thread that imports the same plugin, whose body registers, is not locked out."""
        source = """
            import time
            from oneshot_core.discovery.registry import default_registry
            time.sleep(0.1)
            default_registry().register("space", "x.late", 1, override=True)
            A = 1
        """
        plugin(X, manifest(component("x.a", "x_target:A")), modules={"x_target.py": source})
        found = default_registry()
        found.refresh()
        try:
            threads = [
                threading.Thread(target=__import__, args=("x_target",), daemon=True),
                threading.Thread(target=found.load, args=("strategy:x.a",), daemon=True),
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(timeout=20)
            assert not any(thread.is_alive() for thread in threads)
            assert found.load("strategy:x.a") == 1
        finally:
            found.unregister("space:x.late")
            found.refresh()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_workers_inherit_what_is_known_and_look_for_nothing(plugin, tmp_path):
    """Even if another thread was using the registry at the moment of the fork."""
    folder = plugin(X, manifest(component("x.a", "x_target:A")), modules={"x_target.py": "A = 1"})
    script = tmp_path / "forks.py"
    script.write_text(
        """
import multiprocessing, os, shutil, sys, threading, warnings
from pathlib import Path
from oneshot_core import Registry

warnings.simplefilter("ignore")  # Python 3.12 warns about threads in a process that forks
found = Registry(environ={}, project=False)
before = found.fingerprint()
for info in Path(sys.argv[1]).glob("*.dist-info"):
    shutil.rmtree(info)
held, enough = threading.Event(), threading.Event()

def busy():
    with found._lock:
        held.set()
        enough.wait()

def worker():
    # Another thread held the lock, and what is installed has gone: both must not matter.
    assert found.fingerprint() == before
    assert found.load("strategy:x.a") == 1
    assert "x.a" in found.names("strategy")

thread = threading.Thread(target=busy)
thread.start()
held.wait()
child = multiprocessing.get_context("fork").Process(target=worker)
child.start()
child.join(20)
code = child.exitcode
child.kill()
enough.set()
thread.join()
assert code == 0, code
assert "strategy:x.a" not in Registry(environ={}, project=False)
"""
    )
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_the_answer_does_not_depend_on_hashing_or_on_the_order_of_files(plugin):
    folder = plugin(Y, manifest(component("y.a"), component("same")))
    for name in ("oneshot-plugin-b", "oneshot-plugin-c", "oneshot-plugin-a"):
        source = manifest(component("same"), component(f"{name[-1]}.x"))
        plugin(name, source, folder=folder)
    code = (
        "from oneshot_core import Registry\n"
        "r = Registry(environ={})\n"
        "print(r.snapshot().to_json())\n"
    )
    outputs = set()
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        outputs.add(done.stdout)
    (output,) = outputs
    same = [r["provider"] for r in json.loads(output)["components"] if r["name"] == "same"]
    assert same == [f"oneshot-plugin-{letter}" for letter in "abcy"]


def test_importing_the_registry_and_asking_it_imports_no_torch():
    code = (
        "import sys, oneshot_core\n"
        "oneshot_core.Registry().snapshot()\n"
        "print(sorted({'torch', 'pytorch_lightning', 'rich'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_making_a_registry_leaves_the_finders_of_python_alone():
    """importlib_metadata replaces the standard library's finder when it is imported."""
    code = (
        "import sys, oneshot_core\n"
        "oneshot_core.Registry(); oneshot_core.Registry(entry_points=False).find()\n"
        "oneshot_core.registry\n"
        "sys.exit('importlib_metadata' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
def test_type_checkers_know_what_a_kind_loads(tmp_path):
    script = tmp_path / "typed.py"
    script.write_text(
        "from oneshot_core import Registry\n"
        "r = Registry()\n"
        "reveal_type(r.load('strategy', 'x'))\n"
        "reveal_type(r.load('supernet', 'x'))\n"
        "reveal_type(r.load('cost', 'x'))\n"
        "reveal_type(r.load('searcher', 'x'))\n"
        "reveal_type(r.load('mine', 'x'))\n"
        "reveal_type(r.load('strategy:x'))\n"
    )
    done = mypy(script)
    revealed = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert [re.split(r"[. ]", text)[-1].rstrip("]") for text in revealed] == [
        "BaseOneShotLightningModule",
        "BaseSuperNetModule",
        "float",
        "Searcher",
        "Any",
        "Any",
    ], done.stdout
