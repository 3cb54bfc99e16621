"""AutoFormer: a vision transformer of which widths, heads and depth are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oneshot_core import nn as onn
from oneshot_core.space import Repeat, choice
from oneshot_plugins.elastic.rule import LayerRule, pad_to

from .graph import GraphWhenFrozen
from .widths import computed


class ClassToken(GraphWhenFrozen):
    """Put a learned token before the others.

    Args:
        width: of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, 1, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw from a normal distribution with standard deviation 0.02, cut off at 2."""
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Return shape ``(N, tokens + 1, width)``."""
        return torch.cat([self.weight.expand(x.shape[0], -1, -1), x], 1)


class PositionEmbedding(GraphWhenFrozen):
    """Add something learned to every token.

    Args:
        tokens: how many there are.
        width: of a token.
    """

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, tokens, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw from a normal distribution with standard deviation 0.02, cut off at 2."""
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Return shape ``(N, tokens, width)``."""
        return x + self.weight


class TokensRule(LayerRule):
    """What is learned for tokens: the first features."""

    def narrow(
        self, template: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (args[0][..., : template.weight.shape[-1]], *args[1:]), dict(kwargs)

    def widen(self, output: Any, like: Sequence[Any]) -> Any:
        return pad_to(output, -1, max(o.shape[-1] for o in like))


class Attention(GraphWhenFrozen):
    """Attention between tokens, of heads of fixed size.

    Query, key and value are ``heads * size`` wide whatever a token is, so a head that is left
    out changes nothing in the others.

    Args:
        width: of a token, a number or a value.
        heads: how many, a number or a value.
        size: of a head.
    """

    def __init__(self, width: Any, heads: Any, size: int) -> None:
        super().__init__()
        self.query = onn.Linear(width, heads * size)
        self.key = onn.Linear(width, heads * size)
        self.value = onn.Linear(width, heads * size)
        self.output = onn.Linear(heads * size, width)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return shape ``(N, tokens, width)``."""
        query, key, value = (
            layer(x).unflatten(-1, (-1, self.size)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        mixed: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return mixed


class EncoderLayer(GraphWhenFrozen):
    """Attention and a perceptron, each behind a LayerNorm and beside a residual connection.

    Args:
        width: of a token, a number or a value.
        heads: of the attention, a number or a value.
        hidden: width within the perceptron, a number or a value.
        size: of a head.
    """

    def __init__(self, width: Any, heads: Any, hidden: Any, size: int) -> None:
        super().__init__()
        self.attention_norm = onn.LayerNorm(width)
        self.attention = Attention(width, heads, size)
        self.perceptron_norm = onn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            onn.Linear(width, hidden), nn.GELU(), onn.Linear(hidden, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return shape ``(N, tokens, width)``."""
        x = x + self.attention(self.attention_norm(x))
        total: Tensor = x + self.perceptron(self.perceptron_norm(x))
        return total


class AutoFormer(GraphWhenFrozen):
    """A vision transformer that chooses its width, depth, and each layer's heads and hidden width.

    Labels: ``embed_dim``, ``depth``, and for each layer ``layer{i}/heads`` and
    ``layer{i}/mlp_ratio``. Query, key and value have 64 features for each head. Everything is cut
    to the first features, the class token and position embedding too (weight entanglement).

    The defaults are AutoFormer-tiny's: ``3 * (6**12 + 6**13 + 6**14)``, some 2.8e11 architectures;
    :meth:`small` and :meth:`base` have 7.7e13 and 6.2e15. The paper's more than 1.7e16 for the
    three together does not follow from its table of ranges.

    The relative position embedding of the paper is left out. With its ``4 * (2 * 14 + 2) * 64``
    numbers in every layer added, the released small and base networks have 22.9 and 53.7 M
    parameters, as in the paper. Not verified: the tiny one, 5.87 M then (5.77 M without), where
    the paper says 5.7 M.

    Args:
        widths: of a token.
        depths: numbers of layers.
        heads: of a layer.
        ratios: width within the perceptron over the token's.
        image: height and width of the images, a multiple of ``patch``.
        patch: height and width of what becomes a token.
        classes: of the classifier.
        head_size: features of a head.
        average: whether the classifier sees the mean of the patches; else the class token.

    Source: Chen et al., "AutoFormer", arXiv:2107.00651, section 3 and table 1;
    ``nni.nas.hub.pytorch.AutoFormer``.
    """

    def __init__(
        self,
        widths: Sequence[int] = (192, 216, 240),
        depths: Sequence[int] = (12, 13, 14),
        heads: Sequence[int] = (3, 4),
        ratios: Sequence[float] = (3.0, 3.5, 4.0),
        *,
        image: int = 224,
        patch: int = 16,
        classes: int = 1000,
        head_size: int = 64,
        average: bool = True,
    ) -> None:
        super().__init__()
        width = choice(widths, label="embed_dim")
        self.patches = onn.Conv2d(3, width, patch, patch)
        self.token = onn.mutable(ClassToken)(width)
        self.positions = onn.mutable(PositionEmbedding)((image // patch) ** 2 + 1, width)

        def layer(index: int) -> nn.Module:
            name = f"layer{index + 1}"
            ratio = choice(ratios, label=f"{name}/mlp_ratio")
            count = choice(heads, label=f"{name}/heads")
            return EncoderLayer(width, count, computed(_times, width, ratio), head_size)

        self.layers = Repeat(layer, list(depths), label="depth")
        self.norm = onn.LayerNorm(width)
        self.classifier = onn.Linear(width, classes)
        self.average = average

    @classmethod
    def small(cls, **options: Any) -> AutoFormer:
        """Build the space of AutoFormer-small."""
        return cls((320, 384, 448), (12, 13, 14), (5, 6, 7), (3.0, 3.5, 4.0), **options)

    @classmethod
    def base(cls, **options: Any) -> AutoFormer:
        """Build the space of AutoFormer-base."""
        return cls((528, 576, 624), (14, 15, 16), (8, 9, 10), (3.0, 3.5, 4.0), **options)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images.

        Args:
            x: shape ``(N, 3, image, image)``.

        Returns:
            Logits, shape ``(N, classes)``.
        """
        tokens = self.token(self.patches(x).flatten(2).transpose(1, 2))
        tokens = self.norm(self.layers(self.positions(tokens)))
        seen = tokens[:, 1:].mean(1) if self.average else tokens[:, 0]
        return self.classifier(seen)  # type: ignore[no-any-return]


def _times(width: int, ratio: float) -> int:
    return int(width * ratio)
