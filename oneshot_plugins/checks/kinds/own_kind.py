"""What a check promises to those who read its result."""

from __future__ import annotations

from ..case import Check, Subject, checks, require


def is_made_of_checks(subject: Subject) -> None:
    """It is a ``Check`` or a sequence of them, each about what the component is named after."""
    target = subject.load()
    found = [target] if isinstance(target, Check) else target
    require(
        isinstance(found, (list, tuple))
        and bool(found)
        and all(isinstance(c, Check) for c in found),
        f"{subject.record.id} is {target!r}",
        "a Check, or a list or tuple of them",
        "make it with oneshot_plugins.checks.case.checks(scope, *functions)",
    )
    strange = [check.id for check in found if not check.doc.strip()]
    require(
        not strange,
        f"{', '.join(strange)} says nothing about what it promises",
        "a docstring that is the promise; messages quote it",
        "write one sentence into the function",
    )


CHECKS = checks("check", is_made_of_checks)
