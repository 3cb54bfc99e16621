"""What a report says, as text and as JSON, and how one case becomes a result."""

from __future__ import annotations

import json
import logging
import random
import warnings
from typing import Any

import pytest
import torch

from oneshot_core import Registry, __version__
from oneshot_core.errors import UnknownComponentError
from oneshot_core.hookspecs import Conformance
from oneshot_core.testing import Report, Result, cases, check

PASSED = Result("cost.is-a-number", "cost:a", "passed")
FAILED = Result("cost.is-a-number", "cost:b", "failed", "it is nan.\n  expected: a\n  fix: b")
EXPECTED = Result("cost.is-a-number", "cost:c", "expected", "not yet")


def test_a_report_is_ok_unless_something_failed() -> None:
    assert Report((PASSED, EXPECTED)).ok
    assert not Report((PASSED, FAILED)).ok
    assert Report((PASSED, FAILED)).failed == [FAILED]
    assert len(Report((PASSED, FAILED))) == 2


def test_a_report_prints_what_did_not_pass_and_a_summary() -> None:
    assert str(Report((PASSED, FAILED, EXPECTED))).splitlines() == [
        "failed  cost:b  cost.is-a-number",
        "    it is nan.",
        "      expected: a",
        "      fix: b",
        "expected  cost:c  cost.is-a-number",
        "    not yet",
        "1 passed, 1 failed, 1 expected",
    ]
    assert str(Report(())) == "no checks"


def test_a_report_is_written_as_json() -> None:
    written = json.loads(Report((PASSED, FAILED)).to_json())
    assert written == {
        "schema": "oneshot.conformance/1",
        "core": __version__,
        "ok": False,
        "counts": {"passed": 1, "failed": 1, "advice": 0, "skipped": 0, "expected": 0},
        "results": [
            {
                "check": r.check,
                "subject": r.subject,
                "outcome": r.outcome,
                "message": r.message,
                "traceback": "",
            }
            for r in (PASSED, FAILED)
        ],
    }


def nan(network: Any, *inputs: Any) -> float:
    return float("nan")


def one(network: Any, *inputs: Any) -> float:
    return 1.0


def registry_with(**costs: Any) -> Registry:
    registry = Registry(entry_points=False)
    for name, cost in costs.items():
        registry.register("cost", name, cost, summary=name)
    return registry


def test_a_declared_failure_is_expected_and_anything_else_of_it_is_not() -> None:
    declared = Conformance(expected_failures={("cost:n*", "cost.is-a-number"): "not yet"})
    report = check(registry=registry_with(nan=nan, one=one), declared=declared)
    assert report.ok
    (expected,) = [r for r in report if r.outcome == "expected"]
    assert expected.subject == "cost:nan"
    assert expected.message.startswith("not yet\n  now: the cost of a Sequential is nan")


def test_a_declared_failure_that_does_not_happen_fails() -> None:
    declared = Conformance(expected_failures={("cost:one", "cost.is-a-number"): "not yet"})
    (failed,) = check(registry=registry_with(one=one), declared=declared).failed
    assert "it holds, though it is declared to fail: not yet" in failed.message


def test_checks_of_what_does_not_load_are_skipped_but_one() -> None:
    registry = Registry(entry_points=False)
    registry.register("cost", "gone", "no_such_module:cost", summary="gone")
    outcomes = {r.check: r.outcome for r in check("cost:gone", registry=registry)}
    assert outcomes["component.target-loads"] == "failed"
    assert outcomes["cost.is-a-number"] == "skipped"


def test_samples_that_cannot_be_made_say_which() -> None:
    declared = Conformance(samples={"cost:one": "no_such_module:samples"})
    report = check(registry=registry_with(one=one), declared=declared)
    (failed,) = report.failed  # once: the other checks are skipped
    assert "the samples for 'cost:one' cannot be made" in failed.message
    skipped = [r for r in report if "its samples cannot be used" in r.message]
    assert {r.check for r in skipped} >= {"cost.is-a-number", "cost.leaves-network-alone"}


def test_a_name_that_nothing_has_is_refused() -> None:
    with pytest.raises(UnknownComponentError, match="oneshot-plugin-y") as caught:
        cases("oneshot-plugin-y", registry=registry_with(one=one))
    assert "\n  expected: " in str(caught.value)
    assert "\n  fix: " in str(caught.value)


