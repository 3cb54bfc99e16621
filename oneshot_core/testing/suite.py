"""The checks as tests of a module of yours; see :mod:`oneshot_plugins.checks.suite`."""

from oneshot_plugins.checks.suite import pytest_generate_tests, test_conformance

__all__ = ["pytest_generate_tests", "test_conformance"]
