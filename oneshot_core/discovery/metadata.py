"""Read from installed packages' metadata which plugins there are, whatever state it is in.

The only user of ``importlib_metadata``. Its own ``entry_points()`` is not used: one malformed
file of an unrelated package, or an empty folder left by an uninstall, would hide every plugin.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import importlib_metadata
    from packaging.version import Version

_REQUIRES = re.compile(r"^Requires-Dist:[ \t]*(.*\S)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True, order=True)
class EntryPoint:
    """One ``name = value`` line of our group, as written."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution that has entry points of our group.

    ``name`` is normalised (``Oneshot_Plugin.X`` is ``oneshot-plugin-x``); ``requires`` are the
    ``Requires-Dist`` lines as written.
    """

    name: str
    version: str
    requires: tuple[str, ...]
    entry_points: tuple[EntryPoint, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps a plugin, or a part of it, from being used.

    Args:
        subject: the component, distribution, folder or setting it is about.
        state: a state of :class:`~oneshot_core.discovery.Record`; ``"unknown"`` for a name in a
            setting or a manifest that nothing has; ``"missing"`` for what the project requires.
        reason: what is the matter, as half a sentence.
        fix: what to do.
    """

    subject: str
    state: str
    reason: str
    fix: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.state}: {self.reason}. fix: {self.fix}"


@dataclass(frozen=True, slots=True)
class Scan:
    """What one pass over the installed distributions found, in an order of names."""

    distributions: tuple[Distribution, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """One metadata folder, read as far as it can be."""

    path: str
    folder: str
    name: str
    version: str
    entry_points_text: str
    header: str
    source: importlib_metadata.IDistribution


def normalise(name: str) -> str:
    """Return the spelling under which a distribution's name is compared."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def scan(group: str) -> Scan:
    """Return the distributions that have entry points in ``group``, and what is wrong.

    Of several copies of one distribution the first on the path is the one that Python imports
    from, so it wins even if it has no entry points; within one folder the newest version wins.
    The answer does not depend on the order in which the file system lists folders. Whatever is
    wrong with a distribution is reported and hurts that one only.
    """
    problems: list[Problem] = []
    winners: dict[str, _Found] = {}
    result: list[Distribution] = []
    for found in _in_path_order(_read_all(problems)):
        winner = winners.setdefault(found.name, found)
        if winner is found:
            if group in found.entry_points_text:
                result.append(_parse(found, group, problems))
        elif winner.path != found.path and (
            group in found.entry_points_text or group in winner.entry_points_text
        ):
            problems.append(
                Problem(
                    found.path,
                    "shadowed",
                    f"{found.name} {winner.version} comes first on the path, at {winner.path}",
                    f"uninstall one of the two copies of {found.name}",
                )
            )
    return Scan(
        tuple(sorted(result, key=lambda distribution: distribution.name)),
        tuple(sorted(problems, key=lambda problem: (problem.subject, problem.reason))),
    )


def _read_all(problems: list[Problem]) -> Iterator[_Found]:
    """Yield every distribution that says its name; report those that do not."""
    # Here, not at the top: importing it replaces the finder of the standard library's
    # importlib.metadata for the whole process.
    from importlib_metadata import distributions

    sources = iter(distributions())
    folders: dict[str, str] = {}
    while True:
        try:
            source = next(sources)
        except StopIteration:
            return
        except Exception as error:  # somebody's broken finder on sys.meta_path
            problems.append(
                Problem("sys.meta_path", "failed", f"a finder raised {error!r}", "remove it")
            )
            return
        # No public attribute names the metadata folder itself; zip members have a path too.
        place, inner = os.path.split(str(getattr(source, "_path", source)))
        if place not in folders:
            folders[place] = os.path.realpath(place)
        path = os.path.join(folders[place], inner)
        try:
            # Not source.metadata: parsing all of it as an e-mail takes longer than all the rest.
            text = _text(source)
            header = text.partition("\n\n")[0].partition("\r\n\r\n")[0]
            name, version = _field(header, "Name"), _field(header, "Version")
            entry_points_text = source.read_text("entry_points.txt") or ""
        except Exception as error:  # bad UTF-8, an unreadable archive, a foreign class
            reason = f"its metadata cannot be read ({type(error).__name__}: {error})"
            problems.append(Problem(path, "failed", reason, "reinstall that package"))
            continue
        if name:
            found = normalise(name), version, entry_points_text, header, source
            yield _Found(path, folders[place], *found)
        else:
            reason = "it names no distribution: left over from an uninstall"
            problems.append(Problem(path, "stale", reason, "delete that folder"))


def _text(source: importlib_metadata.IDistribution) -> str:
    names = ("METADATA", "PKG-INFO", "")  # of wheels; of eggs; a single file that is all there is
    return next(filter(None, map(source.read_text, names)), "")


def _field(header: str, name: str) -> str:
    match = re.search(rf"^{name}:[ \t]*(.*?)[ \t\r]*$", header, re.MULTILINE | re.IGNORECASE)
    return match.group(1) if match else ""


def _in_path_order(found: Iterable[_Found]) -> list[_Found]:
    folders: dict[str, int] = {}
    items = list(found)
    for item in items:
        folders.setdefault(item.folder, len(folders))
    # Stable sorts, last key first: folders as on the path, then names, newest version first.
    items.sort(key=lambda item: item.path)
    if len({(item.folder, item.name) for item in items}) < len(items):
        items.sort(key=_version, reverse=True)
    items.sort(key=lambda item: (folders[item.folder], item.name))
    return items


def _version(found: _Found) -> Version:
    from packaging.version import InvalidVersion, Version  # slow to import, and rarely needed

    try:
        return Version(found.version)
    except InvalidVersion:
        return Version("0.dev0")


def _parse(found: _Found, group: str, problems: list[Problem]) -> Distribution:
    entry_points: dict[str, EntryPoint] = {}
    for line in _section(found.entry_points_text, group):
        name, separator, value = (part.strip() for part in line.partition("="))
        if not (name and separator and value):
            reason = f"its entry point {line!r} is not of the form name = module"
        elif name in entry_points:
            reason = f"it has two entry points named {name!r}; the first is used"
        else:
            entry_points[name] = EntryPoint(name, value)
            continue
        fix = f"tell the author of {found.name}"
        problems.append(Problem(found.name, "failed", reason, fix))
    try:
        requires = tuple(_REQUIRES.findall(found.header) or found.source.requires or ())
    except Exception as error:
        requires = ()
        reason = f"its requirements cannot be read ({type(error).__name__}: {error})"
        problems.append(Problem(found.name, "failed", reason, f"reinstall {found.name}"))
    return Distribution(found.name, found.version, requires, tuple(sorted(entry_points.values())))


def _section(text: str, group: str) -> Iterator[str]:
    inside = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            inside = line.strip("[] \t") == group
        elif inside and line and not line.startswith(("#", ";")):
            yield line
