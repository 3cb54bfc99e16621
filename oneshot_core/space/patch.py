"""What we leave on a user's module."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


class Patch:
    """Base of attributes of ours on a user's module; freezing takes them off the copy."""

    def finish(self, network: nn.Module) -> None:
        """Complete the plain copy of the module on which this stands, in place.

        Called by :func:`~oneshot_core.architecture.freeze` once the whole copy is made and this
        is taken off it, for inner modules before those that hold them. Here a plugin corrects
        what a module knows about its parts, such as how many blocks it has. By default nothing is
        done.
        """
