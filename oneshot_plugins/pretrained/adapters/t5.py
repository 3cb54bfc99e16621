"""T5: an encoder and a decoder, each with a config of its own.

The first block computes the bias of positions that all later ones use. So it stays, and the heads
of a stack are one size. A block gives back three things: hidden states and two biases.
"""

from __future__ import annotations

from typing import Final

from ..adapter import Adapter, Blocks

__all__ = ["T5", "T5_STACK"]

_NUMBERS = {"d_model": "hidden", "d_ff": "ffn", "num_heads": "heads"}

T5_STACK: Final = Adapter(
    hidden="embed_tokens.weight:1",
    ffn=(
        "block.*.layer.*.DenseReluDense.wi.weight:0",
        "block.*.layer.*.DenseReluDense.wi_0.weight:0",
    ),
    heads="block.*.layer.*.*Attention.q.weight:0 / key_value_proj_dim",
    follows={
        "block.*.layer.*.*Attention": {
            "n_heads": "q.weight:0 / key_value_proj_dim",
            "inner_dim": "q.weight:0",
            "d_model": "q.weight:1",
        }
    },
    depth=Blocks("block.*", give=(0, 2, 5), keep=(0,), index=("layer.*.*Attention.layer_idx",)),
    config={**_NUMBERS, "num_layers": "#block.*"},
)

T5: Final = Adapter(
    hidden="shared.weight:1",
    ffn=(
        "*coder.block.*.layer.*.DenseReluDense.wi.weight:0",
        "*coder.block.*.layer.*.DenseReluDense.wi_0.weight:0",
    ),
    heads="*coder.block.*.layer.*.*Attention.q.weight:0 / key_value_proj_dim",
    follows={"": {"model_dim": "shared.weight:1"}},
    config={
        **_NUMBERS,
        "num_layers": "#encoder.block.*",
        "num_decoder_layers": "#decoder.block.*",
    },
)
"""The model as a whole; its two stacks are found inside."""
