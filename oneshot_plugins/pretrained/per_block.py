"""Lists in a config with an item for each block, such as ``layer_types`` of Gemma and Qwen.

The forward pass of such a model asks ``config.layer_types[i]`` for the i-th block that runs. While
a search leaves blocks out, the list must leave their items out, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

__all__ = ["Link", "PerBlock"]


class Link:
    """Leads from lists in a config to the blocks of a model.

    A copy of it alone leads nowhere, for a copied config must not hold the weights of a model. Who
    copies a model sets ``container`` to the copy.

    Args:
        container: what holds the blocks, an ``nn.ModuleList``; None for no blocks.
    """

    def __init__(self, container: nn.Module | None = None) -> None:
        self.container = container

    def __reduce__(self) -> Any:
        return Link, ()

    def present(self) -> list[int] | None:
        """Return the positions of the blocks that are present; None if all are."""
        if self.container is None:
            return None
        every = list(self.container._modules.values())
        # While a network is computed, an elastic list yields the blocks that are not left out.
        here = {id(block) for block in self.container}  # type: ignore[attr-defined]
        if len(here) == len(every):
            return None
        return [position for position, block in enumerate(every) if id(block) in here]


class PerBlock(list[Any]):
    """A list that leaves out the items of blocks that are left out; else like any list.

    Args:
        items: one for each block.
        link: to the blocks.
    """

    def __init__(self, items: Sequence[Any], link: Link) -> None:
        super().__init__(items)
        self.link = link

    def all_items(self) -> list[Any]:
        """Return a plain list of the items of all blocks."""
        return list(list.__iter__(self))

    def _now(self) -> list[Any]:
        items, present = self.all_items(), self.link.present()
        return items if present is None else [items[position] for position in present]

    def __getitem__(self, index: Any) -> Any:
        return self._now()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def __reduce_ex__(self, protocol: Any) -> Any:
        return PerBlock, (self.all_items(), self.link)
