"""What a command promises to the command line."""

from __future__ import annotations

import argparse

from oneshot_core.discovery import REGISTERED

from ..case import NothingToCheckError, Subject, checks, require
from ..fresh import in_fresh_process


def name_is_free(subject: Subject) -> None:
    """Its name is one word, or ``plugins.`` and a word, and not that of a built-in command."""
    name = subject.record.name
    group, _, word = name.rpartition(".")
    require(
        group in BUILT_IN and word not in BUILT_IN[group],
        f"`oneshot {name.replace('.', ' ')}` cannot be this command",
        f"a name such as noise-report, not in {sorted(BUILT_IN[''])}; or plugins.NAME",
        "rename the component",
    )


def declares_arguments(subject: Subject) -> None:
    """It is an object with ``add_arguments(parser)`` and ``run(args)``, and its help is written."""
    command = subject.load()
    methods = [getattr(command, name, None) for name in ("add_arguments", "run")]
    require(
        not isinstance(command, type) and all(map(callable, methods)),
        f"{subject.record.id} is {command!r}",
        "a module or an object with add_arguments(parser) and run(args) -> int",
        "name such an object in the target; of a class, an instance",
    )
    parser = argparse.ArgumentParser(prog=subject.record.name)
    command.add_arguments(parser)
    parser.format_help()  # where argparse reads what is written in it


def help_needs_no_torch(subject: Subject) -> None:
    """Its help is shown at once: neither torch nor Lightning is imported before ``run``."""
    if subject.record.provider == REGISTERED:
        raise NothingToCheckError("a program registered it, so it is imported already")
    module, _, path = subject.record.component.target.partition(":")
    found = in_fresh_process(
        f"import argparse, {module}; {module}.{path}.add_arguments(argparse.ArgumentParser())"
    ).heavy
    require(
        not found,
        f"showing its help imports {', '.join(found)}",
        "a module that imports them when the command runs",
        "move those imports into run",
    )


BUILT_IN = {"": {"plugins"}, "plugins": {"list", "info", "order", "doctor"}}
"""Group of commands -> names of those that are not plugins."""

CHECKS = checks("command", name_is_free, declares_arguments, help_needs_no_torch)
