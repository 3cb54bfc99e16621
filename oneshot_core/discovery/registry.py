"""Know every plugin component: what there is, whose it is, in which state, in which order.

Nothing is looked up at import: the first question to a registry reads the installed metadata
and the plugins' manifests, and a component's target is imported when it is first loaded. What
is broken is a record with a state and a reason; it raises only when it is asked for by name.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload
from weakref import WeakSet

import pluggy

from ..hookspecs import Component
from . import refusals
from .entries import Details, loaded, registered_entry
from .events import event_hooks
from .manifests import Discovery, ManifestHooks, discover, reading
from .metadata import Problem, normalise
from .order import explained, in_order, parts_to_explain
from .records import Entry, Record, Restriction, State, resolved, restricted
from .settings import ProjectFile
from .snapshot import Snapshot, fingerprint, problems_of, table

if TYPE_CHECKING:
    from torch import nn
    from typing_extensions import Unpack

    from .. import BaseOneShotLightningModule as Strategy
    from ..hooks import MutationHook
    from ..searching import Searcher
    from ..supernet import BaseSuperNetModule

__all__ = ["Problem", "Record", "Registry", "Snapshot", "State", "default_registry"]

T = TypeVar("T")

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
        order = self._discovered().settings.order
        return in_order((r for r in self.find() if not kinds or r.kind in kinds), order)

    def explain_order(self, *kinds: str) -> str:
        """Return :meth:`ordered` as text: position, priority, provider and id per line.

        Mutation hooks and supernet modules are asked by the walk, so for one of these kinds the
        text is about both, and says who is asked before and after them. Without kinds there is
        one part for each.
        """
        settings = self._discovered().settings
        parts = parts_to_explain(kinds, self.kinds())
        texts = [explained(self.ordered(*part), part, settings) for part in parts]
        return "\n\n".join(filter(None, texts))

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
    def load(self, id_or_kind: Literal["strategy"], name: str) -> type[Strategy]: ...
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
        return loaded(*self._entry(id_or_kind, name), self._lock)

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
            raise refusals.requirements_missing(missing)

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
        return fingerprint(self.ordered(), self.manifests())

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
            trace = self._discovered().settings.trace
            relay = self._relay = event_hooks(self._active_manifests(), trace)
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
        return table(self.find()).html()

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
        override: bool = False,
        **details: Unpack[Details],
    ) -> T: ...
    @overload
    def register(
        self,
        kind: str,
        name: str,
        /,
        *,
        override: bool = False,
        **details: Unpack[Details],
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
        if len(args) == 2:
            return lambda target: self.register(*args, target, override=override, **details)
        if len(args) == 3 or (len(args) == 1 and isinstance(args[0], Component)):
            self._add(registered_entry(*args, overrides=override, **details))
            return args[-1]
        raise TypeError(f"register() takes 1 to 3 positional arguments, got {len(args)}")

    def _add(self, entry: Entry) -> None:
        discovery = self._discovered()  # may import, so not inside the lock
        with self._lock:
            id = entry.record.id
            for _, holder in self._resolve(discovery):
                if holder.id == id and holder.claims_name and not entry.overrides:
                    raise refusals.name_taken(holder)
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
                raise refusals.not_registered(id, [entry.record.id for entry in self._registered])
            self._registered = tuple(e for e in self._registered if e is not mine[-1])

    def disable(self, *patterns: str) -> AbstractContextManager[object]:
        """Switch off what the patterns name, for good or inside ``with``.

        Args:
            *patterns: distributions, ids, or globs of them; see the class.

        Raises:
            UnknownComponentError: nothing has a name that is given without wildcards.
            PluginSettingsError: it belongs to the core, such as ``no_default_hook``.
        """
        return self._restrict("disable", patterns, keep=False)

    def only(self, *patterns: str) -> AbstractContextManager[object]:
        """Switch off all but what the patterns name, for good or inside ``with``.

        Args:
            *patterns: distributions, ids, or globs of them; see the class.

        Raises:
            UnknownComponentError: nothing has a name that is given without wildcards.
        """
        return self._restrict("only", patterns, keep=True)

    def refresh(self) -> None:
        """Look for installed plugins anew, with the settings of now.

        For a notebook after ``pip install``. What was registered and restricted by the program
        stays; modules that are already imported are not imported again.
        """
        importlib.invalidate_caches()
        with self._lock:
            self._discovery = None if self._entry_points else Discovery()
            self._relay = None

    def _restrict(
        self, verb: str, patterns: tuple[str, ...], keep: bool
    ) -> AbstractContextManager[object]:
        source = f"{verb}({', '.join(map(repr, patterns))})"
        restriction = Restriction(source, patterns, keep)
        manifests = (record for record, _ in self._discovered().manifests)
        refusals.refuse_unknown(restriction, self.find(), manifests)
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
        with reading(self._thread):
            # Outside the lock, see load(); if two threads get here, one of their answers counts.
            environ = os.environ if self._environ is None else self._environ
            found = discover(environ, self._project)
        problems = self._plugin_problems(found) if found.settings.strict else []
        if problems:
            errors = [entry.error for entry in found.entries if entry.error is not None]
            raise refusals.strict_problems(problems) from next(iter(errors), None)
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
        return resolved(entries, restrictions)

    def _plugin_problems(self, discovery: Discovery) -> list[Problem]:
        overridden = {entry.record.id for entry in self._registered if entry.overrides}
        records = (record for _, record in self._resolve(discovery))
        return [*problems_of(records, overridden), *discovery.problems]

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
            raise refusals.unknown_component(id, self.find())
        return next((pair for pair in found if pair[1].claims_name), found[0])


def _id(id_or_kind: str, name: str | None) -> str:
    return id_or_kind if name is None else f"{id_or_kind}:{name}"


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
