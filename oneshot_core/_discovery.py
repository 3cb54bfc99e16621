"""Read the manifests of installed plugins, each guarded, into records with a state."""

from __future__ import annotations

import importlib
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from types import ModuleType

from packaging.requirements import InvalidRequirement, Requirement

from ._metadata import Distribution, Problem, normalise, scan
from ._records import FIRST_PARTY, MANIFEST, Entry, Record, Restriction
from ._version import __version__
from .errors import PluginError
from .hookspecs import ENTRY_POINT_GROUP, Component, plugin_manager

AUTOLOAD = "ONESHOT_PLUGIN_AUTOLOAD"
ALLOW = "ONESHOT_PLUGINS"
DENY = "ONESHOT_DISABLE_PLUGINS"
STRICT = "ONESHOT_STRICT_PLUGINS"


@dataclass(frozen=True, slots=True, eq=False)
class Discovery:
    """What the installed plugins offer, and what stands in the way.

    ``metadata_problems`` are about installed packages, be they plugins or not.
    """

    entries: tuple[Entry, ...] = ()
    manifests: tuple[tuple[Record, ModuleType], ...] = ()
    restrictions: tuple[Restriction, ...] = ()
    problems: tuple[Problem, ...] = ()
    metadata_problems: tuple[Problem, ...] = ()
    strict: bool = False


def provider_rank(provider: str) -> tuple[bool, str]:
    """Return the sort key of distributions: ``oneshot-core``, then the others by name."""
    return provider != FIRST_PARTY, provider


def discover(environ: Mapping[str, str]) -> Discovery:
    """Read the manifests that the settings in ``environ`` allow; never raises for a plugin."""
    found = scan(ENTRY_POINT_GROUP)
    restrictions = _restrictions(environ)
    entries: list[Entry] = []
    manifests: list[tuple[Record, ModuleType]] = []
    problems: list[Problem] = []
    seen: list[Record] = []
    for distribution in sorted(found.distributions, key=lambda d: provider_rank(d.name)):
        for record in _manifest_records(distribution, problems):
            seen.append(record)
            unread = _unread(record, distribution, restrictions)
            if unread is not None:
                entries.append(Entry(unread))
                continue
            try:
                module, components = _read(record, problems)
            except (Exception, SystemExit) as error:
                entries.append(Entry(_failed(record, error), error=error))
                continue
            manifests.append((record, module))
            offered = [replace(record, component=component) for component in components]
            seen.extend(offered)
            entries.extend(map(Entry, offered))
    problems.extend(_unknown_names(restrictions, seen))
    strict = _is_on(environ.get(STRICT, ""))
    return Discovery(
        tuple(entries), tuple(manifests), restrictions, tuple(problems), found.problems, strict
    )


def import_target(target: str) -> object:
    """Return the object that ``"package.module:Object"`` names."""
    module, _, path = target.partition(":")
    found: object = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found


