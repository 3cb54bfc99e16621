"""What is checked before a fit: all that is known not to work is refused there."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning.strategies import DDPStrategy
from torch.nn.parameter import is_lazy

from ..errors import MissingDataError, StrategyError
from .checkpoint_io import require_folders
from .host import Host, Walked, is_of_base
from .trees import tree_of


def require_fit(search: Host) -> None:
    """Raise a OneShotError for what cannot work in the fit that begins."""
    cls = type(search)
    learns = search.architecture_batches is not None and any(
        d.spec.size > 1 and list(d.parameters()) for d in search.decisions
    )
    if (learns and is_of_base(cls, "architecture_loss")) or not is_of_base(
        cls, "run_training_step"
    ):
        search.require_loss_of_training_step()
    _require_equal_plugins(search)
    _require_its_modules(search)
    require_choices(search)
    _require_shapes(search)
    _require_numbers(search)
    require_folders(search.trainer)
    if search.architecture_batches is not None:
        search.architecture_batches.require()
    _require_unused_parameters(search)


def require_choices(search: Walked) -> None:
    """Refuse a model with nothing to choose, unless the search does without."""
    if search.needs_choices and not search.nas_modules:
        raise StrategyError(
            f"there is no choice in {type(search.model).__name__}",
            expected="at least one, in a submodule; torch does not see into plain lists",
            fix="put a LayerChoice or another choice where a layer is, a list of them into an "
            "nn.ModuleList; search.needs_choices = False trains the model as it is",
        )


def require_loss(search: Host) -> None:
    """Refuse a user's module that optimizes manually, as its loss cannot be computed alone."""
    if not search.model.automatic_optimization:
        raise StrategyError(
            f"{type(search.model).__name__} optimizes manually; its training_step cannot be run "
            "for its loss alone",
            expected="automatic optimization, or a strategy with an architecture_loss of its own",
            fix=f"override architecture_loss(batch, batch_idx) of {type(search).__name__}",
        )


def missing_loader(search: object) -> StrategyError:
    """Return the error for a strategy that needs an ``arch_dataloader`` and has none."""
    return MissingDataError(
        f"{type(search).__name__} has no data to train the architecture on",
        expected="a loader of batches that do not train the weights",
        fix="pass arch_dataloader=..., for example one half of the training set",
    )


def _require_unused_parameters(search: Host) -> None:
    """Refuse a DDP strategy that does not bear candidates that are left out."""
    strategy = search.trainer.strategy
    samples = any(d.leaves_out and d.spec.size > 1 for d in search.decisions)
    if not samples or not isinstance(strategy, tree_of(strategy).own(DDPStrategy)):
        return
    if strategy._ddp_kwargs.get("static_graph"):
        raise StrategyError(
            f"{type(search).__name__} trains another graph with each batch, which "
            "static_graph=True rules out",
            expected="a DDP strategy without static_graph",
            fix="Trainer(strategy='ddp_find_unused_parameters_true')",
        )
    if not strategy._ddp_kwargs.get("find_unused_parameters"):
        raise StrategyError(
            f"{type(search).__name__} leaves candidates out of a batch, which DDP refuses",
            expected="a DDP strategy that looks for unused parameters",
            fix="Trainer(strategy='ddp_find_unused_parameters_true')",
        )


def _require_its_modules(search: Host) -> None:
    """Refuse to train without the supernet modules, which something else has replaced."""
    inside = set(search.model.modules())
    for module in search.nas_modules:
        if module not in inside:
            raise StrategyError(
                f"a {type(module).__name__} is no longer in {type(search.model).__name__}",
                expected="the modules that the search put there",
                fix="replace modules before the search is made; leave out "
                "Trainer(sync_batchnorm=True), which replaces BatchNorm after that",
            )


def _require_shapes(search: Host) -> None:
    """Refuse layers that have no shape yet, which no walk could look into."""
    for path, part in search.model.named_modules() if search.nas_modules else ():
        if any(map(is_lazy, [*part._parameters.values(), *part._buffers.values()])):
            raise StrategyError(
                f"the {type(part).__name__} at {path!r} has no shape before its first batch",
                expected="layers with shapes; a search may train others first",
                fix="say its number of inputs, or run the model once on a batch before "
                "oneshot.search",
            )


def _require_numbers(search: Host) -> None:
    for decision in search.decisions:
        if not all(bool(p.isfinite().all()) for p in decision.parameters()):
            raise StrategyError(
                f"the architecture parameters of {decision.spec.label!r} are not finite",
                expected="numbers",
                fix="go on from an earlier checkpoint",
            )


def _require_equal_plugins(search: Host) -> None:
    """Compare what is installed across processes: another hook there is another supernet."""
    if search.trainer.world_size == 1:
        return
    fingerprint = search.registry.fingerprint()
    number = int(fingerprint.partition(":")[2], 16) >> 1  # fits a signed integer
    everywhere: Any = search.all_gather(torch.tensor(number, device=search.device))
    if (everywhere != number).any():
        raise StrategyError(
            f"the processes of this fit use different plugins; here {fingerprint}",
            expected="the same plugins, in the same versions, on every machine",
            fix="compare `oneshot plugins list` on each",
        )
