"""Choose an activation function by its name."""

from __future__ import annotations

from collections.abc import Iterable

import torch.nn

from oneshot_core.errors import SpaceError
from oneshot_core.space import LayerChoice

_BY_NAME = {
    name.lower(): getattr(torch.nn, name)
    for name in torch.nn.modules.activation.__all__
    if name not in ("MultiheadAttention", "Threshold")
}


def activation(names: Iterable[str], *, label: str | None = None) -> LayerChoice:
    """Return a choice between activation functions of ``torch.nn``.

    Args:
        names: such as ``"relu"`` or ``"GELU"``: classes of ``torch.nn``, in any case.
        label: as of :class:`oneshot_core.LayerChoice`.

    Raises:
        SpaceError: ``torch.nn`` has no such activation, or there are no names.
    """
    given = list(names)
    unknown = [name for name in given if name.lower() not in _BY_NAME]
    if unknown:
        raise SpaceError(
            f"there is no activation {unknown[0]!r}",
            expected=f"some of {sorted(_BY_NAME)}",
            fix="correct the name, or use LayerChoice with a module of your own",
        )
    return LayerChoice({name: _BY_NAME[name.lower()]() for name in given}, label=label)
