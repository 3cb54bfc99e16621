"""Enter Lightning's own automatic optimization, without changing what it does.

What we rely on inside Lightning: ``fit_loop.epoch_loop.automatic_optimization`` is an
``_AutomaticOptimization`` whose ``run(optimizer, batch_idx, kwargs)`` performs the whole
weight step of a batch and is called once for each batch, after ``on_train_batch_start``.
:func:`install_engine` probes for exactly that.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.loops.optimization.automatic import _AutomaticOptimization
from torch.optim import Optimizer

from .drive import Driven
from .trees import tree_of


class OneShotOptimization(_AutomaticOptimization):
    """Lightning's optimization of one batch, with the strategy's around it."""

    def __init__(self, trainer: Trainer, search: Driven) -> None:
        super().__init__(trainer)
        self.search = search

    def run(self, optimizer: Optimizer, batch_idx: int, kwargs: OrderedDict[str, Any]) -> Any:
        """Let the strategy run the batch; its ``advance_optimization()`` is Lightning's step."""
        step = super().run
        running: object = self.trainer.lightning_module
        if running is not self.search:  # left over from a failed fit
            return step(optimizer, batch_idx, kwargs)
        return self.search._drive.around(
            lambda: step(optimizer, batch_idx, kwargs),
            tuple(kwargs.values()),
            batch_idx,
            default={},
        )


def install_engine(trainer: Trainer, search: Driven) -> bool:
    """Put the engine in the place of Lightning's; return whether the loop is as expected.

    The progress counters stay the same objects, so that ``global_step`` and checkpoints do not
    notice. Installing twice is harmless.
    """
    loop = trainer.fit_loop.epoch_loop
    engine = getattr(loop, "automatic_optimization", None)
    if isinstance(engine, OneShotOptimization):
        engine.search = search
        return True
    tree = tree_of(trainer)
    if type(engine) is not tree.own(_AutomaticOptimization) or list(
        inspect.signature(engine.run).parameters
    ) != ["optimizer", "batch_idx", "kwargs"]:
        return False
    ours = tree.rebased(OneShotOptimization)(trainer, search)
    ours.__dict__.update(
        {key: value for key, value in engine.__dict__.items() if key != "_trainer"}
    )
    loop.automatic_optimization = ours
    return True


def remove_engine(trainer: Trainer) -> None:
    """Give the loop back Lightning's own engine, with the counters as they are."""
    loop = trainer.fit_loop.epoch_loop
    ours = loop.automatic_optimization
    if isinstance(ours, OneShotOptimization):
        tree = tree_of(trainer)
        engine = tree.own(_AutomaticOptimization)(trainer)
        engine.__dict__.update(
            {key: value for key, value in ours.__dict__.items() if key in engine.__dict__}
        )
        loop.automatic_optimization = engine
