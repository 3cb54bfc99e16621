"""Know every plugin component: what there is, whose it is, in which state, in which order.

Nothing is looked up at import: the first question to a registry reads the installed metadata
and the plugins' manifests, and a component's target is imported when it is first loaded. What
is broken is a record with a state and a reason; it raises only when it is asked for by name.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload
from weakref import WeakSet

import pluggy

from ..errors import DuplicateComponentError, PluginError, PluginLoadError, UnknownComponentError
from ..hookspecs import Component, plugin_manager
from ..tables import Table
from .manifests import (
    Discovery,
    ManifestHooks,
    close_matches,
    describe,
    discover,
    import_target,
    provider_rank,
)
from .metadata import Problem, normalise
from .records import MANIFEST, REGISTERED, Entry, Record, Restriction, Snapshot, State, restricted
from .settings import STRICT, ProjectFile, is_essential, refuse_essential

if TYPE_CHECKING:
    from torch import nn

    from ..hooks import MutationHook
    from ..searching import Searcher
    from ..supernet import BaseSuperNetModule

__all__ = ["Problem", "Record", "Registry", "Snapshot", "State", "default_registry"]

T = TypeVar("T")

WALK = ("mutation_hook", "supernet")
"""Kinds that the walk asks, in one order."""

_living: WeakSet[Registry] = WeakSet()


class Registry:
    """All components: those of installed plugins and those a program registers.

    Safe to use from several threads; imports happen outside its lock. ``registry["kind:name"]``,
    ``in``, ``len`` and iteration (over ids) work as on a mapping, whatever the states.

    At discovery these environment variables are read, and from the nearest ``pyproject.toml``,
    looked for from the working directory upwards, the table ``[tool.oneshot.plugins]``. Patterns
    (in variables separated by commas, in the table a list) may be globs; one without a colon is
    for distributions, one with a colon for components (``kind:name``, or
    ``kind:name@distribution``) or a single manifest (``manifest:distribution.entry-point``).

    ============================  ==========================================================
    ``ONESHOT_PLUGIN_AUTOLOAD``   ``0``: only ``oneshot-core`` and what the next one names
    ``ONESHOT_PLUGINS``           use only what it names, and ``oneshot-core``
    ``ONESHOT_DISABLE_PLUGINS``   never use what it names; beats the others
    ``ONESHOT_STRICT_PLUGINS``    ``1``: raise if any plugin has a problem
    ``ONESHOT_TRACE_PLUGINS``     ``1``: show each call of a hook on stderr
    ``allow = [...]``             as ``ONESHOT_PLUGINS``, which beats it
    ``deny = [...]``              as ``ONESHOT_DISABLE_PLUGINS``; both count
    ``order = [...]``             these ids come first in the order of use
    ``required = [...]``          requirements (``"oneshot-plugin-x>=0.4"``) on plugins; a
                                  search raises if one is missing or not in use
    ============================  ==========================================================

    Naming ``oneshot-core`` in a denial switches off the plugins that come with it (all of
    ``oneshot_plugins``). The core itself has no switch: ``no_default_hook`` and the six shapes of
    ``configure_optimizers`` are always in use, and a denial that names them is an error.

    Args:
        entry_points: look for installed plugins; without, the registry starts empty and reads
            no settings.
        environ: settings to read instead of the process environment.
        project: the ``pyproject.toml`` to read; True for the nearest one, False for none.
    """

    def __init__(
        self,
        entry_points: bool = True,
        environ: Mapping[str, str] | None = None,
        project: ProjectFile = True,
    ) -> None:
        self._environ = environ
        self._project = project
        self._lock = threading.RLock()
        self._entry_points = entry_points
        self._discovery = None if entry_points else Discovery()
        self._thread = threading.local()
        self._registered: tuple[Entry, ...] = ()
        self._restrictions: tuple[Restriction, ...] = ()
        self._relay: pluggy.HookRelay | None = None
        _living.add(self)

    def find(
        self,
        kind: str | None = None,
        provider: str | None = None,
        handles: str | type | None = None,
        state: State | None = None,
    ) -> list[Record]:
        """Return every record that fits, in the order in which names are claimed.

        Args:
            kind: exactly this kind.
            provider: this distribution; may be a glob.
            handles: what the component must declare to handle: a string as declared, or a
                class, which also fits what handles one of its bases.
            state: exactly this state.
        """
        return [
            record
            for _, record in self._resolve()
            if (kind is None or record.kind == kind)
            and (provider is None or fnmatchcase(record.provider, normalise(provider)))
            and (handles is None or record.handles(handles))
            and (state is None or record.state == state)
        ]

    def ordered(self, *kinds: str) -> list[Record]:
        """Return the usable records of some kinds (default: all), in the order of use.

        Those that the project's ``order`` names, as it names them; then by priority, largest
        first; then ``oneshot-core``, then other distributions by name; then by kind and name.
        Nothing else has an influence.
        """
        first = {id: place for place, id in enumerate(self._discovered().settings.order)}
        usable = [r for r in self.find() if r.usable and (not kinds or r.kind in kinds)]
        return sorted(
            usable,
            key=lambda r: (
                first.get(r.id, len(first)),
                -r.component.priority,
                *provider_rank(r.provider),
                r.kind,
                r.name,
            ),
        )

    def explain_order(self, *kinds: str) -> str:
        """Return :meth:`ordered` as text: position, priority, provider and id per line.

        Mutation hooks and supernet modules are asked by the walk, so for one of these kinds the
        text is about both, and says who is asked before and after them. Without kinds there is
        one part for each.
        """
        asked = kinds or (*WALK, *self.kinds())
        parts: dict[tuple[str, ...], None]
        parts = dict.fromkeys(WALK if kind in WALK else (kind,) for kind in asked)
        if kinds and not set(kinds) & set(WALK):
            parts = dict.fromkeys([kinds])
        return "\n\n".join(filter(None, map(self._explained, parts)))

    def _explained(self, kinds: tuple[str, ...]) -> str:
        settings = self._discovered().settings
        lines = [
            f"{position:>3} {record.component.priority:>+5}  {record.provider:<24}  {record.id}"
            + (f"  (order in {settings.project})" if record.id in settings.order else "")
            for position, record in enumerate(self.ordered(*kinds), start=1)
        ]
        if kinds == WALK:
            lines = [
                "the walk asks for every module, in this order, until a hook suppresses the rest:",
                "user      mutation_hooks=[...] of the search, as given",
                "strategy  first_mutation_hooks() of the strategy",
                *(f"plugin  {line}" for line in lines),
                "strategy  default_mutation_hooks() of the strategy",
                "core      no_default_hook, which refuses a choice that nobody replaced; it cannot",
                "          be switched off, but a strategy may answer before it",
            ]
        return "\n".join(lines)

    def kinds(self) -> list[str]:
        """Return the kinds of which there is something usable, sorted."""
        return sorted({record.kind for record in self.find() if record.usable})

    def names(self, kind: str) -> list[str]:
        """Return the names of the usable components of a kind, sorted."""
        return sorted(record.name for record in self.find(kind) if record.usable)

    def get(self, id_or_kind: str, name: str | None = None) -> Record:
        """Return the record of ``"kind:name"``, or of a kind and a name, whatever its state.

        Raises:
            UnknownComponentError: there is none; the message lists what there is.
        """
        return self._entry(id_or_kind, name)[1]

    @overload
    def load(self, id_or_kind: Literal["strategy"], name: str) -> type[Any]: ...
    @overload
    def load(self, id_or_kind: Literal["supernet"], name: str) -> type[BaseSuperNetModule]: ...
    @overload
    def load(self, id_or_kind: Literal["mutation_hook"], name: str) -> MutationHook: ...
    @overload
    def load(self, id_or_kind: Literal["cost"], name: str) -> Callable[..., float]: ...
    @overload
    def load(self, id_or_kind: Literal["space"], name: str) -> Callable[..., nn.Module]: ...
    @overload
    def load(self, id_or_kind: Literal["searcher"], name: str) -> Searcher: ...
    @overload
    def load(self, id_or_kind: str, name: str | None = None) -> Any: ...
    def load(self, id_or_kind: str, name: str | None = None) -> Any:
        """Import what ``"kind:name"``, or a kind and a name, stands for and return it.

        A component that failed before is tried again. To type checkers, a kind written out and
        a name give the type of that kind; whether it is kept to, the conformance checks say.

        Raises:
            UnknownComponentError: there is none; the message lists what there is.
            PluginLoadError: it is there but cannot be used, from the error that says why.
        """
        entry, record = self._entry(id_or_kind, name)
        if not record.claims_name or record.kind == MANIFEST:
            raise _load_error(record) from entry.error
        if not entry.objects:
            target = record.component.target
            # Outside the lock: another thread may be importing a module that asks us something.
            try:
                loaded = import_target(target)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # sys.exit, and panics of Rust, are no Exception
                record = entry.record.failed(describe(error, target))
                with self._lock:
                    entry.record, entry.error = record, error
                raise _load_error(record) from error
            with self._lock:
                if not entry.objects:
                    entry.objects.append(loaded)
                entry.record = replace(entry.record, state="loaded", reason="", fix="")
        return entry.objects[0]

    def problems(self) -> list[Problem]:
        """Return what keeps plugins, or parts of them, from being used.

        Being disabled, and being overridden by ``register(..., override=True)``, is wanted and
        so no problem.
        """
        discovery = self._discovered()
        return [*self._plugin_problems(discovery), *discovery.metadata_problems]

    def require(self) -> None:
        """Raise unless everything is in use that the project's ``required`` names.

        Called before a search changes a model.

        Raises:
            PluginLoadError: naming each that is missing, of a wrong version, or not in use.
        """
        missing = self._discovered().missing
        if missing:
            raise PluginLoadError(
                "this project requires plugins that are not there:\n"
                + "".join(f"  {problem}\n" for problem in missing)
                + "  expected: all that the file requires, installed and in use\n"
                f"  fix: {'; '.join(problem.fix for problem in missing)}"
            )

    def missing(self) -> list[Problem]:
        """Return the problems of what the project requires, which :meth:`require` raises."""
        return list(self._discovered().missing)

    def manifests(self) -> list[Record]:
        """Return the records of the manifests that were read and are in use."""
        return [record for record, _ in self._active_manifests()]

    def fingerprint(self) -> str:
        """Return a hash of what can influence a search: equal where the same plugins are in use.

        Covers usable components (but no commands) and plugins that listen to events, with
        provider, version, target and priority; loading something changes nothing.
        """
        import hashlib  # takes long to import, and listing does without

        facts = [
            [r.id, r.provider, r.version, r.component.target, r.component.priority]
            for r in self.ordered()
            if r.kind != "command"
        ]
        facts += [[r.id, r.provider, r.version] for r, _ in self._active_manifests()]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return f"oneshot1:{digest[:16]}"

    def snapshot(self) -> Snapshot:
        """Return everything that is known now, frozen."""
        return Snapshot(tuple(self.find()), tuple(self.problems()), self.fingerprint())

    @property
    def hook(self) -> pluggy.HookRelay:
        """The plugins' event hooks: ``registry.hook.oneshot_before_mutation(model=..., ...)``.

        Calls the plugins in use, ``oneshot-core`` first and then by name; restricting the
        registry to single components leaves out the events of their plugin.
        """
        relay = self._relay
        if relay is None:
            manager = plugin_manager()
            known: list[object] = []
            for record, hooks in reversed(self._active_manifests()):  # pluggy calls last first
                if not any(hooks.manifest is manifest for manifest in known):
                    known.append(hooks.manifest)
                    manager.register(hooks, record.name)
            if self._discovered().settings.trace:
                manager.add_hookcall_monitoring(lambda *_: None, _trace)
            relay = self._relay = manager.hook
        return relay

    def __getitem__(self, id: str) -> Record:
        return self.get(id)

    def __contains__(self, id: object) -> bool:
        return any(record.id == id for record in self.find())

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(record.id for record in self.find()))

    def __len__(self) -> int:
        return len({record.id for record in self.find()})

    def _repr_html_(self) -> str:
        found = [record.as_dict() for record in self.find()]
        names = ["id", "provider", "version", "state", "summary"]
        names += ["reason"] if any(row["reason"] for row in found) else []
        return Table(names, [[str(row[name]) for name in names] for row in found]).html()

    @overload
    def register(self, component: Component, /, *, override: bool = False) -> Component: ...
    @overload
    def register(
        self,
        kind: str,
        name: str,
        target: T,
        /,
        *,
        summary: str = "",
        handles: tuple[str, ...] = (),
        priority: int = 0,
        override: bool = False,
    ) -> T: ...
    @overload
    def register(
        self,
        kind: str,
        name: str,
        /,
        *,
        summary: str = "",
        handles: tuple[str, ...] = (),
        priority: int = 0,
        override: bool = False,
    ) -> Callable[[T], T]: ...
    def register(self, *args: Any, override: bool = False, **details: Any) -> Any:
        """Add a component from a program: a notebook, a script, a test.

        ``register(component)``, ``register(kind, name, target)``, or as decorator
        ``@register(kind, name)``. ``target`` is the object itself or, as in a manifest,
        ``"package.module:Object"``. Returns what was registered.

        Args:
            *args: a :class:`Component`, or kind, name and target.
            override: take the name from whoever has it, who is then ``"shadowed"``.
            **details: ``summary``, ``handles`` and ``priority`` of the component.

        Raises:
            DuplicateComponentError: the name is taken and ``override`` is not set.
            PluginError: the component is malformed.
        """
        match args:
            case (Component() as component,):
                self._add(Entry(Record(component, REGISTERED, "", ""), overrides=override))
                return component
            case (kind, name):
                return lambda target: self.register(
                    kind, name, target, override=override, **details
                )
            case (kind, name, target):
                path = target if isinstance(target, str) else _path_of(target)
                record = Record(Component(kind, name, path, **details), REGISTERED, "", "")
                if isinstance(target, str):
                    self._add(Entry(record, overrides=override))
                else:
                    self._add(Entry(replace(record, state="loaded"), [target], overrides=override))
                return target
        raise TypeError(f"register() takes 1 to 3 positional arguments, got {len(args)}")

    def _add(self, entry: Entry) -> None:
        discovery = self._discovered()  # may import, so not inside the lock
        with self._lock:
            id = entry.record.id
            holders = (r for _, r in self._resolve(discovery) if r.id == id and r.claims_name)
            holder = next(holders, None)
            if holder is not None and not entry.overrides:
                raise DuplicateComponentError(
                    f"{id} is already there, from {holder.source} ({holder.component.target}).\n"
                    "  expected: a name that nothing has\n"
                    "  fix: choose another name, unregister it, or pass override=True"
                )
            self._registered = (*self._registered, entry)

    def unregister(self, id_or_kind: str, name: str | None = None) -> None:
        """Take back the latest :meth:`register` of a component.

        Raises:
            UnknownComponentError: no program has registered it.
        """
        id = _id(id_or_kind, name)
        with self._lock:
            mine = [entry for entry in self._registered if entry.record.id == id]
            if not mine:
                raise UnknownComponentError(
                    f"{id!r} was not registered by a program.\n"
                    f"  expected: one of {[entry.record.id for entry in self._registered]}\n"
                    f"  fix: for an installed plugin's component use disable({id!r})"
                )
            self._registered = tuple(e for e in self._registered if e is not mine[-1])

    def disable(self, *patterns: str) -> AbstractContextManager[object]:
        """Switch off what the patterns name, for good or inside ``with``.

        Args:
            *patterns: distributions, ids, or globs of them; see the class.

        Raises:
            UnknownComponentError: nothing has a name that is given without wildcards.
            PluginSettingsError: it belongs to the core, such as ``no_default_hook``.
        """
        return self._restrict(_restriction("disable", patterns, keep=False))

    def only(self, *patterns: str) -> AbstractContextManager[object]:
        """Switch off all but what the patterns name, for good or inside ``with``.

        Args:
            *patterns: distributions, ids, or globs of them; see the class.

        Raises:
            UnknownComponentError: nothing has a name that is given without wildcards.
        """
        return self._restrict(_restriction("only", patterns, keep=True))

    def refresh(self) -> None:
        """Look for installed plugins anew, with the settings of now.

        For a notebook after ``pip install``. What was registered and restricted by the program
        stays; modules that are already imported are not imported again.
        """
        importlib.invalidate_caches()
        with self._lock:
            self._discovery = None if self._entry_points else Discovery()
            self._relay = None

    def _restrict(self, restriction: Restriction) -> AbstractContextManager[object]:
        records = [
            *(record for _, record in self._resolve()),
            *(record for record, _ in self._discovered().manifests),
        ]
        for pattern in restriction.patterns:
            known = any(record.matches(pattern) for record in records)
            if not known and not restriction.keep and is_essential(pattern):
                raise refuse_essential(restriction.source, pattern)
            if not known and not set("*?[") & set(pattern):
                raise self._unknown(pattern)
        with self._lock:
            self._restrictions = (*self._restrictions, restriction)
            self._relay = None
        undo = ExitStack()
        undo.callback(self._lift, restriction)
        return undo

    def _lift(self, restriction: Restriction) -> None:
        with self._lock:
            self._restrictions = tuple(r for r in self._restrictions if r is not restriction)
            self._relay = None

    def _discovered(self) -> Discovery:
        if self._discovery is not None:
            return self._discovery
        if getattr(self._thread, "discovering", False):
            raise PluginError(
                "a plugin's manifest asked the registry that is just reading it.\n"
                "  expected: a manifest that only declares\n"
                "  fix: ask the registry in a component's target, when it is used"
            )
        self._thread.discovering = True
        try:
            # Outside the lock, see load(); if two threads get here, one of their answers counts.
            environ = os.environ if self._environ is None else self._environ
            found = discover(environ, self._project)
        finally:
            self._thread.discovering = False
        problems = self._plugin_problems(found) if found.settings.strict else []
        if problems:
            errors = [entry.error for entry in found.entries if entry.error is not None]
            raise PluginLoadError(
                f"{STRICT} is set and there are problems with plugins:\n"
                + "".join(f"  {problem}\n" for problem in problems)
                + "  expected: no problems\n"
                f"  fix: as above, or unset {STRICT}"
            ) from next(iter(errors), None)
        with self._lock:
            if self._discovery is None:
                self._discovery = found
            return self._discovery

    def _resolve(self, discovery: Discovery | None = None) -> list[tuple[Entry, Record]]:
        """Apply the restrictions, then give each name to the first that claims it."""
        discovery = self._discovered() if discovery is None else discovery
        with self._lock:
            entries = [
                *(entry for entry in reversed(self._registered) if entry.overrides),
                *discovery.entries,
                *(entry for entry in self._registered if not entry.overrides),
            ]
            restrictions = (*discovery.settings.restrictions, *self._restrictions)
        holders: dict[str, Record] = {}
        resolved = []
        for entry in entries:
            record = restricted(entry.record, restrictions)
            if record.claims_name and holders.setdefault(record.id, record) is not record:
                record = record.shadowed(by=holders[record.id])
            resolved.append((entry, record))
        return resolved

    def _plugin_problems(self, discovery: Discovery) -> list[Problem]:
        overridden = {entry.record.id for entry in self._registered if entry.overrides}
        records = [
            Problem(record.id, record.state, f"{record.source}: {record.reason}", record.fix)
            for _, record in self._resolve(discovery)
            if record.state in ("failed", "incompatible", "stale")
            or (record.state == "shadowed" and record.id not in overridden)
        ]
        return [*records, *discovery.problems]

    def _active_manifests(self) -> list[tuple[Record, ManifestHooks]]:
        discovery = self._discovered()
        restrictions = (*discovery.settings.restrictions, *self._restrictions)
        return [
            (record, hooks)
            for record, hooks in discovery.manifests
            if restricted(record, restrictions).usable
        ]

    def _entry(self, id_or_kind: str, name: str | None) -> tuple[Entry, Record]:
        id = _id(id_or_kind, name)
        found = [pair for pair in self._resolve() if pair[1].id == id]
        if not found:
            raise self._unknown(id)
        return next((pair for pair in found if pair[1].claims_name), found[0])

    def _unknown(self, wanted: str) -> UnknownComponentError:
        records = self.find()
        names = self.names(wanted.partition(":")[0]) or [r.id for r in records if r.usable]
        close = close_matches(wanted, [r.id for r in records]) or ", ".join(
            record.id for record in records if record.name == wanted
        )
        unread = ", ".join(f"{r.id} ({r.state})" for r in records if r.kind == MANIFEST)
        return UnknownComponentError(
            f"there is no component {wanted!r}.\n"
            f"  expected: one of {', '.join(names) or '(none)'}\n"
            f"  fix: {f'did you mean {close}? ' if close else ''}see `oneshot plugins list --all`"
            + (f"; plugins that were not read: {unread}" if unread else "")
        )


def _id(id_or_kind: str, name: str | None) -> str:
    return id_or_kind if name is None else f"{id_or_kind}:{name}"


def _restriction(verb: str, patterns: tuple[str, ...], keep: bool) -> Restriction:
    return Restriction(f"{verb}({', '.join(map(repr, patterns))})", patterns, keep)


def _path_of(target: object) -> str:
    """Return where a live object comes from, for listings; for an instance, its class."""
    named = target if hasattr(target, "__qualname__") else type(target)
    return f"{named.__module__}:{named.__qualname__}"


def _load_error(record: Record) -> PluginLoadError:
    return PluginLoadError(
        f"{record.id} of {record.source} cannot be loaded, it is {record.state}:"
        f" {record.reason}.\n"
        f"  expected: {record.component.target} can be imported and used\n"
        f"  fix: {record.fix}"
    )


def _trace(
    outcome: pluggy.Result[object],
    hook_name: str,
    hook_impls: Sequence[pluggy.HookImpl],
    kwargs: Mapping[str, object],
) -> None:
    """Show on stderr one call of a hook, with modules by their type: their text is very long."""
    shown = ", ".join(
        f"{name}={value!r}" if isinstance(value, str) else f"{name}={type(value).__name__}"
        for name, value in kwargs.items()
    )
    asked = ", ".join(implementation.plugin_name for implementation in reversed(hook_impls))
    ended = f"raised {outcome.exception!r}" if outcome.exception else ""
    print(f"oneshot: {hook_name}({shown}) -> {asked or 'nobody'} {ended}".rstrip(), file=sys.stderr)


def _renew_locks() -> None:
    """Free every lock in a forked process: the thread that held one does not exist there."""
    for registry in list(_living):
        registry._lock = threading.RLock()
        registry._thread = threading.local()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)

_default = Registry()


def default_registry() -> Registry:
    """Return the registry of the process; nothing is looked up before its first question."""
    return _default
