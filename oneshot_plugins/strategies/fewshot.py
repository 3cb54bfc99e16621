"""Split a trained supernet into several, each for a part of the space."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from oneshot_core import Architecture, BaseOneShotLightningModule, Ranking
from oneshot_core.errors import StrategyError
from oneshot_core.space import Choice


def split(
    search: BaseOneShotLightningModule, label: str
) -> dict[Choice, BaseOneShotLightningModule]:
    """Return, for each choice of ``label``, a search of its own that always takes it.

    Each begins with a copy of the weights and of what was learned; ``search`` stays as it is.
    Train them further with a Trainer each, and compare their networks with :func:`rank_parts`.
    A checkpoint of a part is that of a search over the whole space: to resume, split a new
    search and load it into the part of the same choice.

    Args:
        search: trained, or not.
        label: a choice that counts whatever else is chosen.

    Raises:
        StrategyError: ``label`` is unknown, or decides something only where another is chosen.

    Source: Zhao et al., "Few-shot Neural Architecture Search", arXiv:2006.06863, section 3: sub-
    supernets by the operations of one compound edge, with weights transferred.
    """
    always = {spec.label: spec for spec in search.space.active({})}
    if label not in always:
        raise StrategyError(
            f"the supernet cannot be split on {label!r}",
            expected=f"one of {sorted(always)}",
            fix="name a label that counts whatever else is chosen",
        )
    parts: dict[Choice, BaseOneShotLightningModule] = {}
    for choice in always[label].choices():
        parts[choice] = copy.deepcopy(search)
        parts[choice].decisions[label].pin(choice)
    return parts


def rank_parts(
    parts: Mapping[Choice, BaseOneShotLightningModule],
    label: str,
    architectures: Iterable[Mapping[str, Any]],
    dataloaders: Any,
    *,
    metric: str,
    mode: str = "max",
    **options: Any,
) -> Ranking:
    """Return the architectures with their scores, best first, each scored by its own part.

    Args:
        parts: what :func:`split` returned.
        label: on which was split.
        architectures: to be scored.
        dataloaders: as for ``search.rank``, as are ``metric``, ``mode`` and ``**options``.
        metric: what the user's ``validation_step`` logs.
        mode: ``"max"`` or ``"min"``.
        **options: of ``search.rank``.

    Raises:
        ArchitectureError: an architecture does not fit the model space.
    """
    space = next(iter(parts.values())).space
    groups: dict[Choice, list[Architecture]] = {choice: [] for choice in parts}
    for given in architectures:
        known = Architecture(Architecture(given).validate(space), space)
        groups[known[label]].append(known)
    entries = [
        entry
        for choice, group in groups.items()
        if group
        for entry in parts[choice].rank(group, dataloaders, metric=metric, mode=mode, **options)
    ]
    return Ranking(entries, metric=metric, mode=mode)
