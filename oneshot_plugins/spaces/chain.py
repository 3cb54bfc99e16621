"""A chain of one-dimensional operations: small enough to train all of it in seconds."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from oneshot_core.space import LayerChoice

from .graph import GraphWhenFrozen
from .partial_channels import PartialChannels, part_of


def _conv(width: int, kernel: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(width, width, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
    )


def _separable(width: int, kernel: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width, bias=False),
        nn.Conv1d(width, width, 1, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
    )


OPERATIONS: dict[str, Callable[[int], nn.Module]] = {
    "skip": lambda width: nn.Identity(),
    "max_pool": lambda width: nn.MaxPool1d(3, stride=1, padding=1),
    "conv3": lambda width: _conv(width, 3),
    "conv7": lambda width: _conv(width, 7),
    "dwsep5": lambda width: _separable(width, 5),
}
"""Name -> factory of an operation that keeps shape ``(batch, width, length)``."""


class Chain1d(GraphWhenFrozen):
    """A stem, positions with one operation each, and a linear classifier.

    The length is halved by the stem and once more in the middle of the chain.

    Args:
        positions: how many choices there are; their labels are ``op1``, ``op2``, ...
        width: channels throughout.
        length: samples of the signal, a multiple of 4.
        classes: of the classifier.
        partial_channels: operations get one in so many channels; see :class:`.PartialChannels`.

    Raises:
        SpaceError: ``width`` is no multiple of ``partial_channels``.
    """

    def __init__(
        self,
        positions: int = 4,
        width: int = 16,
        length: int = 40,
        classes: int = 10,
        *,
        partial_channels: int = 1,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(1, width, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
        part = part_of(width, partial_channels)
        chain: list[nn.Module] = [
            LayerChoice(
                {name: make(part) for name, make in OPERATIONS.items()}, label=f"op{position + 1}"
            )
            for position in range(positions)
        ]
        if partial_channels > 1:
            chain = [PartialChannels(choice, width, partial_channels) for choice in chain]
        chain.insert(positions // 2, nn.MaxPool1d(2))
        self.chain = nn.Sequential(*chain)
        self.classifier = nn.Linear(width * (length // 4), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify signals.

        Args:
            x: shape ``(batch, length)``.

        Returns:
            Logits, shape ``(batch, classes)``.
        """
        features: Tensor = self.chain(self.stem(x.unsqueeze(1)))
        return self.classifier(features.flatten(1))  # type: ignore[no-any-return]
