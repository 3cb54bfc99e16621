"""What authors of strategies and tools need beside the search itself.

A strategy that computes losses of its own, a tool that runs a user's module, or a command that
works in both Lightning packages imports these functions from here. They are stable; the modules
that define them are not part of the public interface.

===================================  =========================================================
:func:`users_loss`                   the loss of the user's ``training_step`` on a batch
:func:`unnoticed`                    run code that the user's training must not notice
``isolated_*``, ``discarded_logs``   put back one kind of state: random numbers, buffers, ...
:func:`listed`                       what ``architecture_optimizers()`` returned, as a list
:func:`to_device`                    move a batch as the Trainer moves it
:func:`first_batches`                batches of a loader under a generator state of our own
:func:`tree_of`, :class:`Tree`       the package of a Lightning object, and its twin classes
:func:`plugin_hooks`                 the installed mutation hooks, in their order
:func:`hooks_in_order`               all hooks of a search, as the walk asks them
:func:`options_of_hooks`             what every hook of a search gets as its last argument
:func:`read_checkpoint`              what is in a checkpoint, if it is a whole one
:class:`Driver`                      trains weights by hand, as ``search.drive_manually()`` does
:class:`Host`, :func:`batch_index`   a search as a driver sees it; the position of its batch
:func:`takes`                        whether the constructor of a strategy takes an argument
===================================  =========================================================
"""

from __future__ import annotations

from .architecture_step import listed, unnoticed, users_loss
from .batches import first_batches, to_device
from .build import takes
from .checkpoint_io import is_url, read_checkpoint, require_entries
from .drivers import Driver, batch_index
from .forwarding import InnerHook
from .host import Host
from .isolation import (
    device_of,
    discarded_logs,
    isolated_attributes,
    isolated_buffers,
    isolated_metrics,
    isolated_rng,
    seed_generators,
)
from .plugin_hooks import hooks_in_order, options_of_hooks, plugin_hooks
from .trees import HOME, Tree, count_as, is_lightning_module, tree_in, tree_of

__all__ = [
    "HOME",
    "Driver",
    "Host",
    "InnerHook",
    "Tree",
    "batch_index",
    "count_as",
    "device_of",
    "discarded_logs",
    "first_batches",
    "hooks_in_order",
    "is_lightning_module",
    "is_url",
    "isolated_attributes",
    "isolated_buffers",
    "isolated_metrics",
    "isolated_rng",
    "listed",
    "options_of_hooks",
    "plugin_hooks",
    "read_checkpoint",
    "require_entries",
    "seed_generators",
    "takes",
    "to_device",
    "tree_in",
    "tree_of",
    "unnoticed",
    "users_loss",
]
