"""Read the manifests of installed plugins, each guarded, into records with a state."""

from __future__ import annotations

import importlib
import inspect
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from types import ModuleType

from .._version import __version__
from ..errors import PluginError
from ..hookspecs import ENTRY_POINT_GROUP, KINDS, Component, plugin_manager
from .metadata import Distribution, Problem, scan
from .records import FIRST_PARTY, MANIFEST, Entry, Record, Restriction
from .requirements import required_name, unmet
from .settings import ProjectFile, Settings, is_essential, read_settings, refuse_essential


@dataclass(frozen=True, slots=True, eq=False)
class Discovery:
    """What the installed plugins offer, and what stands in the way.

    ``missing`` are the problems of what the project requires, which are among ``problems``, too;
    ``metadata_problems`` are about installed packages, be they plugins or not.
    """

    entries: tuple[Entry, ...] = ()
    manifests: tuple[tuple[Record, ManifestHooks], ...] = ()
    settings: Settings = field(default_factory=Settings)
    problems: tuple[Problem, ...] = ()
    missing: tuple[Problem, ...] = ()
    metadata_problems: tuple[Problem, ...] = ()


class ManifestHooks:
    """The hook functions of one manifest, as pluggy wants them.

    Not the module itself: pluggy 1.6 touches all names of what it registers, which would import
    whatever a lazy module offers, and takes two equal objects for one.

    Args:
        manifest: what the entry point names: a module, or what it put in its place.
    """

    def __init__(self, manifest: object) -> None:
        self.manifest = manifest
        names = vars(manifest) if isinstance(manifest, ModuleType) else dir(manifest)
        for name in list(names):
            found = getattr(manifest, name)
            if inspect.isroutine(found) and hasattr(found, f"{ENTRY_POINT_GROUP}_impl"):
                self.__dict__[name] = found


def provider_rank(provider: str) -> tuple[bool, str]:
    """Return the sort key of distributions: ``oneshot-core``, then the others by name."""
    return provider != FIRST_PARTY, provider


def discover(environ: Mapping[str, str], project: ProjectFile) -> Discovery:
    """Read the manifests that the settings allow; never raises for a plugin.

    Raises:
        PluginSettingsError: the settings cannot be followed.
    """
    settings = read_settings(environ, project)
    found = scan(ENTRY_POINT_GROUP)
    entries: list[Entry] = []
    manifests: list[tuple[Record, ManifestHooks]] = []
    problems = list(settings.problems)
    seen: list[Record] = []
    for distribution in sorted(found.distributions, key=lambda d: provider_rank(d.name)):
        for record in _manifest_records(distribution, problems):
            seen.append(record)
            unread = _unread(record, distribution, settings.restrictions)
            if unread is not None:
                entries.append(Entry(unread))
                continue
            try:
                hooks, components = _read(record, problems)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # sys.exit, and panics of Rust, are no Exception
                entries.append(Entry(_failed(record, error), error=error))
                continue
            manifests.append((record, hooks))
            offered = [replace(record, component=component) for component in components]
            seen.extend(offered)
            entries.extend(map(Entry, offered))
    problems.extend(_unknown_kinds(seen))
    problems.extend(_unknown_names(settings, seen))
    missing = tuple(_missing(settings, found.distributions, [entry.record for entry in entries]))
    problems.extend(missing)
    return Discovery(
        tuple(entries), tuple(manifests), settings, tuple(problems), missing, found.problems
    )


@contextmanager
def reading(thread: threading.local) -> Iterator[None]:
    """Refuse that a manifest, while it is read, asks the registry that reads it.

    Raises:
        PluginError: this thread is already inside the context.
    """
    if getattr(thread, "discovering", False):
        raise PluginError(
            "a plugin's manifest asked the registry that is just reading it",
            expected="a manifest that only declares",
            fix="ask the registry in a component's target, when it is used",
        )
    thread.discovering = True
    try:
        yield
    finally:
        thread.discovering = False


