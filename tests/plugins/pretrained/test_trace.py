"""The tracer finds what a reading of the architecture finds."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

from oneshot_plugins.elastic.extent import Size
from oneshot_plugins.pretrained.trace import Follow, Trace, TraceError, trace

from ...models import TWELVE, Built, build, package, torchvision
from .proving import prove


def traced(built: Built, **more: Any) -> Trace:
    return trace(built.model, built.args, built.kwargs, **more)


def members(found: Trace, size: Size) -> set[str]:
    """Return ``"tensor:dim = extent"`` of all that depends on a size, which is called S."""
    return {
        f"{name}:{dim} = " + str(extent).replace(size.name, "S")
        for name, dims in found.extents.items()
        for dim, extent in dims.items()
        if size in extent.sizes
    }


def named(found: Trace, name: str) -> Size:
    (size,) = [s for s in found.sizes if s.name == name]
    return size


def test_bert_has_one_hidden_size_heads_and_a_ffn_in_each_layer_and_a_pooler() -> None:
    built = build("bert")
    found = traced(built)
    assert [(s.full, s.unit) for s in found.sizes] == [(48, 1), *[(6, 1), (80, 1)] * 3, (48, 1)]
    hidden, heads, ffn, *_, pooler = found.sizes

    layer = "encoder.layer.0."
    attention = [f"{layer}attention.self.{n}" for n in ("query", "key", "value")]
    assert members(found, heads) == {
        *(f"{n}.{kind}:0 = S * 8" for n in attention for kind in ("weight", "bias")),
        f"{layer}attention.output.dense.weight:1 = S * 8",
    }
    assert members(found, ffn) == {
        f"{layer}intermediate.dense.weight:0 = S",
        f"{layer}intermediate.dense.bias:0 = S",
        f"{layer}output.dense.weight:1 = S",
    }
    shapes = {n: tuple(p.shape) for n, p in built.model.named_parameters()}
    reads = {
        f"encoder.layer.{i}.{n}.weight:1 = S"
        for i in range(3)
        for n in ("attention.self.query", "attention.self.key", "attention.self.value",
                  "intermediate.dense")
    }  # fmt: skip
    writes = {
        f"{name}:0 = S"
        for name, shape in shapes.items()
        if "LayerNorm" in name or ("output.dense" in name and shape[0] == 48)
    }
    tables = {f"{n}:1 = S" for n in shapes if n.startswith("embeddings") and "_embeddings" in n}
    assert members(found, hidden) == reads | writes | tables | {"pooler.dense.weight:1 = S"}
    assert members(found, pooler) == {"pooler.dense.weight:0 = S", "pooler.dense.bias:0 = S"}
    assert found.outputs == (hidden, pooler)
    assert {(f.tensor, f.dim, f.reason) for f in found.fixed} == {
        (f"embeddings.{n}_embeddings.weight", 0, "the input chooses rows of this table")
        for n in ("word", "position", "token_type")
    }
    assert all("modeling_bert.py" in f.where for f in found.fixed)


def test_llama_has_kv_groups_of_which_each_brings_its_queries() -> None:
    found = traced(build("llama"))
    assert [s.full for s in found.sizes] == [48, *[2, 80] * 3, 100]
    layer = "model.layers.1."
    groups = named(found, f"{layer}self_attn.k_proj.weight:0")
    assert members(found, groups) == {
        f"{layer}self_attn.q_proj.weight:0 = S * 24",
        f"{layer}self_attn.k_proj.weight:0 = S * 8",
        f"{layer}self_attn.v_proj.weight:0 = S * 8",
        f"{layer}self_attn.o_proj.weight:1 = S * 24",
    }
    ffn = named(found, f"{layer}mlp.gate_proj.weight:0")
    assert members(found, ffn) == {
        f"{layer}mlp.gate_proj.weight:0 = S",
        f"{layer}mlp.up_proj.weight:0 = S",
        f"{layer}mlp.down_proj.weight:1 = S",
    }
    assert found.outputs == (named(found, "lm_head.weight:0"),)


def test_queries_of_each_kv_group_are_a_size_where_their_number_follows() -> None:
    built = build("llama")
    at: dict[str, dict[str, Follow]] = {}
    for i in range(3):
        path = f"model.layers.{i}.self_attn"
        keys = (f"{path}.k_proj.weight", 0)
        follow = Follow(f"{path}.q_proj.weight", 0, per=keys, unit=8)
        at[path] = {"num_key_value_groups": follow}
    found = traced(built, attributes=at)
    assert [s.full for s in found.sizes] == [48, *[3, 2, 80] * 3, 100]
    path = "model.layers.0.self_attn"
    queries, groups = found.sizes[1:3]
    assert repr(found.extents[f"{path}.k_proj.weight"][0]) == f"{groups.name} * 8"
    extent = f"{groups.name} * {queries.name} * 8"
    assert repr(found.extents[f"{path}.q_proj.weight"][0]) == extent
    assert repr(found.extents[f"{path}.o_proj.weight"][1]) == extent
    assert found.attributes[path]["num_key_value_groups"].sizes == (queries,)
    assert prove(built.model, found, built.args, built.kwargs) is found
    assert built.model.get_submodule(path).num_key_value_groups == 3


def test_tied_embeddings_stand_under_both_names_and_keep_their_rows() -> None:
    found = traced(build("gemma3"))
    assert found.extents["lm_head.weight"] == found.extents["model.embed_tokens.weight"]
    assert list(found.extents["lm_head.weight"]) == [1]
    assert found.outputs == ()
    assert ("lm_head.weight", 0) in {(f.tensor, f.dim) for f in found.fixed}


def test_resnet18_has_one_size_for_each_stage_and_one_inside_each_block() -> None:
    found = traced(torchvision("resnet18"))
    assert Counter(s.full for s in found.sizes) == {64: 3, 128: 3, 256: 3, 512: 3, 1000: 1}
    inside = named(found, "layer2.1.conv1.weight:0")
    norm = ("weight", "bias", "running_mean", "running_var")
    assert members(found, inside) == {
        "layer2.1.conv1.weight:0 = S",
        *(f"layer2.1.bn1.{n}:0 = S" for n in norm),
        "layer2.1.conv2.weight:1 = S",
    }
    stage = named(found, "layer2.0.conv2.weight:0")
    assert members(found, stage) == {
        *(f"layer2.{i}.conv2.weight:0 = S" for i in (0, 1)),
        *(f"layer2.{i}.bn2.{n}:0 = S" for i in (0, 1) for n in norm),
        "layer2.0.downsample.0.weight:0 = S",
        *(f"layer2.0.downsample.1.{n}:0 = S" for n in norm),
        "layer2.1.conv1.weight:1 = S",
        "layer3.0.conv1.weight:1 = S",
        "layer3.0.downsample.0.weight:1 = S",
    }
    assert [f.tensor for f in found.fixed] == ["conv1.weight"]
    assert found.outputs == (named(found, "fc.weight:0"),)


def test_mobilenet_ties_depthwise_filters_and_squeeze_excite_to_what_they_scale() -> None:
    found = traced(build("mobilenet_v3_small"))
    assert len(found.sizes) == 28
    block = "features.4.block."  # expand, depthwise, squeeze and excite, project
    expanded = named(found, f"{block}0.0.weight:0")
    norm = ("weight", "bias", "running_mean", "running_var")
    assert members(found, expanded) == {
        f"{block}0.0.weight:0 = S",
        *(f"{block}{i}.1.{n}:0 = S" for i in (0, 1) for n in norm),
        f"{block}1.0.weight:0 = S",
        f"{block}2.fc1.weight:1 = S",
        f"{block}2.fc2.weight:0 = S",
        f"{block}2.fc2.bias:0 = S",
        f"{block}3.0.weight:1 = S",
    }


@pytest.mark.slow
def test_efficientnet_squeezes_into_a_size_of_its_own() -> None:
    found = traced(build("efficientnet_b0"))
    assert len(found.sizes) == 41
    squeeze = named(found, "features.2.0.block.2.fc1.weight:0")
    assert members(found, squeeze) == {
        "features.2.0.block.2.fc1.weight:0 = S",
        "features.2.0.block.2.fc1.bias:0 = S",
        "features.2.0.block.2.fc2.weight:1 = S",
    }


def gpt2_attributes() -> dict[str, dict[str, Follow]]:
    at: dict[str, dict[str, Follow]] = {}
    for i in range(3):
        path = f"transformer.h.{i}."
        packed = f"{path}attn.c_attn.weight"
        at[f"{path}attn"] = {
            "split_size": Follow(packed, 1, over=3),
            "embed_dim": Follow(packed, 1, over=3),
            "num_heads": Follow(packed, 1, over=3 * 8),
        }
        for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
            at[path + name] = {"nf": Follow(f"{path}{name}.weight", 1)}
    return at


def test_gpt2_without_attributes_is_fixed_by_lines_that_are_named() -> None:
    found = traced(build("gpt2"))
    assert found.sizes == ()
    fixed = {(f.tensor, f.dim): f for f in found.fixed}
    packed = fixed["transformer.h.0.attn.c_attn.weight", 1]
    assert (packed.length, packed.reason) == (144, "it must be 144 here")
    assert re.search(r"pytorch_utils\.py:\d+: x = x\.view\(size_out\)$", packed.where)
    assert str(packed).startswith("transformer.h.0.attn.c_attn.weight:1 stays 144: it must be")


def test_gpt2_with_attributes_that_follow_has_hidden_heads_and_ffn() -> None:
    built = build("gpt2")
    found = traced(built, attributes=gpt2_attributes())
    assert [s.full for s in found.sizes] == [48, *[6, 192] * 3]
    heads = found.sizes[1]
    assert members(found, heads) == {
        "transformer.h.0.attn.c_attn.weight:1 = 3 * S * 8",
        "transformer.h.0.attn.c_attn.bias:0 = 3 * S * 8",
        "transformer.h.0.attn.c_proj.weight:0 = S * 8",
    }
    attention = found.attributes["transformer.h.0.attn"]
    assert attention["num_heads"].at({heads: 2}) == 2
    assert attention["split_size"].at({heads: 2}) == 16
    assert prove(built.model, found, built.args, built.kwargs) is found


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TWELVE))
def test_every_architecture_runs_at_random_sizes(name: str) -> None:
    built = build(name)
    found = traced(built)
    assert prove(built.model, found, built.args, built.kwargs) is found
    assert found.sizes or name == "gpt2"


def test_dense_connections_are_sums_in_the_order_of_torch_cat() -> None:
    densenet = package("torchvision").models.DenseNet
    small = densenet(growth_rate=8, block_config=(2, 3), num_init_features=16, num_classes=9)
    built = Built(small.eval(), (torch.randn(2, 3, 64, 64),), {})
    found = traced(built)
    block = "features.denseblock1.denselayer"
    first, grown, more = (
        named(found, f"{n}.weight:0")
        for n in ("features.conv0", f"{block}1.conv2", f"{block}2.conv2")
    )
    assert found.extents["features.transition1.norm.weight"][0].terms == (
        (first,),
        (grown,),
        (more,),
    )
    assert prove(built.model, found, built.args) is found


@pytest.mark.slow
def test_grouped_convolutions_keep_their_groups() -> None:
    built = torchvision("regnet_y_400mf")
    found = traced(built)
    width = found.extents["trunk_output.block2.block2-0.f.b.0.weight"]
    inside = width[1].sizes[0]
    assert repr(width[0]).startswith("13 * ")
    assert (width[0].full, inside.full) == (104, 8)
    assert prove(built.model, found, built.args, times=1) is found


@pytest.mark.slow
def test_shuffled_channels_are_fixed_by_the_line_that_shuffles() -> None:
    built = torchvision("shufflenet_v2_x0_5")
    found = traced(built)
    fixed = {(f.tensor, f.dim): f for f in found.fixed}
    assert "x.view(batchsize, groups, channels_per_group" in (
        fixed["stage2.0.branch2.5.weight", 0].where
    )
    assert ("stage2.1.branch2.0.weight", 0) not in fixed  # between two 1x1 convolutions
    assert prove(built.model, found, built.args, times=1) is found


def test_experts_are_refused_with_the_operation_and_the_line() -> None:
    t = package("transformers")
    config = t.Qwen3MoeConfig(
        vocab_size=100, hidden_size=48, intermediate_size=80, num_hidden_layers=1, head_dim=8,
        num_attention_heads=6, num_key_value_heads=2, num_experts=4, num_experts_per_tok=2,
        moe_intermediate_size=40,
    )  # fmt: skip
    model = t.Qwen3MoeForCausalLM(config).eval()
    inputs = {"input_ids": torch.randint(5, 90, (2, 7)), "use_cache": False}
    with pytest.raises(TraceError, match=r"moe\.py:\d+: .*grouped_mm"):
        trace(model, (), inputs)


def test_whisper_has_hidden_sizes_and_ffn_and_says_which_line_fixes_its_heads() -> None:
    t = package("transformers")
    config = t.WhisperConfig(
        vocab_size=100, d_model=48, encoder_layers=1, decoder_layers=1, encoder_attention_heads=6,
        decoder_attention_heads=6, encoder_ffn_dim=80, decoder_ffn_dim=80, num_mel_bins=8,
        max_source_positions=20, max_target_positions=20, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    model = t.WhisperModel(config).eval()
    inputs = {
        "input_features": torch.randn(2, 8, 40),
        "decoder_input_ids": torch.randint(5, 90, (2, 7)),
        "use_cache": False,
    }
    found = trace(model, (), inputs)
    assert [s.full for s in found.sizes] == [48, 48, 80, 48, 80]
    fixed = {(f.tensor, f.dim): f.where for f in found.fixed}
    assert "modeling_whisper.py" in fixed["encoder.layers.0.self_attn.k_proj.weight", 0]
    assert prove(model, found, (), inputs) is found


@pytest.mark.slow
def test_vision_transformers_have_hidden_heads_and_ffn_where_attributes_follow() -> None:
    built = torchvision("vit_b_16", 224)
    found = traced(built, attributes={"": {"hidden_dim": Follow("conv_proj.weight", 0)}})
    assert found.sizes[0].full == 12  # the hidden size, counted in heads of 64
    assert repr(found.extents["conv_proj.weight"][0]) == f"{found.sizes[0].name} * 64"
    assert [s.full for s in found.sizes[1:]] == [3072] * 12 + [1000]
    assert prove(built.model, found, built.args, times=1) is found


def test_tracing_is_quick() -> None:
    found = traced(torchvision("resnet18", num_classes=9))
    assert found.seconds < 4


@pytest.mark.slow
def test_tracing_a_sentence_encoder_is_quick() -> None:
    from ...models import minilm

    built = minilm()
    found = traced(built)
    assert found.seconds < 20
    assert Counter(s.full for s in found.sizes) == {384: 2, 12: 6, 1536: 6}


def test_a_layer_of_torch_alone_names_its_own_line() -> None:
    found = trace(nn.Conv2d(3, 4, 1), (torch.zeros(1, 3, 2, 2),))
    (fixed,) = found.fixed
    assert (fixed.tensor, fixed.dim, fixed.length) == ("weight", 1, 3)
    assert "conv.py" in fixed.where
