"""Costs that are counted, not measured: the same on every machine.

A cost is a function ``(network, *inputs) -> float`` of a plain network and what it is called
with. It leaves the network as it was.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(network: nn.Module, *inputs: Tensor) -> float:
    """Count the trainable numbers in ``network``, shared ones once; ``inputs`` do not matter."""
    return float(sum(p.numel() for p in network.parameters() if p.requires_grad))


def macs(network: nn.Module, *inputs: Tensor) -> float:
    """Count the multiply-accumulate operations of ``network(*inputs)``.

    Those of convolutions, matrix products and attention; for the whole batch. A batch of one
    gives the usual number. Runs the network once, in evaluation mode.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(*inputs)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return float(counter.get_total_flops()) / 2  # torch counts the multiplication and the addition
