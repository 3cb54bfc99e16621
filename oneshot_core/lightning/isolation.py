"""Run the user's step on a batch that the user's training must not notice.

Restored afterwards: the global random number generators (Python, NumPy, torch on the CPU and
on the module's device), the module's buffers (BatchNorm statistics), the states of its
torchmetrics, its plain attributes (counters, lists of outputs), and everything ``self.log``
wrote.
"""

from __future__ import annotations

import copy
import random
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection
from torch import nn
from torchmetrics import Metric, MetricCollection

from .trees import tree_of


def device_of(module: nn.Module) -> torch.device:
    """Return where the parameters of ``module`` are; the CPU if it has none."""
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def seed_generators(seed: int, *, devices: bool = True) -> None:
    """Seed the global generators: Python's, torch's, NumPy's if it is imported.

    Args:
        seed: for all of them.
        devices: whether torch's generators of all devices are seeded, or the CPU's only.
    """
    random.seed(seed)
    if devices:
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy:
        numpy.random.seed(seed % 2**32)


@contextmanager
def isolated_rng(module: nn.Module, seed: int | None = None) -> Iterator[None]:
    """Restore all global generators on leaving; draw from ``seed`` inside if it is given."""
    device = device_of(module)
    devices = [device] if device.type != "cpu" else []
    numpy = sys.modules.get("numpy")
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy else None
    try:
        with torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
            if seed is not None:
                # Other generators are not put back. And where no device is in use, torch would
                # keep the seed for later with a text of the whole stack, which takes milliseconds.
                seed_generators(seed, devices=bool(devices))
            yield
    finally:
        random.setstate(python_state)
        if numpy:
            numpy.random.set_state(numpy_state)


@contextmanager
def isolated_buffers(module: nn.Module) -> Iterator[None]:
    """Restore every buffer of ``module``, in place, on leaving."""
    saved = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in saved:
                buffer.copy_(value)


@contextmanager
def isolated_metrics(module: nn.Module) -> Iterator[None]:
    """Restore the state of every torchmetrics metric in ``module`` on leaving."""
    metrics = [part for part in module.modules() if isinstance(part, Metric)]
    saved = [
        {name: copy.deepcopy(value) for name, value in metric.__dict__.items() if _is_state(name)}
        | {name: _clone(getattr(metric, name)) for name in metric._defaults}
        for metric in metrics
    ]
    # A collection looks once, at the first batch it gets, which of its metrics share a state.
    collections = [part for part in module.modules() if isinstance(part, MetricCollection)]
    groups = [
        {name: copy.deepcopy(collection.__dict__[name]) for name in _GROUPING}
        for collection in collections
    ]
    try:
        yield
    finally:
        for metric, state in zip(metrics, saved, strict=True):
            metric.__dict__.update(state)
        for collection, grouping in zip(collections, groups, strict=True):
            collection.__dict__.update(grouping)


_GROUPING = ("_groups", "_groups_checked", "_state_is_copy")


def _is_state(name: str) -> bool:
    return name in {"_computed", "_update_count", "_forward_cache", "_is_synced", "_cache"}


def _clone(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    return [item.detach().clone() for item in value] if isinstance(value, list) else value


@contextmanager
def isolated_attributes(module: nn.Module) -> Iterator[None]:
    """Restore the public attributes of ``module`` itself on leaving, and what its containers hold.

    So ``self.count += 1`` and ``self.outputs.append(loss)`` leave no trace. Objects of other
    kinds stay the same objects; what happens inside them stays.
    """
    own = module.__dict__
    before = {name: value for name, value in own.items() if _is_public(name)}
    contents = [
        (value, value.copy())
        for value in before.values()
        if type(value) in (list, dict, set, deque)
    ]
    try:
        yield
    finally:
        for name in [name for name in own if _is_public(name) and name not in before]:
            del own[name]
        own.update(before)
        for value, content in contents:
            value.clear()
            (value.extend if isinstance(value, (list, deque)) else value.update)(content)


def _is_public(name: str) -> bool:
    return not name.startswith("_") and name != "training"


@contextmanager
def discarded_logs(module: LightningModule, batch: object) -> Iterator[None]:
    """Let ``self.log`` inside the user's ``training_step`` work, and forget what it logged."""
    trainer = module._trainer
    if trainer is None or trainer._results is None:
        yield
        return
    loop: Any = trainer.fit_loop.epoch_loop if trainer.training else trainer._active_loop
    connector = trainer._logger_connector
    saved = loop._results, connector._current_fx, module._current_fx_name
    scratch = tree_of(trainer).own(_ResultCollection)(training=True)
    scratch.batch = batch
    loop._results = scratch
    module._current_fx_name = "training_step"
    try:
        yield
    finally:
        loop._results, connector._current_fx, module._current_fx_name = saved