def import_target(target: str) -> object:
    """Return the object that ``"package.module:Object"`` names."""
    module, _, path = target.partition(":")
    found: object = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found


def describe(error: BaseException, target: str) -> str:
    """Return on one line what was raised and the plugin's last line that took part."""
    import traceback  # slow to import, and needed if something is broken only

    text = " ".join(f"{type(error).__name__}: {error}".split())
    package = re.split(r"[.:]", target)[0]
    own = re.compile(rf"[\\/]{package}(\.py$|[\\/])")
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename}:{frame.lineno}" for frame in frames if own.search(frame.filename)]
    return f"{text} ({places[-1]})" if places else text


def close_matches(word: str, words: Iterable[str]) -> str:
    """Return up to three words that are spelled nearly like ``word``, or ``""``."""
    return ", ".join(get_close_matches(word, sorted(set(words)), n=3))


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
        versions = unmet(line, FIRST_PARTY, __version__)
        if versions:
            return replace(
                record,
                state="incompatible",
                reason=f"it needs {FIRST_PARTY}{versions}, this is {__version__}",
                fix=f"pip install --upgrade {FIRST_PARTY} {record.provider}",
            )
    return None


def _read(record: Record, problems: list[Problem]) -> tuple[ManifestHooks, list[Component]]:
    """Import a manifest and ask it for its components."""
    name = record.component.target.partition(":")[0]
    hooks = ManifestHooks(importlib.import_module(name))
    manager = plugin_manager()
    manager.register(hooks)
    callers = manager.get_hookcallers(hooks) or []
    if not callers:
        raise PluginError(f"{name} has no function marked with @hookimpl")
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
    return hooks, components


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


def _unknown_kinds(records: Iterable[Record]) -> Iterator[Problem]:
    """Report kinds that are nearly one of the core's; others are a plugin's own."""
    for record in records:
        if record.kind != MANIFEST and record.kind not in KINDS:
            for meant in get_close_matches(record.kind, KINDS, n=1, cutoff=0.85):
                yield Problem(
                    record.id,
                    "unknown",
                    f"{record.source}: nothing asks for the kind {record.kind!r}",
                    f"did you mean {meant!r}? tell the author of {record.provider}",
                )


def _unknown_names(settings: Settings, records: list[Record]) -> Iterator[Problem]:
    """Report names in settings that nothing has.

    Raises:
        PluginSettingsError: what belongs to the core is to be switched off.
    """
    named = [(r.source, pattern, r.keep) for r in settings.restrictions for pattern in r.patterns]
    named += [(f"order in {settings.project}", id, True) for id in settings.order]
    for source, pattern, keep in named:
        if any(record.matches(pattern) for record in records):
            continue
        if is_essential(pattern):
            if not keep:
                raise refuse_essential(source, pattern)
            fix = "leave it out: it belongs to the core and is always in use"
        else:
            close = close_matches(pattern, (w for r in records for w in (r.id, r.provider)))
            fix = f"did you mean {close}?" if close else "see `oneshot plugins list --all`"
        yield Problem(source, "unknown", f"nothing that could be read is named {pattern!r}", fix)


def _missing(
    settings: Settings, distributions: Iterable[Distribution], records: list[Record]
) -> Iterator[Problem]:
    """Report what the project requires and does not get."""
    installed = {distribution.name: distribution for distribution in distributions}
    for line in settings.required:
        name = required_name(line)
        found = installed.get(name)
        fix = f"pip install {line!r}"
        unread = [r for r in records if r.provider == name and r.kind == MANIFEST]
        if found is None:
            close = close_matches(name, installed)
            reason = "no such plugin is installed" + (f"; there is {close}" if close else "")
        elif unmet(line, name, found.version):
            reason = f"{found.version} is installed"
        elif unread:
            reason, fix = f"it is {unread[0].state}: {unread[0].reason}", unread[0].fix
        else:
            continue
        yield Problem(f"required in {settings.project}", "missing", f"{line}: {reason}", fix)
