"""What a plugin may say to the core: the index for plugin authors. Imports no torch.

A plugin is a module that an entry point of the group ``oneshot_core`` names, its *manifest*::

    [project.entry-points.oneshot_core]
    shuffle = "oneshot_plugin_shuffle.plugin"

It holds functions marked with :data:`hookimpl`, named after the hookspecs below; each takes as
many of the arguments as it wants. A manifest is read whenever plugins are listed, so it imports
neither torch nor Lightning: components name what they stand for in a string.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import pluggy

from .errors import PluginError

if TYPE_CHECKING:
    from torch import nn

    from .architecture import Search
    from .supernet import BaseSuperNetModule

ENTRY_POINT_GROUP = "oneshot_core"

hookspec = pluggy.HookspecMarker(ENTRY_POINT_GROUP)
hookimpl = pluggy.HookimplMarker(ENTRY_POINT_GROUP)

_KIND = re.compile(r"[a-z][a-z0-9_-]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# <locals> and <lambda> are in Python's names of objects that are registered at run time.
_WORD = r"[^\W\d]\w*"
_PART = rf"(?:{_WORD}|<locals>|<lambda>)"
_TARGET = re.compile(rf"{_WORD}(?:\.{_WORD})*:{_PART}(?:\.{_PART})*")


class Kind(NamedTuple):
    """What the core expects of components of a kind: their target, and who asks for them."""

    target: str
    asked_by: str


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "mutation_hook": Kind(
            "function `(module, name, memo, mutate_kwargs)`", "the walk, for every module"
        ),
        "supernet": Kind(
            "`BaseSuperNetModule` subclass with the hook `mutate`", "the walk, for every module"
        ),
        "elastic": Kind(
            "`oneshot_core.nn.LayerRule` subclass",
            "layers of `oneshot.nn`, for the classes in `handles`",
        ),
        "adapter": Kind(
            "`oneshot_plugins.pretrained.adapter.Adapter`",
            "`oneshot.elastic(model, ...)`, for the classes in `handles`",
        ),
        "importance": Kind(
            "function `(model, extents, batches) -> {size: scores}`",
            "`oneshot.elastic(model, ..., importance=NAME)`",
        ),
        "strategy": Kind("`BaseOneShotLightningModule` subclass", "`oneshot.search(model, NAME)`"),
        "searcher": Kind(
            "generator function `(space, *, budget, seed, ...)` that yields architectures and is "
            "sent scores",
            "`search.rank(NAME, ...)` and `search.pareto(..., searcher=NAME)`",
        ),
        "search_method": Kind(
            "function `(search, ...)`",
            "`search.rank`, `pareto`, `evaluate`, `top_k`, `drive_manually`; names may be "
            "prefixed: `x.rank`",
        ),
        "check": Kind(
            "a `Check`, or a sequence of them", "`oneshot plugins check`, for components of a kind"
        ),
        "cost": Kind("function `(network, *inputs) -> float`", "whoever loads it by name"),
        "space": Kind("module class, or function that returns a module", "whoever loads it"),
        "command": Kind(
            "object or module with `add_arguments(parser)` and `run(args) -> int`",
            "`oneshot NAME`, imported when it is used; `plugins.NAME` is `oneshot plugins NAME`",
        ),
    }
)
"""The kinds that the core or its plugins ask for. Plugins may have kinds of their own."""


@dataclass(frozen=True, slots=True)
class Component:
    """One thing that a plugin offers under a name; what it stands for is imported when used.

    Args:
        kind: one of :data:`KINDS`, or a kind of the plugin's own.
        name: unique within the kind. Prefix it with the plugin's name (``"shuffle.mixed"``).
        target: ``"package.module:Object"``, the object may be dotted.
        summary: one line for listings.
        handles: what a mutation hook or supernet is for, as ``"package.module:Class"`` strings.
        priority: larger comes first; ties are broken by distribution and name.

    Raises:
        PluginError: an argument has not the form described.
    """

    kind: str
    name: str
    target: str
    summary: str = ""
    handles: tuple[str, ...] = ()
    priority: int = 0

    def __post_init__(self) -> None:
        self._check("kind", _fits(_KIND, self.kind), "a word such as 'supernet'")
        self._check("name", _fits(_NAME, self.name), "letters, digits, '.', '_' and '-'")
        self._check("target", _fits(_TARGET, self.target), "'package.module:Object'")
        self._check("summary", isinstance(self.summary, str), "one line of text")
        self._check(
            "handles",
            isinstance(self.handles, tuple) and all(_fits(_TARGET, item) for item in self.handles),
            "a tuple of 'package.module:Class' strings",
        )
        self._check("priority", type(self.priority) is int, "an int")

    def _check(self, field: str, holds: bool, expected: str) -> None:
        if not holds:
            raise PluginError(
                f"the component {self.kind}:{self.name} has {field}={getattr(self, field)!r}",
                expected=expected,
                fix=f"correct {field}= where this Component is made",
            )

    @property
    def id(self) -> str:
        """``"kind:name"``, the name that is accepted and printed everywhere."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Conformance:
    """What the checks of :mod:`oneshot_core.testing` cannot know by themselves.

    Args:
        samples: what to try components with. A key is a component's id, or the
            ``"package.module:Class"`` of a choice, for every supernet that handles it; a value
            names a function without arguments: ``"package.module:function"``. It returns a list
            of :class:`~oneshot_core.testing.Sample`; for a strategy, searcher or cost, a list of
            dicts of keyword arguments.
        expected_failures: (what is checked, check id) -> why it fails. What is checked is named
            as in the report, such as ``"strategy:noise.lazy"``; both may be globs.
    """

    samples: Mapping[str, str] = field(default_factory=dict)
    expected_failures: Mapping[tuple[str, str], str] = field(default_factory=dict)


