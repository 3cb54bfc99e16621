"""The checks as tests of a module of yours, to be selected and extended like others.

In ``tests/test_conformance.py`` of a plugin::

    from oneshot_core.testing.suite import *

    conformance = "oneshot-plugin-noise"  # or a list of distributions and component ids

gives one test for each check of each component.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from oneshot_core.errors import ConformanceError, UnknownComponentError

from .case import Case
from .kit import cases

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["pytest_generate_tests", "test_conformance"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make the tests: one for each case of what the module names."""
    if metafunc.definition.name != test_conformance.__name__:
        return
    names: str | Sequence[str] | None = getattr(metafunc.module, "conformance", None)
    if not names:
        pytest.fail(
            f"{metafunc.module.__name__} does not say what to check.\n"
            "  expected: conformance = 'your-distribution' beside the import of this suite\n"
            "  fix: add that line",
            pytrace=False,
        )
    try:
        found = cases(*([names] if isinstance(names, str) else names))
    except UnknownComponentError as error:
        pytest.fail(f"{metafunc.module.__name__}: {error}", pytrace=False)
    metafunc.parametrize("case", found, ids=str)


def test_conformance(case: Case) -> None:
    """Run one check and report it as pytest reports tests."""
    report(case)


def report(case: Case) -> None:
    """Run a case; raise, skip or xfail as its result says.

    Raises:
        ConformanceError: it failed.
    """
    __tracebackhide__ = True
    result = case.run()
    if result.outcome == "failed":
        trace = f"\n\n{result.traceback}" if result.traceback else ""
        raise ConformanceError(result.message + trace)
    if result.outcome == "skipped":
        pytest.skip(result.message)
    if result.outcome == "expected":
        pytest.xfail(result.message)
    if result.outcome == "advice":
        pytest.xfail(f"recommended: {result.message}")
