"""Frozen networks leave this project: files, export and compilation work without it.

What is loaded elsewhere is loaded in a process of its own in which ``import oneshot_core`` and
``import oneshot_plugins`` fail.
"""

from __future__ import annotations

import copy
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oneshot_core import InputChoice, LayerChoice, ModelSpace, Repeat, choice, constrain, freeze
from oneshot_core import nn as onn
from oneshot_core.decision import DecisionTable
from oneshot_core.traversal import traverse_and_mutate_submodules
from oneshot_plugins.checks.decisions import Drawn
from oneshot_plugins.elastic.supernet import ElasticLayer
from oneshot_plugins.supernets.modules import MixedInput, MixedLayer, MixedRepeat

W, K = choice([2, 4, 6], label="w"), choice([1, 3], label="k")

USERS_CLASSES = '''
import torch
from torch import nn

class Branching(nn.Module):
    """Several views of an input, of which some are chosen."""

    def __init__(self, branches, inputs):
        super().__init__()
        self.branches, self.inputs = nn.ModuleList(branches), inputs

    def forward(self, x):
        chosen = self.inputs([branch(x) for branch in self.branches])
        return torch.stack(chosen).sum(0) if isinstance(chosen, list) else chosen

class Attend(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]

class Residual(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return x + self.body(x)
'''


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Write and import the classes of a user, who needs torch only."""
    folder = tmp_path_factory.mktemp("users")
    (folder / "users_classes.py").write_text(USERS_CLASSES)
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("users_classes")
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("users_classes", None)


def two() -> dict[str, nn.Module]:
    return {"a": nn.Linear(4, 4), "b": nn.Sequential(nn.Linear(4, 4), nn.Tanh())}


def inputs(users: Any, n_chosen: int | None, reduction: Any) -> nn.Module:
    picked = InputChoice(3, n_chosen, reduction=reduction, label="in")
    return users.Branching([nn.Linear(4, 4), nn.Identity(), nn.Linear(4, 4)], picked)


def images(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (1, 2, 2)), *layers, nn.Flatten())


def nested(users: Any) -> nn.Module:
    width = choice([2, 3], label="inner width")
    hidden = nn.Sequential(onn.Linear(4, width), nn.GELU(), onn.Linear(width, 4))
    deep = Repeat([LayerChoice(two(), label="op"), hidden], (0, 2), label="depth")
    model = nn.Sequential(LayerChoice({"deep": users.Residual(deep), "flat": nn.ReLU()}), deep)
    constrain(model, width >= 2)
    return model


MODELS: dict[str, Callable[[Any], nn.Module]] = {
    "layer": lambda u: u.Residual(LayerChoice(two(), label="op")),
    "input-one": lambda u: inputs(u, 1, "sum"),
    "input-mean": lambda u: inputs(u, 2, "mean"),
    "input-concat": lambda u: nn.Sequential(inputs(u, 2, "concat"), nn.Linear(8, 4)),
    "input-none": lambda u: inputs(u, None, "none"),
    "repeat": lambda u: Repeat(lambda i: nn.Linear(4, 4), (0, 2), label="d"),
    "repeat-value": lambda u: Repeat(lambda i: onn.Linear(4, 4), choice([0, 1, 2], label="d")),
    "linear": lambda u: nn.Sequential(onn.Linear(4, W), onn.LayerNorm(W), onn.Linear(W, 2)),
    "convolution": lambda u: images(
        onn.Conv2d(1, W, K, padding=K // 2, bias=False), onn.BatchNorm2d(W), nn.ReLU()
    ),
    "transposed": lambda u: images(onn.ConvTranspose2d(1, W, K), onn.GroupNorm(2, W), onn.PReLU(W)),
    "conv1d": lambda u: nn.Sequential(
        nn.Unflatten(1, (1, 4)), onn.Conv1d(1, W, K, padding=K // 2), onn.BatchNorm1d(W)
    ),
    "attention": lambda u: nn.Sequential(
        nn.Unflatten(1, (2, 2)),
        onn.Linear(2, W),
        u.Attend(onn.MultiheadAttention(W, choice([1, 2], label="heads"), batch_first=True)),
        onn.RMSNorm(W),
    ),
    "activation": lambda u: onn.activation(["relu", "SiLU"], label="act"),
    "nested": nested,
}


def x() -> Tensor:
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


def frozen(make: Callable[[Any], nn.Module], users: Any, which: int = -1) -> nn.Module:
    """Return one frozen network, cut from a supernet, in eval mode."""
    torch.manual_seed(0)
    model = nn.Sequential(make(users))
    hooks = [ElasticLayer.mutate, MixedLayer.mutate, MixedInput.mutate, MixedRepeat.mutate]
    traverse_and_mutate_submodules(model, hooks, {"decisions": DecisionTable(Drawn)})
    listed = list(ModelSpace(model).architectures())
    return freeze(model, listed[which]).eval()


ELSEWHERE = """
import json, sys
from pathlib import Path

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("oneshot_core", "oneshot_plugins"):
            raise ModuleNotFoundError(f"{name} is not installed here")

