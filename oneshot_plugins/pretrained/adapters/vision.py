"""Vision transformers: of transformers, of timm and of torchvision."""

from __future__ import annotations

from typing import Final

from ..adapter import Adapter, Blocks

__all__ = ["DINOV2", "TIMM_VIT", "TORCHVISION_SWIN", "TORCHVISION_VIT", "VIT"]

_HEADS = {"num_attention_heads": "q_proj.weight:0 / head_dim"}

VIT: Final = Adapter(
    hidden=("embeddings.patch_embeddings.projection.weight:0", "embeddings.mask_token:2"),
    ffn="layers.*.mlp.fc1.weight:0",
    heads="layers.*.attention.q_proj.weight:0 / head_dim",
    follows={"layers.*.attention": _HEADS},
    depth="layers.*",
    config={
        "hidden_size": "hidden",
        "intermediate_size": "ffn",
        "num_attention_heads": "heads",
        "num_hidden_layers": "#layers.*",
        "head_dim": "layers.0.attention.head_dim",
        "pooler_output_size": "pooler.dense.weight:0",
    },
)

DINOV2: Final = Adapter(
    hidden=("embeddings.patch_embeddings.projection.weight:0", "embeddings.mask_token:1"),
    ffn="encoder.layer.*.mlp.fc1.weight:0",
    heads="encoder.layer.*.attention.q_proj.weight:0 / head_dim",
    follows={"encoder.layer.*.attention": _HEADS},
    depth="encoder.layer.*",
    config={
        "hidden_size": "hidden",
        "mlp_ratio": "ffn / hidden",
        "num_attention_heads": "heads",
        "num_hidden_layers": "#encoder.layer.*",
        "head_dim": "encoder.layer.0.attention.head_dim",
    },
)

TIMM_VIT: Final = Adapter(
    hidden="patch_embed.proj.weight:0",
    ffn="blocks.*.mlp.fc1.weight:0",
    heads="blocks.*.attn.proj.weight:1 / head_dim",
    follows={
        "": dict.fromkeys(
            ("embed_dim", "num_features", "head_hidden_size"), "patch_embed.proj.weight:0"
        ),
        "blocks.*.attn": {
            "num_heads": "proj.weight:1 / head_dim",
            "attn_dim": "proj.weight:1",
        },
    },
    depth="blocks.*",
)

TORCHVISION_VIT: Final = Adapter(
    hidden="conv_proj.weight:0",
    ffn="encoder.layers.*.mlp.0.weight:0",
    follows={
        "": {"hidden_dim": "conv_proj.weight:0"},
        "encoder.layers.*": {
            "num_heads": "self_attention.out_proj.weight:1 / self_attention.head_dim"
        },
    },
    depth="encoder.layers.*",
)
"""Its heads are those of ``nn.MultiheadAttention``, which has an adapter of its own."""

TORCHVISION_SWIN: Final = Adapter(
    ffn="features.*.*.mlp.0.weight:0",
    depth=tuple(Blocks(f"features.{stage}.*") for stage in (1, 3, 5, 7)),
)
"""Its windows compute with the hidden size and the heads of each stage, which stay as they are."""
