"""What a plugin may declare."""

from __future__ import annotations

import pickle

import pytest

from oneshot_core.errors import PluginError
from oneshot_core.hookspecs import ENTRY_POINT_GROUP, Component, hookimpl, plugin_manager


def test_a_component_is_named_by_kind_and_name():
    component = Component("strategy", "x.darts", "pkg.mod:Cls.make", handles=("torch.nn:Conv2d",))
    assert component.id == "strategy:x.darts"
    assert pickle.loads(pickle.dumps(component)) == component
    assert {component: 1}[component] == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("kind", "", id="no-kind"),
        pytest.param("kind", "a:b", id="kind-with-colon"),
        pytest.param("kind", None, id="kind-none"),
        pytest.param("name", "a b", id="name-with-space"),
        pytest.param("name", "a*", id="name-with-wildcard"),
        pytest.param("target", "pkg.mod", id="target-without-object"),
        pytest.param("target", "pkg.mod:", id="target-with-empty-object"),
        pytest.param("target", "pkg..mod:Cls", id="target-with-empty-part"),
        pytest.param("target", "pkg/mod.py:Cls", id="target-as-file"),
        pytest.param("target", dict, id="target-as-object"),
        pytest.param("summary", None, id="summary-none"),
        pytest.param("handles", "torch.nn:Conv2d", id="handles-as-string"),
        pytest.param("handles", ("torch.nn.Conv2d",), id="handles-without-colon"),
        pytest.param("priority", "high", id="priority-as-string"),
        pytest.param("priority", True, id="priority-as-bool"),
    ],
)
def test_a_malformed_component_is_refused_where_it_is_made(field, value):
    fields = {"kind": "strategy", "name": "x", "target": "pkg.mod:Cls", field: value}
    with pytest.raises(PluginError) as caught:
        Component(**fields)
    message = str(caught.value)
    assert f"{field}={value!r}" in message
    assert "expected:" in message
    assert "fix:" in message


def test_every_hook_is_prefixed_and_takes_arguments_by_name():
    manager = plugin_manager()
    assert manager.project_name == ENTRY_POINT_GROUP
    hooks = {name for name in vars(manager.hook) if not name.startswith("_")}
    assert hooks == {
        "oneshot_components",
        "oneshot_conformance",
        "oneshot_before_mutation",
        "oneshot_after_mutation",
        "oneshot_module_replaced",
        "oneshot_fit_started",
        "oneshot_fit_ended",
        "oneshot_optimizer_config",
        "oneshot_report_header",
    }


def test_an_implementation_takes_only_the_arguments_it_wants():
    class Listener:
        @hookimpl
        def oneshot_module_replaced(self, path):
            return path

    manager = plugin_manager()
    manager.register(Listener())
    answers = manager.hook.oneshot_module_replaced(path="a.b", original=None, replacement=None)
    assert answers == ["a.b"]
