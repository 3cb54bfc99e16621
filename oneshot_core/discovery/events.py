"""Connect the plugins in use to the event hooks of pluggy."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import pluggy

from ..hookspecs import plugin_manager
from .manifests import ManifestHooks
from .records import Record


def event_hooks(manifests: Sequence[tuple[Record, ManifestHooks]], trace: bool) -> pluggy.HookRelay:
    """Return the hooks that call these manifests, the first of them first.

    Args:
        manifests: the records of the manifests in use, and their hook functions.
        trace: whether each call of a hook is shown on stderr.
    """
    manager = plugin_manager()
    known: list[object] = []
    for record, hooks in reversed(manifests):  # pluggy calls last first
        if not any(hooks.manifest is manifest for manifest in known):
            known.append(hooks.manifest)
            manager.register(hooks, record.name)
    if trace:
        manager.add_hookcall_monitoring(lambda *_: None, _trace)
    return manager.hook


def _trace(
    outcome: pluggy.Result[object],
    hook_name: str,
    hook_impls: Sequence[pluggy.HookImpl],
    kwargs: Mapping[str, object],
) -> None:
    """Show one call of a hook on stderr. A module is shown by its type: its text is very long."""
    shown = ", ".join(
        f"{name}={value!r}" if isinstance(value, str) else f"{name}={type(value).__name__}"
        for name, value in kwargs.items()
    )
    asked = ", ".join(implementation.plugin_name for implementation in reversed(hook_impls))
    ended = f"raised {outcome.exception!r}" if outcome.exception else ""
    print(f"oneshot: {hook_name}({shown}) -> {asked or 'nobody'} {ended}".rstrip(), file=sys.stderr)