sys.meta_path.insert(0, Without())
folder, classes, job = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.path.append(classes)
import torch
x = torch.load(folder / "x.pt")
for name in json.loads((folder / "names.json").read_text()):
    expected = torch.load(folder / f"{name}.out.pt")
    if job == "pickle":
        network = torch.load(folder / f"{name}.pt", weights_only=False)
    else:
        network = torch.export.load(folder / f"{name}.pt2").module()
    assert torch.equal(network(x), expected), name
    if job == "pickle":
        weights = torch.load(folder / f"{name}.weights.pt")  # tensors only: the default
        assert all(type(v) is torch.Tensor for v in weights.values()), name
        network.load_state_dict(weights)
        assert torch.equal(network(x), expected), name
        network.train()(x).sum().backward() if weights else None
assert not any(name.startswith("oneshot") for name in sys.modules)
print("done")
"""


def elsewhere(folder: Path, users: Any, job: str) -> None:
    """Load and run the files in a process without this project."""
    classes = str(Path(users.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-I", "-c", ELSEWHERE, str(folder), classes, job],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done"


def write(folder: Path, networks: dict[str, nn.Module]) -> None:
    torch.save(x(), folder / "x.pt")
    (folder / "names.json").write_text(json.dumps(list(networks)))
    for name, network in networks.items():
        torch.save(network(x()).detach(), folder / f"{name}.out.pt")


def test_pickles_and_weights_are_loaded_where_only_torch_is_installed(
    users: Any, tmp_path: Path
) -> None:
    """Of every architecture's extremes: the first and the last of each model."""
    networks = {
        f"{name}{which}": frozen(make, users, which)
        for name, make in MODELS.items()
        for which in (0, -1)
    }
    write(tmp_path, networks)
    for name, network in networks.items():
        torch.save(network, tmp_path / f"{name}.pt")
        assert b"oneshot" not in (tmp_path / f"{name}.pt").read_bytes()
        torch.save(network.state_dict(), tmp_path / f"{name}.weights.pt")
    elsewhere(tmp_path, users, "pickle")


def test_weights_are_plain_contiguous_tensors_that_overlap_nowhere(users: Any) -> None:
    """What formats such as safetensors ask of a state dict; tied ones are one tensor."""
    for name, make in MODELS.items():
        for which in (0, -1):
            weights = frozen(make, users, which).state_dict()
            assert all(v.is_contiguous() for v in weights.values()), name
            places = {v.untyped_storage().data_ptr() for v in weights.values()}
            tensors = {v.data_ptr() for v in weights.values()}
            assert len(places) == len(tensors), name
            assert all(
                v.untyped_storage().nbytes() == v.numel() * v.element_size()
                for v in weights.values()
            ), "nothing of what was cut off is kept"


@pytest.mark.parametrize("name", MODELS)
def test_copies_share_nothing_and_compute_the_same(name: str, users: Any) -> None:
    network = frozen(MODELS[name], users)
    twin = copy.deepcopy(network)
    assert torch.equal(twin(x()), network(x()))
    assert not set(map(id, twin.parameters())) & set(map(id, network.parameters()))
    assert list(twin.state_dict()) == list(network.state_dict())


@pytest.mark.slow
def test_exported_programs_are_loaded_where_only_torch_is_installed(
    users: Any, tmp_path: Path
) -> None:
    networks = {name: frozen(make, users) for name, make in MODELS.items()}
    write(tmp_path, networks)
    for name, network in networks.items():
        program = torch.export.export(network, (x(),))
        assert torch.equal(program.module()(x()), network(x()))
        torch.export.save(program, tmp_path / f"{name}.pt2")
    elsewhere(tmp_path, users, "export")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what the exporter says about itself
@pytest.mark.parametrize("name", MODELS)
def test_onnx_computes_what_the_network_computes(name: str, users: Any, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the dev extra brings it")
    pytest.importorskip("onnxscript", reason="the dev extra brings it")
    reference = importlib.import_module("onnx.reference")
    network = frozen(MODELS[name], users)
    path = tmp_path / "network.onnx"
    program = torch.onnx.export(network, (x(),), dynamo=True, verbose=False)
    assert program is not None
    program.save(path)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    evaluator = reference.ReferenceEvaluator(model)
    [out] = evaluator.run(None, {evaluator.input_names[0]: x().numpy()})
    torch.testing.assert_close(torch.from_numpy(out), network(x()).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what the compiler says about itself
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("name", MODELS)
def test_compiled_networks_compute_and_train_the_same(name: str, backend: str, users: Any) -> None:
    """In one graph; without a compiler for C++."""
    network = frozen(MODELS[name], users)
    twin = copy.deepcopy(network)
    torch._dynamo.reset()
    compiled = torch.compile(twin, backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(x()), network(x()))
    parameters = list(network.parameters())
    if parameters:
        loss, other = network(x()).square().sum(), compiled(x()).square().sum()
        ours = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        theirs = torch.autograd.grad(
            other, list(twin.parameters()), allow_unused=True, materialize_grads=True
        )
        torch.testing.assert_close(ours, theirs)
