"""How a plugin is declared: its entry point, manifest and requirements."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from oneshot_core.discovery import FIRST_PARTY, MANIFEST, close_matches, normalise, scan
from oneshot_core.hookspecs import ENTRY_POINT_GROUP, Conformance

from ..case import NothingToCheckError, Subject, checks, require
from ..fresh import in_fresh_process


def manifest_is_readable(subject: Subject) -> None:
    """The manifest can be imported and offers components; else nothing of it can be used."""
    record = subject.record
    if record.state == "disabled":
        raise NothingToCheckError(record.reason)
    require(
        record.usable,
        f"the manifest is {record.state}: {record.reason}",
        "a module with functions marked with @hookimpl",
        record.fix,
    )


def manifest_is_light(subject: Subject) -> None:
    """The manifest imports neither torch nor Lightning, so that listing plugins stays fast."""
    module = _module(subject)
    found = in_fresh_process(f"import {module}").heavy
    require(
        not found,
        f"importing {module} imports {', '.join(found)}",
        "a manifest that names its components in strings and imports none",
        f"move what needs {found[0] if found else 'it'} into the modules that targets name; the "
        "__init__.py of the package is imported, too, so let it import names when they are used",
    )


def manifest_is_quick(subject: Subject) -> None:
    """The manifest is imported in an instant: every listing of plugins reads all of them."""
    module = _module(subject)
    for attempt in range(3):  # a busy machine is no fault
        fresh = in_fresh_process(f"import {module}", attempt)
        limit = max(0.1, 2 * fresh.yardstick)
        if fresh.seconds <= limit:
            return
    require(
        False,
        f"importing {module} takes {fresh.seconds:.2f} s",
        f"at most {limit:.2f} s",
        "import nothing but oneshot_core.hookspecs there, and compute nothing",
    )


def manifest_is_quiet(subject: Subject) -> None:
    """Importing the manifest prints nothing, for others print their results beside it."""
    module = _module(subject)
    output = in_fresh_process(f"import {module}").output
    require(
        not output,
        f"importing {module} prints {output.splitlines()[:1]}",
        "no output",
        "take the print out, or do it where a component is used",
    )


def hooks_are_known(subject: Subject) -> None:
    """Every function marked with @hookimpl is named after a hook; a misspelt one never runs."""
    _module(subject)
    unknown = [p for p in subject.registry.problems() if p.subject == subject.record.id]
    require(
        not unknown,
        "; ".join(problem.reason for problem in unknown),
        "the names in oneshot_core.hookspecs",
        "; ".join(problem.fix for problem in unknown),
    )


def conformance_is_declared_well(subject: Subject) -> None:
    """What the hook oneshot_conformance declares is about things that exist."""
    from ..kit import all_checks  # here, since it imports this file

    there = all_checks(subject.registry)
    module = importlib.import_module(_module(subject))
    hook = getattr(module, "oneshot_conformance", None)
    if hook is None:
        return
    answer = hook()
    require(
        isinstance(answer, Conformance),
        f"oneshot_conformance() returned {answer!r}",
        "an oneshot_core.hookspecs.Conformance",
        "return Conformance(samples=..., expected_failures=...)",
    )
    records = [r for r in subject.registry.find() if r.kind != MANIFEST]
    ids = {record.id for record in records}
    known = ids | {handled for record in records for handled in record.component.handles}
    for key in answer.samples:
        require(
            key in known,
            f"there are samples for {key!r}, which is no component and handled by none",
            "the id of a component, or what one of them declares to handle",
            f"did you mean {close_matches(key, known) or sorted(ids)}?",
        )
    for pair, reason in answer.expected_failures.items():
        require(
            isinstance(pair, tuple) and len(pair) == 2 and bool(str(reason).strip()),
            f"expected_failures has {pair!r}: {reason!r}",
            "(what is checked, check id): why it fails",
            "write such a pair and a reason",
        )
        name, check = pair
        require(
            any(fnmatchcase(other.id, check) for other in there),
            f"a failure of the check {check!r} is expected, which does not exist",
            "the id of a check, as in the report",
            f"did you mean {close_matches(check, [c.id for c in there]) or there[0].id}?",
        )
        mine = {r.id for r in records if r.provider == subject.record.provider}
        mine |= {record.id for record in subject.registry.manifests()}
        # A pair is named after both: "supernet:a x strategy:b".
        require(
            any(fnmatchcase(id, part) for id in mine for part in name.split(" x ")),
            f"a failure of {name!r} is expected, of which nothing is in this distribution",
            "the id of a component of its own, or of a pair with one, as in the report",
            f"did you mean {close_matches(name, mine) or sorted(mine)}?",
        )


def core_version_is_bounded(subject: Subject) -> None:
    """The distribution says which versions of oneshot-core it works with, and where they end.

    Before 1.0 every minor version may change the API. With a bound a plugin that is too old is
    listed as incompatible; without, it fails somewhere in a search.
    """
    provider = subject.record.provider
    if provider == FIRST_PARTY:
        raise NothingToCheckError("it is oneshot-core")
    lines = next(d.requires for d in scan(ENTRY_POINT_GROUP).distributions if d.name == provider)
    bounds = [bound for line in lines for bound in _bounds(line)]
    require(
        any(operator in ("<", "<=", "~=", "==", "===") for operator in bounds),
        f"{provider} requires {'oneshot-core without an upper bound' if bounds else list(lines)}",
        "a requirement such as oneshot-core>=0.1,<0.2",
        "add it to dependencies in pyproject.toml and install the package again",
    )


def installs_its_packages_only(subject: Subject) -> None:
    """It installs no ``tests`` or other name beside its packages, which others would overwrite."""
    provider = subject.record.provider
    try:
        files = importlib.metadata.distribution(provider).files or []
    except Exception:  # metadata of its own is none of ours to judge
        files = []
    if not any(file.suffix == ".py" for file in files):
        raise NothingToCheckError("its metadata lists no modules, as after an editable install")
    stray = sorted({file.parts[0] for file in files} & STRAY)
    require(
        not stray,
        f"{provider} installs {', '.join(stray)} into site-packages",
        "nothing but packages of its own name",
        "name the packages in pyproject.toml, such as packages = ['src/oneshot_plugin_x'] under "
        "[tool.hatch.build.targets.wheel]",
    )


def is_typed(subject: Subject) -> None:
    """Its package has a ``py.typed``, so that type checkers see the types of components."""
    package = _module(subject).partition(".")[0]
    spec = importlib.util.find_spec(package)
    folders: Iterable[str] = (spec.submodule_search_locations if spec else None) or ()
    if not folders:
        raise NothingToCheckError("its manifest is in no package")
    require(
        any(Path(folder, "py.typed").is_file() for folder in folders),
        f"the package {package} has no py.typed",
        "an empty file of that name beside __init__.py",
        "add it; most build backends put it into the wheel by themselves",
    )


STRAY = {
    "benchmarks", "conftest.py", "docs", "examples", "scripts", "setup.py", "src", "test", "tests",
}  # fmt: skip
"""Names that everybody has in a project, and that belong into no wheel."""


def _module(subject: Subject) -> str:
    """Return the name of the manifest's module, if it can be read."""
    if not subject.record.usable:
        raise NothingToCheckError("it is not readable; see packaging.manifest-is-readable")
    return subject.record.component.target.partition(":")[0]


def _bounds(line: str) -> list[str]:
    """Return the operators with which a Requires-Dist line bounds oneshot-core."""
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return []
    if normalise(requirement.name) != FIRST_PARTY:
        return []
    return [specifier.operator for specifier in requirement.specifier] or [""]


CHECKS = (
    *checks(
        "packaging",
        manifest_is_readable,
        manifest_is_light,
        hooks_are_known,
        conformance_is_declared_well,
        core_version_is_bounded,
        installs_its_packages_only,
    ),
    *checks("packaging", manifest_is_quick, manifest_is_quiet, is_typed, level="recommended"),
)
