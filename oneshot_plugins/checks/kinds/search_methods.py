"""What a method of a search promises to those who call it."""

from __future__ import annotations

import inspect

from ..case import Subject, checks, require

NAMES = ("rank", "pareto", "evaluate", "top_k", "drive_manually", "drive_own_step")
"""The methods of a search that ask the registry."""


def is_a_method_of_a_search(subject: Subject) -> None:
    """Its name ends in that of a method that asks the registry, and it takes the search first."""
    require(
        subject.record.name.rpartition(".")[2] in NAMES,
        f"no search has a method {subject.record.name!r} that asks the registry",
        f"x.NAME, with one of {', '.join(NAMES)} as NAME",
        "rename the component, or make it a function that users import",
    )
    target = subject.load()
    require(
        callable(target) and next(iter(inspect.signature(target).parameters), None) == "search",
        f"{subject.record.id} is {target!r}",
        "a function whose first parameter is named search",
        "write def rank(search, architectures, dataloaders, **options)",
    )


CHECKS = checks("search-method", is_a_method_of_a_search)
