"""Our adapters on the models that they are for: unmodified, small, and MiniLM with its weights."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core.discovery import default_registry
from oneshot_core.testing import cases
from oneshot_plugins.pretrained.correcting import quietly, unsaid

from ...models import build, minilm, package

ADAPTERS = [record.name for record in default_registry().find("adapter", "oneshot-core")]
WITHOUT_CONFIG = ("torch", "timm", "resnet", "conv1d")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*enable_nested_tensor")
@pytest.mark.parametrize("name", ADAPTERS)
def test_our_adapters_keep_their_promises_on_the_models_that_they_are_for(name: str) -> None:
    for needed in ("transformers", "timm", "torchvision"):
        package(needed)
    results = [case.run() for case in cases(f"adapter:{name}") if case.check.scope == "adapter"]
    assert [str(r) for r in results if r.outcome not in ("passed", "skipped")] == []
    passed = {r.check for r in results if r.outcome == "passed"}
    assert {"adapter.has-samples", "adapter.parts-equal-frozen"} <= passed
    says = not name.startswith(WITHOUT_CONFIG) and not name.endswith("-head")
    assert ("adapter.config-says-the-sizes" in passed) == (says and "torchvision" not in name)


class Task(pl.LightningModule):
    """A task of a user that holds a model as it comes."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net: Any = net

    def forward(self, **inputs: Tensor) -> Any:
        return self.net(**inputs)


def generated(model: Any, ids: Tensor, *, use_cache: bool) -> Tensor:
    config = model.generation_config
    config.eos_token_id, config.pad_token_id = None, 0
    with torch.no_grad():
        out: Tensor = model.generate(
            input_ids=ids, max_new_tokens=6, do_sample=False, use_cache=use_cache
        )
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
def test_a_frozen_model_generates_the_same_with_a_cache_and_without(name: str) -> None:
    net, _, kwargs = build(name)
    oneshot.elastic(net, kwargs, ratios=(0.5, 1.0), depth=True, by_config=False)
    space = oneshot.ModelSpace(nn.Sequential(net))
    rng, ids = random.Random(0), kwargs["input_ids"]
    for _ in range(3):
        small: Any = oneshot.freeze(
            net, {k: rng.choice(s.candidates) for k, s in space.specs.items()}
        )
        small.config.use_cache = True
        assert torch.equal(
            generated(small, ids, use_cache=True), generated(small, ids, use_cache=False)
        )


@pytest.mark.slow
def test_a_search_generates_what_the_frozen_model_generates_without_its_first_block() -> None:
    """A cache counts what it holds by the first block: positions follow the blocks that run."""
    net, _, kwargs = build("llama")
    oneshot.optional(net, "model.layers.*", kwargs, per_layer=True)
    search = oneshot.search(Task(net), seed=0)
    architecture = {label: spec.default for label, spec in search.space.specs.items()}
    architecture[min(architecture)] = False
    small = oneshot.freeze(search, architecture).net
    ids = kwargs["input_ids"]
    with search.at(architecture):
        found = generated(search.model.net, ids, use_cache=True)
    assert torch.equal(found, generated(small, ids, use_cache=True))


@pytest.mark.slow
def test_tied_embeddings_stay_tied() -> None:
    for name in ("gemma3", "gpt2", "t5"):
        net, _, kwargs = build(name)
        oneshot.elastic(net, kwargs, ratios=(0.5, 1.0))
        specs = oneshot.ModelSpace(nn.Sequential(net)).specs
        small: Any = oneshot.freeze(net, {label: s.candidates[0] for label, s in specs.items()})
        assert small.lm_head.weight is small.get_input_embeddings().weight
        assert small.lm_head.weight.shape == (100, 24)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "llama", "gemma3", "gpt2", "t5", "vit", "dinov2"])
def test_what_is_saved_is_loaded_by_transformers_and_computes_the_same(
    name: str, tmp_path: Path
) -> None:
    net, args, kwargs = build(name)
    before = net.config.to_dict()
    oneshot.elastic(net, kwargs, ratios=(0.5, 1.0), depth=True)
    specs = oneshot.ModelSpace(nn.Sequential(net)).specs
    small: Any = oneshot.freeze(net, {label: s.candidates[0] for label, s in specs.items()})
    assert unsaid(small) == []
    assert net.config.to_dict() == before
    small.save_pretrained(tmp_path)
    again = type(small).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(*args, **kwargs)[0], small(*args, **kwargs)[0])


@pytest.mark.slow
def test_minilm_with_its_weights_is_saved_and_loaded_at_uniform_sizes(tmp_path: Path) -> None:
    net, _, inputs = minilm()
    net.eval()
    task = Task(net)
    with torch.no_grad():
        wanted = net(**inputs)[0]
        oneshot.elastic(task, inputs, depth=True)
        assert torch.equal(task(**inputs)[0], wanted)
    search = oneshot.search(task, seed=0)
    uniform = [
        {"hidden": 192, "heads": 6, "ffn": 768, "depth": 5},
        {"hidden": 384, "heads": 12, "ffn": 384, "depth": 6},
        {"hidden": 96, "heads": 3, "ffn": 1152, "depth": 2},
    ]
    for number, architecture in enumerate(uniform):
        small: Any = oneshot.freeze(search, architecture).net
        folder = tmp_path / str(number)
        small.save_pretrained(folder)
        again = type(small).from_pretrained(folder).eval()
        with torch.no_grad(), search.at(architecture):
            found = task(**inputs)[0]
            assert torch.equal(again(**inputs)[0], small(**inputs)[0])
            assert torch.equal(found, small(**inputs)[0])
        assert again.config.num_hidden_layers == architecture["depth"]


@pytest.mark.slow
def test_what_bert_cannot_say_is_known_before_it_is_saved() -> None:
    net, _, kwargs = build("bert")
    oneshot.elastic(net, kwargs, ratios=(0.5, 1.0), by_config=False)
    with quietly():
        small = oneshot.freeze(net, {"hidden": 24, "ffn": 40, "heads": 6})
    reasons = unsaid(small)
    assert any("query.weight has the shape (48, 24), and (24, 24)" in why for why in reasons)
