"""Extents of small models, written by hand from their architecture."""

from __future__ import annotations

from torch import nn

from oneshot_plugins.elastic.extent import Extent, Size

Table = dict[str, dict[int, Extent]]


def bert_extents(model: nn.Module, prefix: str = "") -> tuple[dict[str, Size], Table]:
    """Hidden size, heads * 8 and one feed-forward width for each layer."""
    config = model.config
    sizes = {
        "hidden": Size("hidden", config.hidden_size),
        "heads": Size("heads", config.num_attention_heads),
    }
    hidden = Extent.of(sizes["hidden"])
    heads = Extent.of(sizes["heads"], config.hidden_size // config.num_attention_heads)
    table: Table = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        if "attention.self" in name:
            table[name] = {0: heads, 1: hidden}
        elif "attention.output.dense.weight" in name:
            table[name] = {0: hidden, 1: heads}
        elif "intermediate.dense" in name or name.endswith("output.dense.weight"):
            layer = f"ffn{name.split('.')[2]}"
            sizes.setdefault(layer, Size(layer, config.intermediate_size))
            ffn = Extent.of(sizes[layer])
            table[name] = {0: ffn, 1: hidden} if "intermediate" in name else {0: hidden, 1: ffn}
        elif (
            "embeddings" in name and name.endswith("embeddings.weight")
        ) or name == "pooler.dense.weight":
            table[name] = {1: hidden}
        elif not name.startswith("pooler"):
            table[name] = {0: hidden}
        table[name] = {d: e for d, e in table.get(name, {}).items() if d < tensor.dim()}
    return sizes, {name: dims for name, dims in table.items() if dims}


def llama_extents(model: nn.Module) -> tuple[dict[str, Size], Table]:
    """Hidden size, kv groups, queries of a group, and one feed-forward width for all layers."""
    config = model.config
    kv, q = config.num_key_value_heads, config.num_attention_heads // config.num_key_value_heads
    sizes = {
        "hidden": Size("hidden", config.hidden_size),
        "kv": Size("kv", kv),
        "q": Size("q", q),
        "ffn": Size("ffn", config.intermediate_size),
    }
    hidden, ffn = Extent.of(sizes["hidden"]), Extent.of(sizes["ffn"])
    keys = Extent.of(sizes["kv"], config.head_dim)
    queries = Extent.of(sizes["kv"], sizes["q"], config.head_dim)
    of = {
        "q_proj": {0: queries, 1: hidden},
        "k_proj": {0: keys, 1: hidden},
        "v_proj": {0: keys, 1: hidden},
        "o_proj": {0: hidden, 1: queries},
        "gate_proj": {0: ffn, 1: hidden},
        "up_proj": {0: ffn, 1: hidden},
        "down_proj": {0: hidden, 1: ffn},
        "embed_tokens": {1: hidden},
        "lm_head": {1: hidden},
    }
    table = {
        name: of.get(name.split(".")[-2], {0: hidden})
        for name, _ in model.named_parameters(remove_duplicate=False)
    }
    return sizes, table
