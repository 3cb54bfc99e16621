"""Language models that predict the next word: Llama and its relatives, GPT-2."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ..adapter import Adapter, Blocks

__all__ = ["CONV1D", "GEMMA", "GPT2", "GROUPED"]

GROUPED: Final = Adapter(
    hidden="embed_tokens.weight:1",
    ffn="layers.*.mlp.gate_proj.weight:0",
    heads="layers.*.self_attn.q_proj.weight:0 / head_dim",
    kv="layers.*.self_attn.k_proj.weight:0 / head_dim",
    follows={
        "layers.*": {"hidden_size": "input_layernorm.weight:0"},
        "layers.*.mlp": {
            "hidden_size": "gate_proj.weight:1",
            "intermediate_size": "up_proj.weight:0",
        },
        "layers.*.self_attn": {"num_key_value_groups": "q_proj.weight:0 / k_proj.weight:0"},
    },
    depth=Blocks("layers.*", index=("self_attn.layer_idx", "layer_idx"), lists=("layer_types",)),
    config={
        "hidden_size": "hidden",
        "intermediate_size": "ffn",
        "num_attention_heads": "heads",
        "num_key_value_heads": "kv",
        "num_hidden_layers": "#layers.*",
        "head_dim": "layers.0.self_attn.head_dim",
    },
)
"""Llama, Mistral, Qwen2, Qwen3: groups of queries share keys and values."""

GEMMA: Final = replace(
    GROUPED,
    follows={
        **GROUPED.follows,
        "embed_tokens": dict.fromkeys(("scalar_embed_scale", "embed_scale"), "weight:1 ** 0.5"),
    },
)
"""Gemma multiplies embeddings by the square root of the hidden size."""

GPT2: Final = Adapter(
    hidden="wte.weight:1",
    ffn="h.*.mlp.c_fc.weight:1",
    heads="h.*.attn.c_proj.weight:0 / head_dim",
    follows={
        "": {"embed_dim": "wte.weight:1"},
        "h.*.attn": {
            "embed_dim": "c_proj.weight:1",
            "split_size": "c_attn.weight:1 / 3",
            "num_heads": "c_proj.weight:0 / head_dim",
        },
    },
    depth=Blocks("h.*", index=("attn.layer_idx",)),
    config={"n_embd": "hidden", "n_inner": "ffn", "n_head": "heads", "n_layer": "#h.*"},
    needs=(("hidden / heads", "h.0.attn.head_dim"),),
)

CONV1D: Final = Adapter(follows={"": {"nf": "weight:1", "nx": "weight:0"}})
"""The linear layer of GPT-2, whose weight is stored transposed."""
