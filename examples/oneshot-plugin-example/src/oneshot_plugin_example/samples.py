"""What the conformance checks try the supernet module with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oneshot_core.testing import Sample

from .choice import ActivationChoice


def activation_choices() -> list[Sample]:
    """Return a choice written into a model, and one in the place of a layer with a setting."""

    def inputs() -> tuple[Tensor]:
        return (torch.linspace(-2, 2, 6).reshape(2, 3),)

    def written() -> ActivationChoice:
        return ActivationChoice(["relu", "tanh", "identity"], label="act")

    def found() -> ActivationChoice:
        return ActivationChoice(["relu", "gelu"], original=nn.LeakyReLU(0.3), label="act")

    return [Sample(written, inputs), Sample(found, inputs)]
