"""The page of all checks is current, and ids of checks are never renamed by accident."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from oneshot_core.hookspecs import Conformance
from oneshot_core.testing import all_checks

DOCS = Path(__file__).parents[3] / "docs/plugins"

IDS = [
    "packaging.manifest-is-readable",
    "packaging.manifest-is-light",
    "packaging.hooks-are-known",
    "packaging.conformance-is-declared-well",
    "packaging.core-version-is-bounded",
    "packaging.installs-its-packages-only",
    "packaging.manifest-is-quick",
    "packaging.manifest-is-quiet",
    "packaging.is-typed",
    "component.kind-is-known",
    "component.name-is-its-own",
    "component.name-carries-its-prefix",
    "component.has-a-summary",
    "component.target-loads",
    "component.handles-exist",
    "component.samples-repeat-themselves",
    "mutation-hook.takes-four-arguments",
    "mutation-hook.answers-are-legal",
    "mutation-hook.answers-are-the-same-for-the-same-module",
    "mutation-hook.only-the-walk-changes-the-tree",
    "mutation-hook.model-still-runs",
    "mutation-hook.leaves-no-choice-behind",
    "mutation-hook.acts-on-its-samples",
    "supernet.is-a-supernet-module",
    "supernet.has-samples",
    "supernet.replaces-its-choice",
    "supernet.leaves-other-modules-alone",
    "supernet.keeps-the-space",
    "supernet.keeps-names-of-weights",
    "supernet.loads-weights-of-the-choice",
    "supernet.keeps-decisions-out",
    "supernet.keeps-tensors-in-buffers",
    "supernet.answers-for-its-labels",
    "supernet.follows-the-memo",
    "supernet.follows-train-and-eval",
    "supernet.follows-dtype",
    "supernet.runs-as-the-choice-by-default",
    "supernet.equals-frozen",
    "supernet.freezes-as-its-choice",
    "supernet.runs-only-what-is-active",
    "supernet.runs-its-submodules",
    "supernet.declares-its-branches",
    "supernet.gradient-reaches-weights",
    "supernet.gradient-reaches-decision",
    "supernet.superposition-with-one-weight-is-that-choice",
    "supernet.can-be-copied",
    "supernet.can-be-pickled",
    "elastic.is-a-rule",
    "elastic.has-samples",
    "elastic.parts-equal-frozen",
    "elastic.superposition-is-the-padded-sum",
    "adapter.is-an-adapter",
    "adapter.has-samples",
    "adapter.paths-are-there",
    "adapter.agrees-with-the-tracer",
    "adapter.largest-equals-the-original",
    "adapter.parts-equal-frozen",
    "adapter.config-says-the-sizes",
    "strategy.is-a-strategy",
    "strategy.mixture-is-legal",
    "strategy.probabilities-are-probabilities",
    "strategy.draws-from-its-own-generator",
    "strategy.trains",
    "strategy.learns-what-it-has-parameters-for",
    "strategy.optimizers-are-told-apart",
    "strategy.no-choices-changes-nothing",
    "strategy.same-seed-same-result",
    "strategy.resumes",
    "strategy.checkpoint-is-plain-and-loads",
    "strategy.can-be-copied",
    "strategy.six-shapes",
    "strategy.exports-a-valid-architecture",
    "strategy.result-is-honest",
    "cost.is-a-number",
    "cost.same-network-same-number",
    "cost.leaves-network-alone",
    "space.builds",
    "space.is-the-same-each-time",
    "space.freezes",
    "space.every-candidate-runs",
    "space.draws-its-own-labels",
    "searcher.proposes-valid-architectures",
    "searcher.keeps-to-its-budget",
    "searcher.same-seed-same-proposals",
    "command.name-is-free",
    "command.declares-arguments",
    "command.help-needs-no-torch",
    "search-method.is-a-method-of-a-search",
    "check.is-made-of-checks",
    "cross.supernet-works-with-strategy",
    "cross-hook.what-is-chosen-survives-hook",
]
"""Plugins name these in ``expected_failures``: add to them, but rename or remove none."""


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate_conformance.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ids_of_checks_are_those_that_plugins_know() -> None:
    assert [check.id for check in all_checks()] == IDS
    assert len(set(IDS)) == len(IDS)


def test_the_page_is_current(generator: ModuleType) -> None:
    written = (DOCS / "conformance.md").read_text(encoding="utf-8")
    assert written == generator.page(), "run: python docs/plugins/generate_conformance.py"


def test_the_page_has_every_check_with_its_promise_and_a_fix(generator: ModuleType) -> None:
    page = generator.page()
    for check in all_checks():
        assert page.count(f"**`{check.id}`**") == 1
        assert generator.fixes(check)
    assert "- Fix: call decision.adopt(memo[label])." in page


def test_the_manifest_on_the_page_declares_what_it_seems_to() -> None:
    text = (DOCS / "conformance.md").read_text(encoding="utf-8")
    (snippet,) = [b for b in text.split("```") if b.startswith("python") and "hookimpl" in b]
    names: dict[str, object] = {}
    exec(snippet.removeprefix("python"), names)
    declared = names["oneshot_conformance"]()  # type: ignore[operator]
    assert isinstance(declared, Conformance)
    assert len(declared.samples) == len(declared.expected_failures) == 2
