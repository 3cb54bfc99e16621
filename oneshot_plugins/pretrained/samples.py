"""What the conformance checks try our adapters with: small models with random weights.

Those of transformers, timm and torchvision are there where the package is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from oneshot_core.testing import Sample, same_each_time


def _ids() -> Tensor:
    return torch.arange(5, 19).reshape(2, 7)


def _image(size: int) -> Tensor:
    return torch.linspace(-1, 1, 6 * size * size).reshape(2, 3, size, size)


def _transformers(
    config: str, *models: str, give: Callable[[], tuple[Any, ...]], **numbers: Any
) -> list[Sample]:
    """Return models that are built from one config."""
    if find_spec("transformers") is None:
        return []

    def build(model: str) -> nn.Module:
        package: Any = import_module("transformers")
        built: nn.Module = getattr(package, model)(getattr(package, config)(**numbers))
        return built

    return [
        Sample(same_each_time(lambda model=model: build(model)), give, model)  # type: ignore[misc]
        for model in models
    ]


_BERT = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 16,
}
_GROUPED = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "pad_token_id": 0,
    "use_cache": False,
}
_VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 16,
    "patch_size": 8,
}


def bert() -> list[Sample]:
    """Return BERT alone and under a classifier, and RoBERTa."""

    def words() -> tuple[Any, ...]:
        return (_ids(), torch.ones(2, 7, dtype=torch.long))

    roberta = {**_BERT, "pad_token_id": 1}
    return [
        *_transformers(
            "BertConfig", "BertModel", "BertForSequenceClassification", give=words, **_BERT
        ),
        *_transformers("RobertaConfig", "RobertaModel", give=words, **roberta),
    ]  # fmt: skip


def bert_head() -> list[Sample]:
    """Return BERT that predicts words."""
    return _transformers("BertConfig", "BertForMaskedLM", give=lambda: (_ids(),), **_BERT)


def roberta_head() -> list[Sample]:
    """Return RoBERTa that predicts words, and classes."""
    models = ("RobertaForMaskedLM", "RobertaForSequenceClassification")
    return _transformers(
        "RobertaConfig", *models, give=lambda: (_ids(),), **{**_BERT, "pad_token_id": 1}
    )


def _distilbert(*models: str) -> list[Sample]:
    return _transformers(
        "DistilBertConfig", *models, give=lambda: (_ids(),),
        vocab_size=40, dim=16, hidden_dim=24, n_layers=2, n_heads=4, max_position_embeddings=16,
    )  # fmt: skip


def distilbert() -> list[Sample]:
    """Return DistilBERT."""
    return _distilbert("DistilBertModel")


def distilbert_head() -> list[Sample]:
    """Return DistilBERT that predicts words, and classes."""
    return _distilbert("DistilBertForMaskedLM", "DistilBertForSequenceClassification")


def llama() -> list[Sample]:
    """Return models with grouped queries, one with layers of two types."""

    def words() -> tuple[Any, ...]:
        return (_ids(),)

    mixed = {
        "layer_types": ["sliding_attention", "full_attention"],
        "use_sliding_window": True,
        "sliding_window": 3,
    }
    return [
        *_transformers("LlamaConfig", "LlamaForCausalLM", give=words, **_GROUPED),
        *_transformers("MistralConfig", "MistralModel", give=words, **_GROUPED),
        *_transformers("Qwen2Config", "Qwen2Model", give=words, **_GROUPED),
        *_transformers("Qwen3Config", "Qwen3ForCausalLM", give=words, **_GROUPED, **mixed),
    ]


def gemma() -> list[Sample]:
    """Return Gemma of three generations."""

    def words() -> tuple[Any, ...]:
        return (_ids(),)

    return [
        *_transformers("GemmaConfig", "GemmaForCausalLM", give=words, **_GROUPED),
        *_transformers("Gemma2Config", "Gemma2ForCausalLM", give=words, **_GROUPED),
        *_transformers("Gemma3TextConfig", "Gemma3ForCausalLM", give=words, **_GROUPED),
    ]


def gpt2() -> list[Sample]:
    """Return GPT-2."""
    numbers = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 16}
    numbers |= {"bos_token_id": 1, "eos_token_id": 2}
    return _transformers(
        "GPT2Config", "GPT2LMHeadModel", give=lambda: (_ids(),), **numbers, use_cache=False
    )


def t5() -> list[Sample]:
    """Return T5 with a plain feed-forward network, and with a gated one."""
    numbers = {
        "vocab_size": 40, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4,
        "decoder_start_token_id": 0, "use_cache": False,
    }  # fmt: skip

    def words() -> tuple[Any, ...]:
        return (_ids(), None, _ids())

    gated = {**numbers, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    return [
        *_transformers("T5Config", "T5ForConditionalGeneration", give=words, **numbers),
        *_transformers("T5Config", "T5ForConditionalGeneration", give=words, **gated),
    ]


def vit() -> list[Sample]:
    """Return ViT, with a token for masks."""
    return _transformers(
        "ViTConfig", "ViTModel", give=lambda: (_image(16),), **_VIT, intermediate_size=24
    ) + _transformers(
        "ViTConfig",
        "ViTForMaskedImageModeling",
        give=lambda: (_image(16),),
        **_VIT,
        intermediate_size=24,
        encoder_stride=8,
    )


def dinov2() -> list[Sample]:
    """Return DINOv2, with both kinds of feed-forward networks."""
    return _transformers(
        "Dinov2Config", "Dinov2Model", give=lambda: (_image(16),), **_VIT, mlp_ratio=2
    )


def _of(package: str, module: str, function: str, size: int, **options: Any) -> list[Sample]:
    """Return a model of timm or torchvision, which a function of the package builds."""
    if find_spec(package) is None:
        return []

    def build() -> nn.Module:
        built: nn.Module = getattr(import_module(module), function)(**options)
        return built

    return [Sample(same_each_time(build), lambda: (_image(size),), function)]


def timm_vit() -> list[Sample]:
    """Return a small ViT of timm."""
    return _of(
        "timm", "timm.models.vision_transformer", "VisionTransformer", 16,
        img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=4, mlp_ratio=2, num_classes=3,
    )  # fmt: skip


def torchvision_vit() -> list[Sample]:
    """Return a small ViT of torchvision."""
    return _of(
        "torchvision", "torchvision.models.vision_transformer", "VisionTransformer", 16,
        image_size=16, patch_size=8, num_layers=2, num_heads=4, hidden_dim=16, mlp_dim=24,
        num_classes=3,
    )  # fmt: skip


def torchvision_swin() -> list[Sample]:
    """Return a small Swin Transformer of torchvision."""
    return _of(
        "torchvision", "torchvision.models.swin_transformer", "SwinTransformer", 32,
        patch_size=[2, 2], embed_dim=8, depths=[2, 1, 1, 1], num_heads=[2, 2, 4, 4],
        window_size=[2, 2], num_classes=3,
    )  # fmt: skip


def resnet() -> list[Sample]:
    """Return ResNet-18 of torchvision and of timm."""
    return [
        *_of("torchvision", "torchvision.models.resnet", "resnet18", 32, num_classes=3),
        *_of("timm", "timm.models.resnet", "resnet18", 32, num_classes=3),
    ]


def torchvision_convnext() -> list[Sample]:
    """Return the smallest ConvNeXt of torchvision."""
    return _of("torchvision", "oneshot_plugins.pretrained.samples", "_convnext", 32)


def _convnext() -> nn.Module:
    module: Any = import_module("torchvision.models.convnext")
    setting = module.CNBlockConfig
    stages = [setting(8, 12, 2), setting(12, 16, 1), setting(16, 20, 1), setting(20, None, 1)]
    built: nn.Module = module.ConvNeXt(stages, num_classes=3)
    return built


def torchvision_efficientnet() -> list[Sample]:
    """Return EfficientNet-B0 of torchvision."""
    return _of(
        "torchvision", "torchvision.models.efficientnet", "efficientnet_b0", 32, num_classes=3
    )


def torchvision_mobilenet() -> list[Sample]:
    """Return the small MobileNets of torchvision."""
    return [
        *_of("torchvision", "torchvision.models.mobilenetv2", "mobilenet_v2", 32, width_mult=0.25),
        *_of("torchvision", "torchvision.models.mobilenetv3", "mobilenet_v3_small", 32),
    ]


def timm_convnext() -> list[Sample]:
    """Return a small ConvNeXt of timm."""
    return _of(
        "timm", "timm.models.convnext", "ConvNeXt", 32,
        depths=(2, 1, 1, 1), dims=(8, 12, 16, 20), num_classes=3,
    )  # fmt: skip


def timm_efficientnet() -> list[Sample]:
    """Return EfficientNet-B0 and a small MobileNetV3 of timm."""
    return [
        *_of("timm", "timm.models.efficientnet", "efficientnet_b0", 32, num_classes=3),
        *_of("timm", "timm.models.mobilenetv3", "mobilenetv3_small_050", 32, num_classes=3),
    ]


class _Attends(nn.Module):
    """Attention of a sequence to itself, between two layers."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.first = nn.Linear(6, 16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True, **options)
        self.last = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        out: Tensor = self.last(self.attention(hidden, hidden, hidden, need_weights=False)[0])
        return out


