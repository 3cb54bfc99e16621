"""The order in which components are used, and a text that explains it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .manifests import provider_rank
from .records import Record
from .settings import Settings

WALK = ("mutation_hook", "supernet")
"""The kinds that the walk asks. It asks both in one common order."""


def in_order(records: Iterable[Record], first: Sequence[str]) -> list[Record]:
    """Return the usable records in the order of use.

    Args:
        records: records in any state.
        first: ids that come before all others, in this order.
    """
    places = {id: place for place, id in enumerate(first)}
    return sorted(
        (record for record in records if record.usable),
        key=lambda r: (
            places.get(r.id, len(places)),
            -r.component.priority,
            *provider_rank(r.provider),
            r.kind,
            r.name,
        ),
    )


def parts_to_explain(kinds: Sequence[str], there: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of kinds that :func:`explained` explains one by one.

    Args:
        kinds: the kinds that somebody asks about. If it is empty, the question is about all kinds.
        there: all kinds of which there is something usable.
    """
    if kinds and not set(kinds) & set(WALK):
        return [tuple(kinds)]
    asked = kinds or (*WALK, *there)
    return list(dict.fromkeys(WALK if kind in WALK else (kind,) for kind in asked))


def explained(records: Iterable[Record], kinds: tuple[str, ...], settings: Settings) -> str:
    """Return one line for each record: position, priority, provider and id.

    Args:
        records: the records of these kinds, in the order of use.
        kinds: for ``WALK``, the text also says who is asked before and after the records.
        settings: the settings that the order follows.
    """
    lines = [
        f"{position:>3} {record.component.priority:>+5}  {record.provider:<24}  {record.id}"
        + (f"  (order in {settings.project})" if record.id in settings.order else "")
        for position, record in enumerate(records, start=1)
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
