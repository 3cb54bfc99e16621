"""Whether a search has learned anything: its tensors beside those that it was made with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


class Beginning:
    """What the parameters of a search were when it was made.

    Args:
        model: of whose weights one number each is kept, for a training changes nearly all of them.
        decisions: of which all parameters are kept.
    """

    def __init__(self, model: nn.Module, decisions: nn.Module) -> None:
        self._weights = _middles(model)
        self._learned = [parameter.detach().clone() for parameter in decisions.parameters()]

    def has_weights_of(self, model: nn.Module) -> bool:
        """Say whether the weights of ``model`` are still those."""
        return self._weights == _middles(model)

    def has_parameters_of(self, decisions: nn.Module) -> bool:
        """Say whether there are parameters of ``decisions``, and they are still those."""
        now = [parameter.detach() for parameter in decisions.parameters()]
        return len(now) == len(self._learned) > 0 and all(map(_equal, now, self._learned))


@torch.no_grad()
def _middles(model: nn.Module) -> list[object]:
    return [
        None if is_lazy(p) or p.is_meta or not p.numel() else p.reshape(-1)[p.numel() // 2].item()
        for p in model.parameters()
    ]


def _equal(now: Tensor, then: Tensor) -> bool:
    return now.dtype == then.dtype and torch.equal(now, then.to(now.device))