def test_a_check_leaves_random_states_warnings_and_log_levels_as_they_were() -> None:
    def noisy(network: Any, *inputs: Any) -> float:
        warnings.warn("ignored", stacklevel=1)
        return random.random() + float(torch.rand(()))

    random.seed(5)
    torch.manual_seed(5)
    before = (random.getstate(), torch.get_rng_state().tolist())
    level = logging.getLogger("pytorch_lightning").level
    (failed,) = check(registry=registry_with(noisy=noisy)).failed
    assert failed.check == "cost.same-network-same-number"
    assert (random.getstate(), torch.get_rng_state().tolist()) == before
    assert logging.getLogger("pytorch_lightning").level == level


def test_names_select_components_and_pairs_of_which_one_is_meant() -> None:
    subjects = {case.subject.name for case in cases("strategy:darts", registry=Registry())}
    assert "strategy:darts" in subjects
    assert "supernet:repeat x strategy:darts" in subjects
    assert "supernet:repeat" not in subjects
    assert not any("random" in name for name in subjects)


def test_what_a_component_raises_comes_with_its_traceback_and_what_a_check_finds_without() -> None:
    def raises(network: Any, *inputs: Any) -> float:
        raise KeyError("no such layer")

    results = {
        (r.subject, r.check): r for r in check(registry=registry_with(raises=raises, nan=nan))
    }
    raised = results["cost:raises", "cost.is-a-number"]
    assert "KeyError: 'no such layer' (" in raised.message  # with file and line
    assert 'raise KeyError("no such layer")' in raised.traceback
    assert results["cost:nan", "cost.is-a-number"].traceback == ""


def test_a_component_that_ends_the_process_only_fails() -> None:
    def leaves(network: Any, *inputs: Any) -> float:
        raise SystemExit(3)

    report = check(registry=registry_with(leaves=leaves))
    assert {r.check for r in report.failed} == {
        "cost.is-a-number",
        "cost.same-network-same-number",
        "cost.leaves-network-alone",
    }
    assert "SystemExit: 3" in report.failed[0].message


def test_a_kind_of_ones_own_is_checked_as_a_component_and_the_report_says_so() -> None:
    registry = Registry(entry_points=False)
    registry.register("metric", "x.sharpness", object(), summary="how sharp a minimum is")
    report = check("metric:x.sharpness", registry=registry)
    assert report.ok
    assert {r.check.partition(".")[0] for r in report} == {"component"}
    (said,) = [r.message for r in report if r.check == "component.kind-is-known"]
    assert "there are no checks for the kind 'metric'" in said


ONE = """
from oneshot_core.hookspecs import Component, Conformance, hookimpl

@hookimpl
def oneshot_components():
    return [Component("cost", "{name}.one", "parts_{name}:one", summary="not a number")]

@hookimpl
def oneshot_conformance():
    return Conformance(expected_failures={failures})
"""


def install(fake_dist: Any, name: str, failures: str) -> None:
    fake_dist(
        f"oneshot-plugin-{name}",
        entry_points={"main": f"manifest_{name}"},
        modules={
            f"manifest_{name}.py": ONE.format(name=name, failures=failures),
            f"parts_{name}.py": "def one(network, *inputs):\n    return float('nan')\n",
        },
        requires=["oneshot-core>=0.1,<0.2"],
    )


def test_nobody_can_expect_the_failures_of_others(fake_dist: Any) -> None:
    install(fake_dist, "a", "{('*', '*'): 'whatever it is'}")
    install(fake_dist, "b", "{}")
    report = check("cost:b.one", registry=Registry())
    assert [r.check for r in report.failed] == ["cost.is-a-number"]
    wrong = [r for r in report if r.outcome == "expected"]
    assert wrong == []


def test_what_is_switched_off_is_refused_with_the_reason(fake_dist: Any) -> None:
    install(fake_dist, "b", "{}")
    registry = Registry()
    registry.disable("cost:b.one")
    with pytest.raises(UnknownComponentError, match=r"switched off: disable\('cost:b.one'\)"):
        cases("cost:b.one", registry=registry)


def test_what_is_recommended_is_advice_and_no_failure(fake_dist: Any) -> None:
    fake_dist(
        "oneshot-plugin-c",
        entry_points={"main": "manifest_c"},
        modules={"manifest_c.py": "print('hello')\n" + ONE.format(name="c", failures="{}")},
        requires=["oneshot-core>=0.1,<0.2"],
    )
    packaging = [c.run() for c in cases("oneshot-plugin-c", registry=Registry())][:9]
    (advice,) = [r for r in packaging if r.outcome == "advice"]
    assert advice.check == "packaging.manifest-is-quiet"
    assert "prints ['hello']" in advice.message
    assert Report((advice,)).ok
