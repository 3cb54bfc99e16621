"""Check that components keep what their kind promises: in a program, in pytest, in CI.

Three ways to run the same checks:

- ``oneshot plugins check oneshot-plugin-x``;
- ``pytest --oneshot-conformance oneshot-plugin-x``, without any test code;
- :func:`check` in a program, or :mod:`oneshot_core.testing.suite` in a test module.

Importing this loads no torch; running a check does.
"""

from __future__ import annotations

from oneshot_core.discovery import FIRST_PARTY, Registry, default_registry
from oneshot_core.hookspecs import Conformance

from .capabilities import Capability, capabilities
from .case import Case, Check, Sample, same_each_time
from .plan import plan
from .report import Report, Result

__all__ = [
    "Capability",
    "Case",
    "Check",
    "Report",
    "Result",
    "Sample",
    "all_checks",
    "capabilities",
    "cases",
    "check",
    "same_each_time",
]


def check(
    *names: str, registry: Registry | None = None, declared: Conformance | None = None
) -> Report:
    """Run every check that applies to some components.

    Args:
        *names: distributions and components (``"kind:name"``), or globs of them; without any,
            everything that is installed or registered.
        registry: where they are looked up. None takes the default.
        declared: what plugins declare by the hook ``oneshot_conformance``, for components that
            a program registers.

    Raises:
        UnknownComponentError: nothing has one of the names.
    """
    return Report(tuple(case.run() for case in cases(*names, registry=registry, declared=declared)))


def cases(
    *names: str, registry: Registry | None = None, declared: Conformance | None = None
) -> list[Case]:
    """Return what :func:`check` would run, in order, to be run one by one."""
    registry = default_registry() if registry is None else registry
    checked = registry
    return plan(names, registry, lambda: all_checks(checked), declared or Conformance())


def all_checks(registry: Registry | None = None) -> tuple[Check, ...]:
    """Return every check there is: the components of the kind ``check``, in their order.

    Args:
        registry: whose checks count. The installed ones are added where it has none of our own,
            as a registry that a program fills. Imports torch.
    """
    registries = [default_registry()] if registry is None else [registry]
    # The default registry is asked only where it is needed: its first question reads the
    # settings of the folder that the process happens to be in, and keeps them.
    if registry is not None and not registry.find("check", FIRST_PARTY):
        registries = [default_registry(), registry]
    found: dict[str, Check] = {}
    for each in registries:
        for record in each.ordered("check"):
            loaded = each.load(record.id)
            several = loaded if isinstance(loaded, (list, tuple)) else [loaded]
            # What is no check fails one of its own, and checks nothing.
            found |= {c.id: c for c in several if isinstance(c, Check)}
    return tuple(found.values())
