"""What must hold for pretrained transformers: MiniLM with its real weights, Llama with groups."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import oneshot_core as oneshot
from oneshot_core.model_space import ModelSpace
from tools.elastic_table import Task, draw, floats, same

from ...models import FOLDER, build, minilm

LOAD = """
import sys
sys.modules["oneshot_core"] = sys.modules["oneshot_plugins"] = None
import torch
from pathlib import Path
from transformers import AutoModel

for folder in sorted(Path(sys.argv[1]).iterdir()):
    given, wanted = torch.load(folder / "example.pt")
    with torch.no_grad():
        found = AutoModel.from_pretrained(str(folder)).eval()(**given).last_hidden_state
    assert torch.equal(found, wanted), folder
    print(folder.name)
"""


def compared(net: nn.Module, given: dict[str, Any], draws: int, **options: Any) -> int:
    """Return how many random networks compute the bits of their frozen ones."""
    net.eval()
    with torch.no_grad():
        original = floats(net(**given))
    oneshot.elastic(net, given, **options)
    with torch.no_grad():
        assert same(floats(net(**given)), original)
    search: Any = oneshot.search(Task(net, given), "random", seed=0)
    search.eval()
    values = [given[name] for name in search.model.names]
    space, rng, equal = ModelSpace(search), random.Random(0), 0
    for _ in range(draws):
        architecture = draw(space, rng)
        frozen: Any = oneshot.freeze(search, architecture).eval()
        with torch.no_grad(), search.at(architecture):
            equal += same(search.model(*values), frozen(*values))
    return equal


@pytest.mark.slow
def test_networks_of_minilm_equal_their_frozen_ones() -> None:
    built = minilm()
    assert compared(built.model, built.kwargs, 20, depth=True, per_layer=True) == 20


@pytest.mark.nightly
def test_two_hundred_networks_of_minilm_equal_their_frozen_ones() -> None:
    built = minilm()
    assert compared(built.model, built.kwargs, 200, depth=True, per_layer=True) == 200


@pytest.mark.slow
def test_uniform_networks_of_minilm_load_with_plain_transformers(tmp_path: Path) -> None:
    built = minilm()
    net: Any = built.model.eval()
    oneshot.elastic(
        net, built.kwargs, heads=range(1, 13), hidden=range(32, 385, 32), depth=range(1, 7)
    )
    rng = random.Random(0)
    for number in range(20):
        heads = rng.randint(1, 12)
        choice = {"heads": heads, "hidden": 32 * heads, "depth": rng.randint(1, 6)}
        frozen: Any = oneshot.freeze(net, {**choice, "ffn": rng.choice([384, 768, 1536])}).eval()
        folder = tmp_path / f"{number:02}"
        frozen.save_pretrained(folder)
        with torch.no_grad():
            result = frozen(**built.kwargs).last_hidden_state
        torch.save((built.kwargs, result), folder / "example.pt")
    packages = FOLDER / "language"
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(packages),
            "PATH": "",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        },
    )
    assert done.stdout.split() == [f"{number:02}" for number in range(20)], done.stderr


@pytest.mark.slow
def test_groups_and_queries_of_llama_stay_valid_in_all_sizes() -> None:
    built = build("llama")
    assert compared(built.model, built.kwargs, 50, depth=True) == 50


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_frozen_decoder_generates_the_same_with_and_without_a_cache(name: str) -> None:
    built = build(name)
    net: Any = built.model
    plan = oneshot.elastic(net, built.kwargs, depth=True)
    labels = {label: one.values[-2] for label, one in plan.sizes.items()}
    small: Any = oneshot.freeze(net, {**labels, "depth": 2})
    ids = built.kwargs["input_ids"]
    wanted = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    cached = small.generate(ids, attention_mask=torch.ones_like(ids), use_cache=True, **wanted)
    whole = small.generate(ids, attention_mask=torch.ones_like(ids), use_cache=False, **wanted)
    assert torch.equal(cached, whole)
    assert cached.shape[1] > ids.shape[1]


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "t5"])
def test_tied_embeddings_stay_tied(name: str) -> None:
    built = build(name)
    net: Any = built.model
    assert net.get_input_embeddings().weight is net.get_output_embeddings().weight
    oneshot.elastic(net, built.kwargs, hidden=[16], by_config=False)
    small: Any = oneshot.freeze(net, {**ModelSpace(Task(net, {})).default(), "hidden": 16})
    assert small.get_input_embeddings().weight is small.get_output_embeddings().weight
    assert small.get_input_embeddings().weight.shape == (100, 16)
