"""``pytest --oneshot-conformance DIST``; see :mod:`oneshot_plugins.checks.pytest_plugin`."""

from oneshot_plugins.checks.pytest_plugin import (
    oneshot_registry,
    pytest_addoption,
    pytest_collection_modifyitems,
)

__all__ = ["oneshot_registry", "pytest_addoption", "pytest_collection_modifyitems"]