def plugin_manager() -> pluggy.PluginManager:
    """Return a new manager that knows the hooks of this file and no plugin."""
    manager = pluggy.PluginManager(ENTRY_POINT_GROUP)
    manager.add_hookspecs(sys.modules[__name__])
    return manager


def _fits(pattern: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and pattern.fullmatch(text) is not None


@hookspec
def oneshot_components() -> Sequence[Component]:  # type: ignore[empty-body]
    """Return what this plugin offers.

    Called once, when the registry is first asked anything. Commands are offered here, too.
    """


@hookspec
def oneshot_conformance() -> Conformance:  # type: ignore[empty-body]
    """Return what the conformance checks need to know to check this plugin.

    Called by ``oneshot plugins check`` and ``pytest --oneshot-conformance`` only.
    """


@hookspec
def oneshot_before_mutation(model: nn.Module, mutate_kwargs: Mapping[str, object]) -> None:
    """Look at ``model`` before any of its modules is replaced.

    Called before each walk: when a search is made, and after ``setup`` and ``configure_model``
    if they made new modules. What it raises ends the search.
    """


@hookspec
def oneshot_after_mutation(model: nn.Module, nas_modules: Sequence[BaseSuperNetModule]) -> None:
    """Look at ``model`` after the walk; ``nas_modules`` are its supernet modules, in order.

    Called after each walk that succeeded.
    """


@hookspec
def oneshot_module_replaced(path: str, original: nn.Module, replacement: nn.Module) -> None:
    """Learn that ``replacement`` takes the place of ``original`` at ``path``.

    Called once for each replacement, during the walk; if the walk fails later, all are undone.
    """


@hookspec(firstresult=True)
def oneshot_optimizer_config(config: object) -> object:
    """Return what ``config`` means as one of Lightning's six shapes; None if it is not yours.

    Called when ``configure_optimizers`` of a model, or ``configure_architecture_optimizers`` of
    a strategy, returned none of the six, before that is an error. The six themselves never get
    here. For no optimizer at all return ``[]``; ``False`` is an answer, and a wrong one.
    """


@hookspec
def oneshot_fit_started(search: Search) -> None:
    """Look at a search whose fit begins: its Trainer is known, nothing is trained yet.

    Called at the end of ``on_fit_start`` of the search, once for each fit.
    """


@hookspec
def oneshot_fit_ended(search: Search) -> None:
    """Look at a search whose fit has ended, and give back what was entered when it started.

    Called in ``on_fit_end`` of the search. A fit that raises does not get there.
    """


@hookspec
def oneshot_report_header() -> str | Sequence[str]:  # type: ignore[empty-body]
    """Return lines about what results depend on, such as versions of libraries.

    Called by ``oneshot --version``.
    """
