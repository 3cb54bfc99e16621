"""The transformers of torch itself: ``nn.MultiheadAttention`` and what holds it."""

from __future__ import annotations

from typing import Final

from ..adapter import Adapter

__all__ = ["MULTIHEAD_ATTENTION", "TRANSFORMER", "TRANSFORMER_LAYER", "TRANSFORMER_STACK"]

MULTIHEAD_ATTENTION: Final = Adapter(
    heads="out_proj.weight:1 / head_dim",
    follows={
        "": {
            "embed_dim": ("in_proj_weight:1", "q_proj_weight:1"),
            "num_heads": "out_proj.weight:1 / head_dim",
            "kdim": ("k_proj_weight:1", "in_proj_weight:1"),
            "vdim": ("v_proj_weight:1", "in_proj_weight:1"),
        }
    },
)
"""torch divides ``embed_dim`` by the heads, so the hidden size consists of whole heads."""

TRANSFORMER_LAYER: Final = Adapter(hidden="norm1.weight:0", ffn="linear1.weight:0")

TRANSFORMER_STACK: Final = Adapter(depth="layers.*", follows={"": {"num_layers": "#layers.*"}})

TRANSFORMER: Final = Adapter(
    follows={
        "": {
            "d_model": ("encoder.layers.0.norm1.weight:0", "decoder.layers.0.norm1.weight:0"),
            "nhead": "encoder.layers.0.self_attn.out_proj.weight:1 / "
            "encoder.layers.0.self_attn.head_dim",
        }
    }
)
