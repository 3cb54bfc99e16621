"""How long a forward pass takes on this machine: measured, so never twice the same."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torch.utils.benchmark import Timer

from .counts import measured
from .measured import Measured
from .running import in_use


class Latency(NamedTuple):
    """Microseconds of one forward pass.

    Attributes:
        median: of the blocks that were timed.
        iqr: interquartile range of them.
        blocks: how many there were.
    """

    median: float
    iqr: float
    blocks: int


def measure(
    network: nn.Module,
    *inputs: Tensor,
    device: str | torch.device | None = None,
    min_run_time: float = 0.2,
    threads: int = 1,
) -> Latency:
    """Time ``network(*inputs)`` in evaluation mode, after a warm-up.

    Args:
        network: left as it was; on another ``device`` a copy is timed.
        *inputs: what it is called with.
        device: where to run; None takes the network as it is.
        min_run_time: seconds to measure for, at least.
        threads: of torch on the CPU.

    Source: ``torch.utils.benchmark``, which repeats the call in blocks long enough for the clock
    and waits for accelerators.
    """
    arguments: Any = inputs
    if device is not None:
        network = copy.deepcopy(network).to(device)
        arguments = tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), inputs)
    with in_use(network):
        timer = Timer(
            "network(*inputs)",
            globals={"network": network, "inputs": arguments},
            num_threads=threads,
        )
        found = timer.blocked_autorange(min_run_time=min_run_time)
    return Latency(found.median * 1e6, found.iqr * 1e6, len(found.times))


@measured
def latency(
    network: nn.Module,
    *inputs: Tensor,
    device: str | torch.device | None = None,
    min_run_time: float = 0.1,
    threads: int = 1,
) -> Measured:
    """Return the median of :func:`measure`, in microseconds, with its interquartile range."""
    found = measure(network, *inputs, device=device, min_run_time=min_run_time, threads=threads)
    return Measured(found.median, found.iqr, found.blocks)


latency.readings = 5  # type: ignore[attr-defined]
