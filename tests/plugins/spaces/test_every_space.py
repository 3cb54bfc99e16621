"""What every model space promises: any architecture is the network that freezing it gives."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import oneshot_core as oneshot
from oneshot_core.errors import StrategyError
from oneshot_core.testing import Sample
from oneshot_plugins.checks.trial import Trial, fit, loader
from oneshot_plugins.spaces import samples

SPACES: dict[str, Sample] = {
    f"{make.__name__}-{index}": sample
    for make in (
        samples.nas_bench_201,
        samples.nas_bench_101,
        samples.mobilenet_v3,
        samples.proxyless_nas,
        samples.shufflenets,
        samples.autoformers,
    )
    for index, sample in enumerate(make())
}

ALIKE = ("shufflenets-0", "autoformers-1")
"""Simpler than another sample of the same family: tried with the slow tests."""

each_space = pytest.mark.parametrize(
    "sample",
    [
        pytest.param(sample, id=name, marks=[pytest.mark.slow] if name in ALIKE else [])
        for name, sample in SPACES.items()
    ],
)


def search_over(sample: Sample, strategy: str, **options: Any) -> Any:
    model = Trial(sample.make(), sample.inputs).double()
    inputs = [x.double() for x in sample.inputs()]
    model.inputs = lambda: tuple(inputs)
    if strategy == "darts":
        options["arch_dataloader"] = loader(0.5)
    search = oneshot.search(model, strategy, seed=0, **options)
    search.double()
    return search


def drawn(search: Any, n: int) -> list[oneshot.Architecture]:
    rng = random.Random(0)
    return [oneshot.Architecture(search.space.sample(rng)) for _ in range(n)]


@each_space
def test_the_supernet_at_an_architecture_is_the_frozen_network_bit_for_bit(sample: Sample) -> None:
    """While training as well: outputs, and then the statistics of what ran."""
    search = search_over(sample, "random")
    (images,) = search.model.inputs()
    for architecture in drawn(search, 4):
        for training in (True, False):
            search.model.train(training)
            torch.manual_seed(0)
            frozen = oneshot.freeze(search.model.body, architecture)
            wanted = frozen(images)
            torch.manual_seed(0)
            with search.at(architecture):
                found = search.model.body(images)
            assert torch.equal(found, wanted)
        again = oneshot.freeze(search.model.body, architecture)
        for (name, one), (_, other) in zip(
            again.named_buffers(), frozen.named_buffers(), strict=True
        ):
            assert torch.equal(one, other), name


@each_space
def test_the_gradients_of_an_architecture_are_those_of_the_frozen_network(sample: Sample) -> None:
    search = search_over(sample, "random")
    search.model.eval()
    (images,) = search.model.inputs()
    for architecture in drawn(search, 3):
        frozen = oneshot.freeze(search.model.body, architecture)
        frozen(images).square().sum().backward()
        search.model.zero_grad()
        with search.at(architecture):
            search.model.body(images).square().sum().backward()
        mine, theirs = (
            sum(float(p.grad.abs().sum()) for p in m.parameters() if p.grad is not None)
            for m in (search.model.body, frozen)
        )
        assert mine == pytest.approx(theirs, rel=1e-10)


@each_space
def test_a_frozen_network_is_torch_alone_and_can_be_initialised_anew(sample: Sample) -> None:
    model = sample.make()
    for architecture in drawn(oneshot.search(Trial(model, sample.inputs), seed=0), 3):
        torch.manual_seed(0)
        fresh = oneshot.freeze(model, architecture, weights="fresh")
        inherited = oneshot.freeze(model, architecture)
        assert fresh(*sample.inputs()).shape == inherited(*sample.inputs()).shape
        for module in (*fresh.modules(), *inherited.modules()):
            assert type(module).__module__.startswith("torch.")


@each_space
def test_training_draws_architectures_and_changes_weights(sample: Sample) -> None:
    search = search_over(sample, "random")
    before = {name: value.clone() for name, value in search.model.state_dict().items()}
    fit(search)
    after = search.model.state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


@each_space
def test_superposed_with_all_weight_on_one_architecture_it_computes_that_one(
    sample: Sample,
) -> None:
    """And it trains, unless it is refused before anything is changed."""
    model = Trial(sample.make(), sample.inputs)
    if any(type(module).__name__ == "NasBench101Cell" for module in model.modules()):
        with pytest.raises(StrategyError, match="cannot be superposed: the width of a vertex"):
            oneshot.search(model, "darts", arch_dataloader=loader(0.5))
        return
    search = search_over(sample, "darts")
    before = [decision.alpha.detach().clone() for decision in search.decisions]
    fit(search)
    learned = [decision.alpha for decision in search.decisions]
    assert not any(torch.equal(*pair) for pair in zip(before, learned, strict=True))
    search.model.eval()
    (images,) = search.model.inputs()
    for architecture in drawn(search, 2):
        for decision in search.decisions:
            spec = decision.spec
            taken = architecture.get(spec.label, spec.candidates[0])
            with torch.no_grad():
                decision.alpha.fill_(-1e6)[spec.candidates.index(taken)] = 1e6
        with torch.no_grad():
            wanted = oneshot.freeze(search.model.body, architecture)(images)
            torch.testing.assert_close(search.model.body(images), wanted, rtol=1e-10, atol=1e-10)


def test_frozen_networks_are_loaded_and_run_where_this_project_is_not_installed(
    tmp_path: Path,
) -> None:
    script = """
import sys, torch
for name in ("oneshot_core", "oneshot_plugins", "pytorch_lightning"):
    sys.modules[name] = None
for network, images, wanted in torch.load(sys.argv[1], weights_only=False):
    assert torch.equal(network(images), wanted)
"""
    saved = []
    for sample in SPACES.values():
        model = sample.make().eval()
        architecture = oneshot.ModelSpace(model).sample(random.Random(1))
        network = oneshot.freeze(model, architecture)
        (images,) = sample.inputs()
        saved.append((network, images, network(images).detach()))
    torch.save(saved, tmp_path / "networks.pt")
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "networks.pt")],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("nas-bench-201", 15_625),
        pytest.param("nas-bench-101", 1_293_208, marks=pytest.mark.slow),
        ("mobilenet-v3", (9**2 + 9**3 + 9**4) ** 5),
        ("proxyless-nas", 6**6 * 7**15),
        ("shufflenet", 4**20),
        ("autoformer", 3 * (6**12 + 6**13 + 6**14)),
    ],
)
def test_the_registry_builds_each_space_in_the_size_of_its_paper(name: str, size: int) -> None:
    build: Callable[[], nn.Module] = oneshot.registry.load("space", name)
    with torch.device("meta"):
        model = build()
    assert oneshot.ModelSpace(model).size == size