def describe(error: BaseException, target: str) -> str:
    """Return on one line what was raised and the plugin's last line that took part."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    package = re.split(r"[.:]", target)[0]
    own = re.compile(rf"[\\/]{package}(\.py$|[\\/])")
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename}:{frame.lineno}" for frame in frames if own.search(frame.filename)]
    return f"{text} ({places[-1]})" if places else text


def close_matches(word: str, words: Iterable[str]) -> str:
    """Return up to three words that are spelled nearly like ``word``, or ``""``."""
    return ", ".join(get_close_matches(word, sorted(set(words)), n=3))


def _restrictions(environ: Mapping[str, str]) -> tuple[Restriction, ...]:
    restrictions = []
    deny = _words(environ.get(DENY, ""))
    if deny:
        restrictions.append(Restriction(DENY, deny, keep=False))
    if ALLOW in environ:  # empty is not unset: then only the first party is used
        allow = _words(environ[ALLOW])
        restrictions.append(Restriction(ALLOW, allow, keep=True, spares_first_party=True))
    elif not _is_on(environ.get(AUTOLOAD) or "1"):
        restrictions.append(Restriction(AUTOLOAD, (), keep=True, spares_first_party=True))
    return tuple(restrictions)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in map(str.strip, text.split(",")) if word)


def _is_on(text: str) -> bool:
    return text.strip().lower() not in ("", "0", "false", "no", "off")


def _manifest_records(distribution: Distribution, problems: list[Problem]) -> Iterator[Record]:
    for point in distribution.entry_points:
        name = f"{distribution.name}.{point.name}"
        try:
            component = Component(MANIFEST, name, f"{point.value}:oneshot_components")
        except PluginError:
            reason = f"its entry point {point.name!r} = {point.value!r} does not name a module"
            fix = f"tell the author of {distribution.name}; expected: name = package.module"
            problems.append(Problem(distribution.name, "failed", reason, fix))
        else:
            yield Record(component, distribution.name, distribution.version, point.name)


def _unread(
    record: Record, distribution: Distribution, restrictions: Iterable[Restriction]
) -> Record | None:
    """Return the record of a manifest that must not even be imported."""
    for restriction in restrictions:
        # What it allows by id may be in any manifest: then all have to be read.
        by_id = restriction.keep and any(":" in pattern for pattern in restriction.patterns)
        restricted = restriction.apply(record)
        if restricted is not record and not by_id:
            return restricted
    for line in distribution.requires:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue  # pip refuses such a distribution; here nothing follows from it
        if normalise(requirement.name) != FIRST_PARTY:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if not requirement.specifier.contains(__version__, prereleases=True):
            return replace(
                record,
                state="incompatible",
                reason=f"it needs {FIRST_PARTY}{requirement.specifier}, this is {__version__}",
                fix=f"pip install --upgrade {FIRST_PARTY} {record.provider}",
            )
    return None


def _read(record: Record, problems: list[Problem]) -> tuple[ModuleType, list[Component]]:
    """Import a manifest and ask it for its components."""
    module = importlib.import_module(record.component.target.partition(":")[0])
    manager = plugin_manager()
    manager.register(module)
    callers = manager.get_hookcallers(module) or []
    if not callers:
        raise PluginError(f"{module.__name__} has no function marked with @hookimpl")
    for caller in callers:
        optional = all(impl.optionalhook for impl in caller.get_hookimpls())
        if not caller.has_spec() and not optional:
            known = [name for name, other in vars(manager.hook).items() if other.has_spec()]
            close = close_matches(caller.name, known)
            problems.append(
                Problem(
                    record.id,
                    "unknown",
                    f"it implements {caller.name}, which is no hook of {FIRST_PARTY}",
                    f"did you mean {close}?" if close else f"tell the author of {record.provider}",
                )
            )
    components: list[Component] = []
    for answer in manager.hook.oneshot_components():
        if not isinstance(answer, (list, tuple)):
            raise PluginError(f"oneshot_components() returned {answer!r}, expected a list")
        for component in answer:
            if not isinstance(component, Component) or component.kind == MANIFEST:
                raise PluginError(f"oneshot_components() offers {component!r}, no Component")
            components.append(component)
    return module, components


def _failed(record: Record, error: BaseException) -> Record:
    module = record.component.target.partition(":")[0]
    missing = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    if missing and f"{module}.".startswith(f"{missing}."):
        return replace(
            record,
            state="stale",
            reason=f"its metadata names the module {module}, which does not exist",
            fix=f"reinstall {record.provider}, or pip uninstall {record.provider}",
        )
    return record.failed(describe(error, record.component.target))


def _unknown_names(restrictions: Iterable[Restriction], records: list[Record]) -> Iterator[Problem]:
    for restriction in restrictions:
        for pattern in restriction.patterns:
            if not any(record.matches(pattern) for record in records):
                words = [word for record in records for word in (record.id, record.provider)]
                close = close_matches(pattern, words)
                yield Problem(
                    restriction.source,
                    "unknown",
                    f"nothing that could be read is named {pattern!r}",
                    f"did you mean {close}?" if close else "see `oneshot plugins list --all`",
                )
