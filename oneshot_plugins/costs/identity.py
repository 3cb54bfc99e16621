"""What a table was built for: a hash of each choice and of what no choice changes.

Made of what choices become, not of where they are or who replaced them, so a model has the same
identity before and after a search has mutated it, and inside of a LightningModule.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from itertools import product

from torch import nn

from oneshot_core import BaseSuperNetModule
from oneshot_core.errors import OneShotError
from oneshot_core.space import Choice

ELSEWHERE = ""
"""Stands for what no choice changes."""
MAX_TOGETHER = 64
"""Combinations of one layer's choices that are looked at; where there are more, one by one."""
_NO_COST = re.compile(r"\b(p|eps|momentum|inplace|label_smoothing)=[^,()]+")


def identity(root: nn.Module) -> dict[str, str]:
    """Return label -> hash of what it can become, and ``""`` -> hash of all the rest.

    What has no effect on costs, such as the probability of dropout, is left out, as are losses
    and metrics. ``root`` is a mutated model without data; it is only read.
    """
    parts: dict[str, list[str]] = {ELSEWHERE: sorted(_leaves(root))}
    for module in _choices(root):
        specs = module.search_space_spec()
        lines = [f"{dict(chosen)}: {_become(module, chosen)}" for chosen in _ways(module)]
        for label in specs:
            parts.setdefault(label, []).append("\n".join(lines))
    return {
        label: hashlib.sha256("\n\n".join(sorted(texts)).encode()).hexdigest()[:12]
        for label, texts in parts.items()
    }


def _choices(root: nn.Module) -> Iterator[BaseSuperNetModule]:
    for module in root.modules():
        if isinstance(module, BaseSuperNetModule):
            yield module


def _ways(module: BaseSuperNetModule) -> Iterator[Mapping[str, Choice]]:
    specs = module.search_space_spec()
    default = {label: spec.default for label, spec in specs.items()}
    listed = [s for s in specs.values() if s.interval is None and s.n_chosen == 1]
    if math.prod(spec.size for spec in listed) <= MAX_TOGETHER:
        for candidates in product(*(spec.candidates for spec in listed)):
            labels = [spec.label for spec in listed]
            yield {**default, **dict(zip(labels, candidates, strict=True))}
        return
    for spec in listed:
        for candidate in spec.candidates:
            yield {**default, spec.label: candidate}


def _become(module: BaseSuperNetModule, chosen: Mapping[str, Choice]) -> list[str]:
    try:
        return sorted(_leaves(module.select(chosen)))
    except OneShotError:  # a combination that constraints exclude
        return ["nothing"]


def _leaves(root: nn.Module) -> Iterator[str]:
    """Yield a line for each module that computes something, without what choices become."""
    seen: set[nn.Module] = set()
    stack = [root]
    while stack:
        module = stack.pop()
        if module in seen or isinstance(module, BaseSuperNetModule):
            continue
        seen.add(module)
        stack += module.children()
        kind = type(module)
        shapes = [
            f"{name}{tuple(p.shape)}" for name, p in module._parameters.items() if p is not None
        ]
        plain = kind.__module__.startswith("torch.nn.") and not isinstance(
            module, (nn.modules.loss._Loss, nn.Dropout, nn.Identity)
        )
        if shapes or (plain and not module._modules):
            said = _NO_COST.sub("", module.extra_repr()) if plain else ""
            yield f"{kind.__name__}({said}) {shapes}"


__all__ = ["ELSEWHERE", "identity"]
