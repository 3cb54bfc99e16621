"""BERT and what was built like it: MiniLM, RoBERTa, DistilBERT.

Their configs know no size of a head, so what they say is ``hidden = heads * size``.
"""

from __future__ import annotations

from typing import Final

from ..adapter import Adapter, Blocks

__all__ = ["BERT", "BERT_HEAD", "DISTILBERT", "DISTILBERT_HEAD", "ROBERTA_HEAD"]

BERT: Final = Adapter(
    hidden=("embeddings.word_embeddings.weight:1", "pooler.dense.weight:0"),
    ffn="encoder.layer.*.intermediate.dense.weight:0",
    heads="encoder.layer.*.attention.self.query.weight:0 / attention_head_size",
    follows={
        "encoder.layer.*.attention.self": {
            "num_attention_heads": "query.weight:0 / attention_head_size",
            "all_head_size": "query.weight:0",
        },
    },
    depth=Blocks("encoder.layer.*", index=("attention.self.layer_idx",)),
    config={
        "hidden_size": "hidden",
        "intermediate_size": "ffn",
        "num_attention_heads": "heads",
        "num_hidden_layers": "#encoder.layer.*",
    },
    needs=(("hidden / heads", "encoder.layer.0.attention.self.attention_head_size"),),
)

BERT_HEAD: Final = Adapter(hidden="cls.predictions.transform.dense.weight:0")
"""What predicts words maps the hidden size to itself, says the config."""

ROBERTA_HEAD: Final = Adapter(hidden=("lm_head.dense.weight:0", "classifier.dense.weight:0"))

DISTILBERT: Final = Adapter(
    hidden="embeddings.word_embeddings.weight:1",
    ffn="transformer.layer.*.ffn.lin1.weight:0",
    heads="transformer.layer.*.attention.q_lin.weight:0 / attention_head_size",
    follows={
        "transformer.layer.*.attention": {
            "n_heads": "q_lin.weight:0 / attention_head_size",
            "dim": "q_lin.weight:1",
        },
        "transformer": {"n_layers": "#layer.*"},
    },
    depth=Blocks("transformer.layer.*"),
    config={
        "dim": "hidden",
        "hidden_dim": "ffn",
        "n_heads": "heads",
        "n_layers": "#transformer.layer.*",
    },
    needs=(("hidden / heads", "transformer.layer.0.attention.attention_head_size"),),
)

DISTILBERT_HEAD: Final = Adapter(hidden=("vocab_transform.weight:0", "pre_classifier.weight:0"))