def _sequence(features: int = 16) -> Tensor:
    return torch.linspace(-1, 1, 6 * features).reshape(2, 3, features)


def attention() -> list[Sample]:
    """Return attention of torch, with biases and without."""
    return [
        Sample(same_each_time(_Attends), lambda: (_sequence(6),)),
        Sample(same_each_time(lambda: _Attends(bias=False)), lambda: (_sequence(6),)),
    ]


def _layer() -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(16, 4, 24, dropout=0.0, batch_first=True)


def transformer_layer() -> list[Sample]:
    """Return an encoder layer and a decoder layer of torch."""
    decoder = same_each_time(
        lambda: nn.TransformerDecoderLayer(16, 4, 24, dropout=0.0, batch_first=True)
    )
    return [
        Sample(same_each_time(_layer), lambda: (_sequence(),)),
        Sample(decoder, lambda: (_sequence(), _sequence())),
    ]


def transformer_stack() -> list[Sample]:
    """Return an encoder of torch."""
    return [
        Sample(
            same_each_time(lambda: nn.TransformerEncoder(_layer(), 3, enable_nested_tensor=False)),
            lambda: (_sequence(),),
        )
    ]


def transformer() -> list[Sample]:
    """Return the whole transformer of torch."""

    def build() -> nn.Module:
        return nn.Transformer(16, 4, 2, 2, 24, dropout=0.0, batch_first=True)

    return [Sample(same_each_time(build), lambda: (_sequence(), _sequence()))]
