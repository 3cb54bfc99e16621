"""What the conformance checks try the model spaces with."""

from __future__ import annotations

import torch

from oneshot_core.testing import Sample

from .chain import Chain1d


def chains() -> list[Sample]:
    """Return the chain as the demo uses it, and a short one."""
    return [
        Sample(Chain1d, lambda: (torch.ones(2, 40),)),
        Sample(lambda: Chain1d(positions=2, width=4, length=8), lambda: (torch.ones(2, 8),)),
    ]
